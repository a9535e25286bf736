/* Several processes import the same target at once: one does it, all find it. */
#include <dirent.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/digits.h"
#include "data_files.h"

/* An import allocates much, waiting for another's next to nothing. */
static void one_imports(void) {
    enum { ALLOCATIONS_TO_WAIT = 3 };
    const char *target = file_path("folder/digits.h5");
    files_ready();
    int64_t before = dpt_alloc_count();
    CHECK_OK(dpt_digits_write(target));
    int mine = dpt_alloc_count() - before > ALLOCATIONS_TO_WAIT, all = 0;
    CHECK(access(target, R_OK) == 0);
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    CHECK_EQ_I64(all, 1);
    CHECK_EQ_I64(partial_files(), 0);
}

int main(int argc, char **argv) { return CHECK_MAIN(argc, argv, "import_ranks", {"one_imports", one_imports}); }
