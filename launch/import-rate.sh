#!/bin/bash
# Holds the rate at which CSV is imported against a bound: bytes of text a second of processor time, both passes over the
# file and the writing of HDF5 included.
#
#   launch/import-rate.sh LEAST-MB-PER-S
#
# The text: 9 columns of %.6g, 256 MB, a block of random numbers over and over. The last line is what was measured: the
# best of three.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

[ $# -eq 1 ] || die 64 "usage: launch/import-rate.sh LEAST-MB-PER-S"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 - "$scratch/block" <<'PYTHON'
import random
import sys

random.seed(1)
with open(sys.argv[1], "w") as block:
    for _ in range(12000):
        block.write(",".join(f"{random.gauss(0, 100):.6g}" for _ in range(9)) + "\n")
PYTHON
for ((i = 0; i < 256000000 / $(stat -c %s "$scratch/block"); i++)); do cat "$scratch/block"; done >"$scratch/table.csv"
bytes=$(stat -c %s "$scratch/table.csv")
TIMEFORMAT='%U %S'
for ((i = 0; i < 3; i++)); do
    rm -f "$scratch/table.h5"
    { time "$root/dptrain" data import "$scratch/table.h5" "/x=$scratch/table.csv" >"$scratch/said" 2>&1; } \
        2>>"$scratch/times" || die 70 "the import failed: $(cat "$scratch/said")"
done
awk -v bytes="$bytes" -v least="$1" '
    { s = $1 + $2; if (best == 0 || s < best) best = s }
    END { rate = bytes / best / 1e6; printf "%.0f MB/s\n", rate; exit !(rate >= least) }' "$scratch/times"
