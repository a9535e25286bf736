# shellcheck shell=sh
# Environment for mpirun on a workstation, in a container, in CI. Source it, do not run it:
#
#   . launch/env.sh
#   mpirun -np 8 ./dptrain
#
# Open MPI refuses or complains in four cases that are normal there. Each variable is set only in its case, and what
# is already set stays:
#
#   as root                           OMPI_ALLOW_RUN_AS_ROOT=1, OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
#   more ranks than cores             OMPI_MCA_rmaps_base_oversubscribe=1 (allows it; not inside a Slurm job, where
#                                     the job's own limits hold)
#   in a container                    OMPI_MCA_btl_vader_single_copy_mechanism=none, as its system-call filter
#                                     forbids reading another process's memory
#   /dev/shm missing, below 128 MiB   OMPI_MCA_btl_vader_backing_directory=$TMPDIR or /tmp

if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT="${OMPI_ALLOW_RUN_AS_ROOT:-1}"
    export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:-1}"
fi

if [ -z "${SLURM_JOB_ID:-}" ]; then
    export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
fi

if [ -e /.dockerenv ] || [ -e /run/.containerenv ] || [ -n "${container:-}" ] ||
    ! grep -q '^Seccomp:[[:space:]]*0$' /proc/self/status 2>/dev/null; then
    export OMPI_MCA_btl_vader_single_copy_mechanism="${OMPI_MCA_btl_vader_single_copy_mechanism:-none}"
fi

if [ ! -w /dev/shm ] || [ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -lt 131072 ]; then
    export OMPI_MCA_btl_vader_backing_directory="${OMPI_MCA_btl_vader_backing_directory:-${TMPDIR:-/tmp}}"
fi
