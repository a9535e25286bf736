#!/bin/bash
# How much of an exchange of half the length of backward hides behind it: one rank with two cores, a delay in place of
# its exchange. Two thirds of a step's computation are backward.
#
#   launch/bench-hidden.sh [--seconds S] LEAST-PERCENT NAME...
#
# Prints a table. The exit status is 1 where less than LEAST-PERCENT hides.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
. launch/env.sh

seconds=5
[ "${1:-}" != --seconds ] || { seconds=$2 && shift 2; }
[ $# -ge 2 ] || die 64 "usage: launch/bench-hidden.sh [--seconds S] LEAST-PERCENT NAME..."
least=$1 missed=0
shift

# exchange NAME FABRIC: the line of `bench allreduce model=NAME`
exchange() {
    mpirun -np 1 --bind-to none ./dptrain bench allreduce model="$1" emulate="$2" min=4 max=4 seconds="$((4 * seconds))" \
        </dev/null | awk -v name="$1" '$1 == name'
}

# The exchange takes half the time of backward, by a delay in its place; two thirds of the computation are backward.
hidden() {
    local name=$1 line fabric
    line=$(exchange "$name" 1us,1000GB/s)
    fabric=$(awk -v ms="$(field compute_ms <<<"$line")" -v bytes="$(field gradient_bytes <<<"$line")" \
        'BEGIN { printf "1us,%.9fGB/s", bytes / (ms * 1e-3 / 3) / 1e9 }')
    line=$(exchange "$name" "$fabric")
    awk -v p="$(field hidden_% <<<"$line")" -v m="$least" 'BEGIN { exit !(p < m) }' && missed=1
    printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$name" "$(field compute_ms <<<"$line")" \
        "$(field exchange_ms <<<"$line")" "$(field step_ms <<<"$line")" "$(field buckets <<<"$line")" \
        "$(field hidden_% <<<"$line")" "$(field hideable_hidden_% <<<"$line")"
}

printf '| workload | computation, ms | exchange, ms | step, ms | buckets | hidden, %% | of what can hide, %% |\n'
printf '|---|---|---|---|---|---|---|\n'
for name in "$@"; do hidden "$name"; done
exit "$missed"
