/* setting.h: the environment variables that steer the device that is played: see README.md. Read at every use, so that
 * a test may change them between two calls. */
#ifndef HOSTCUDA_SETTING_H
#define HOSTCUDA_SETTING_H

#include <stdlib.h>

namespace hostcuda {

inline long long setting(const char *name, long long otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoll(text, NULL, 10) : otherwise;
}

}  // namespace hostcuda

#endif
