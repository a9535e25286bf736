#!/bin/bash
# Holds the share of a bench workload's step time that is spent outside kernels against a bound, at 1 pinned rank; with
# --products that outside convolutions and products.
#
#   launch/overhead.sh [--products] NAME MOST-PERCENT
#
# Reads what `dptrain bench profile=true` sums up. The last line is what was measured.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

products=''
[ "${1:-}" != --products ] || { products=1 && shift; }
[ $# -eq 2 ] || die 64 "usage: launch/overhead.sh [--products] NAME MOST-PERCENT"
output=$(OMP_NUM_THREADS=1 mpirun -np 1 --bind-to core "$root/dptrain" bench "$1" seconds=5 profile=true </dev/null)
if [ -n "$products" ]; then
    percent=$(sed -n 's/.*convolutions and products *\([0-9.]*\) %.*/\1/p' <<<"$output" | awk '{ print 100 - $1 }')
else
    percent=$(sed -n 's/.*outside both *\([0-9.]*\) %.*/\1/p' <<<"$output")
fi
[ -n "$percent" ] || die 70 "no share in: $output"
echo "$percent % of a step of $1"
awk -v p="$percent" -v most="$2" 'BEGIN { exit !(p <= most) }'
