#!/bin/bash
# Holds the share of a bench workload's step time that is spent outside kernels against a bound, at 1 pinned rank.
#
#   launch/overhead.sh NAME MOST-PERCENT
#
# Reads `outside both X %` of `dptrain bench profile=true`: neither kernels nor collectives. The last line is what was measured.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

[ $# -eq 2 ] || die 64 "usage: launch/overhead.sh NAME MOST-PERCENT"
output=$(OMP_NUM_THREADS=1 mpirun -np 1 --bind-to core "$root/dptrain" bench "$1" seconds=5 profile=true </dev/null)
percent=$(sed -n 's/.*outside both *\([0-9.]*\) %.*/\1/p' <<<"$output")
[ -n "$percent" ] || die 70 "no \`outside both X %\` in: $output"
echo "$percent % of a step of $1"
awk -v p="$percent" -v most="$2" 'BEGIN { exit !(p <= most) }'
