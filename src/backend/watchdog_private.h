/* watchdog_private.h: a watchdog, as its files share it: watchdog_start.c connects the ranks, watchdog.c runs the
 * thread. After the start all but what stands under the lock belongs to the thread. */
#ifndef DPT_BACKEND_WATCHDOG_PRIVATE_H
#define DPT_BACKEND_WATCHDOG_PRIVATE_H

#include <poll.h>
#include <pthread.h>

#include "backend/watchdog.h"
#include "backend/watchdog_socket.h"

struct dpt_watchdog {
    dpt_watchdog_options o;
    dpt_watch_limits limits;
    double beat_s; /* between two looks at all ranks */
    int rank, world;
    uint8_t token[DPT_WATCH_TOKEN];
    char host[DPT_WATCH_HOST];
    dpt_watched *ranks;    /* by rank; not on rank 0: rank 0's and one's own are kept up */
    dpt_watch_link *links; /* rank 0: by rank, its own unused; others: one, to rank 0 */
    struct pollfd *polls;  /* the links, and wake */
    int n_link;
    int wake; /* an eventfd: there is something under the lock */
    pthread_t thread, checker;
    bool runs, checks; /* the threads were started */

    pthread_mutex_t comm_lock; /* held while the communicator is asked, however long that takes */
    dpt_comm *comm;            /* watched; NULL: none */

    pthread_mutex_t lock;
    bool stop;   /* say good-bye and end */
    bool orphan; /* stopped by the thread itself: it frees the watchdog at its end */
    dpt_status failed;
    char said[DPT_WATCH_SENTENCE / 2]; /* of the watched communicator */

    /* the thread's own */
    bool fatal;            /* the verdict has been carried out */
    double judge_s;        /* judge then, not at the next beat; 0: no hurry */
    int warned_rank;       /* of whose wait was warned, */
    double warned_moved_s; /* when it had last moved */
    double looked_s;       /* the last round of the loop */
};

/* Opens links and table. Collective; w is filled in as far as it came. */
dpt_status dpt_watchdog_connect(const dpt_control *control, dpt_watchdog *w);
void dpt_watchdog_free(dpt_watchdog *w);

#endif
