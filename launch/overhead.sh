#!/bin/bash
# Holds the share of a bench workload's step time that is spent outside kernels against a bound, at 1 pinned rank.
#
#   launch/overhead.sh NAME MOST-PERCENT
#
# Reads `outside_kernels_percent X` at the end of the bench line. The last line is what was measured.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

[ $# -eq 2 ] || die 64 "usage: launch/overhead.sh NAME MOST-PERCENT"
line=$(OMP_NUM_THREADS=1 mpirun -np 1 --bind-to core "$root/dptrain" bench "$1" seconds=5 </dev/null | tail -n 1)
percent=$(sed -n 's/.*outside_kernels_percent *\([0-9.]*\).*/\1/p' <<<"$line")
[ -n "$percent" ] || die 70 "no outside_kernels_percent in: $line"
echo "$percent % of a step of $1"
awk -v p="$percent" -v most="$2" 'BEGIN { exit !(p <= most) }'
