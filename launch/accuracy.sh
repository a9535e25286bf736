#!/bin/bash
# Trains the built-in job, or that of a config, as a user types it and holds its accuracy against a bound.
#
#   launch/accuracy.sh --ranks R [--config FILE] [--at-least A] [--within-s T] [--same-as R2 --within A]
#
#   launch/accuracy.sh --ranks 2 --at-least 0.915 --within-s 300
#   launch/accuracy.sh --ranks 8 --same-as 2 --within 0.005      trains at 2 ranks too and compares
#
# The last line is what was measured; the exit status is 1 if a bound is missed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

ranks='' config=() at_least=0 within_s=86400 same_as='' within=0
while [ $# -gt 1 ]; do
    case $1 in
    --ranks) ranks=$2 ;;
    --config) config=("$(realpath "$2")") ;;
    --at-least) at_least=$2 ;;
    --within-s) within_s=$2 ;;
    --same-as) same_as=$2 ;;
    --within) within=$2 ;;
    *) die 64 "unknown option $1" ;;
    esac
    shift 2
done
if [ -z "$ranks" ] || [ $# -ne 0 ]; then die 64 "usage: launch/accuracy.sh --ranks R [--at-least A] [--within-s T]"; fi

# the job is given no run.dir, so its runs/ folder goes where it is started
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# train RANKS: prints the test accuracy.
train() {
    mpirun -np "$1" "$root/dptrain" "${config[@]}" </dev/null | tee /dev/stderr | tail -n 1 |
        sed -n 's/^test accuracy \([0-9.]*\)$/\1/p'
}

began=$(date +%s)
accuracy=$(train "$ranks")
seconds=$(($(date +%s) - began))
measured="accuracy ${accuracy:-missing} at $ranks ranks in $seconds s"
other=${accuracy:-0}
if [ -n "$same_as" ]; then
    other=$(train "$same_as")
    measured+=", ${other:-missing} at $same_as ranks"
fi
echo "$measured"
awk -v a="${accuracy:-0}" -v o="${other:-0}" -v least="$at_least" -v near="$within" \
    -v s="$seconds" -v most="$within_s" \
    'BEGIN { d = a - o; if (d < 0) d = -d; exit !(a > 0 && a >= least && s <= most && d <= near + 1e-9) }'
