# shellcheck shell=bash
# What the scripts of this folder share. Sourced: sets `root`, the repository's folder.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export root

say() { printf '%s\n' "$*" >&2; }

# die CODE MESSAGE: exit codes as in docs/design.md, section 10 (64 launch, 70 internal).
die() {
    local code=$1
    shift
    say "${0##*/}: $*"
    exit "$code"
}

# logged LOG COMMAND...: keeps the output in LOG and shows its end only if the command fails.
logged() {
    local log=$1 status=0
    shift
    mkdir -p "$(dirname "$log")"
    "$@" >>"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$log" >&2
        say "failed ($status): $*; the whole log: $log"
    fi
    return "$status"
}

# The cores that this process may use; `nproc` alone would obey OMP_NUM_THREADS.
cores() { env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc; }

# The machine in one line, for reports.
machine() {
    local model
    model=$(LC_ALL=C lscpu | sed -n 's/^Model name: *//p' | head -n 1)
    printf '%s, %s cores, %s' "${model:-$(uname -m)}" "$(cores)" "$(uname -sr)"
}

# field NAME < a line of `bench`: the word behind NAME
field() { awk -v name="$1" '{ for (i = 1; i < NF; i++) if ($i == name) print $(i + 1) }'; }
