#!/bin/bash
# Holds the rate at which deflated rows are read against two bounds: two threads over one, and one thread over H5Dread,
# on the same file in the page cache.
#
#   launch/decode-rate.sh LEAST-2-OVER-1 LEAST-OVER-H5DREAD
#
# The last line is what was measured (tests/decode_rate.c).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

[ $# -eq 2 ] || die 64 "usage: launch/decode-rate.sh LEAST-2-OVER-1 LEAST-OVER-H5DREAD"
rate=${BUILD:-$root/build}/tests/decode_rate
[ -x "$rate" ] || die 70 "no program $rate: build first"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$rate" "$scratch/deflated.h5" | awk -v two="$1" -v over="$2" '
    { printf "%.2f times one thread; %.2f times H5Dread; %s\n", $7 / $3, $3 / $10, $0
      exit !($7 >= two * $3 && $3 >= over * $10) }'
