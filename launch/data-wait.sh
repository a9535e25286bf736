#!/bin/bash
# Holds the share of the time that the built-in job waits for its data against a bound: its model on Fashion-MNIST at
# one and two ranks, an epoch each, the start (first 20 steps) left out.
#
#   launch/data-wait.sh MOST-PERCENT
#
# The last line is what was measured.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

[ $# -eq 1 ] || die 64 "usage: launch/data-wait.sh MOST-PERCENT"
dptrain=${BUILD:-$root/build}/dptrain
[ -x "$dptrain" ] || die 70 "no program $dptrain: build first"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for ranks in 1 2; do
    OMP_NUM_THREADS=1 mpirun -np "$ranks" --bind-to none "$dptrain" train epochs=1 eval_every=0 log.every=20 \
        run.dir="$scratch/$ranks" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2 && exit 1; }
done
python3 - "$1" "$scratch"/[12]/metrics.jsonl <<'PYTHON'
import json, sys
shares = []
for file in sys.argv[2:]:
    lines = [json.loads(l) for l in open(file) if '"train"' in l]
    seconds = sum(128 * (b["step"] - a["step"]) / b["samples_per_s"] for a, b in zip(lines, lines[1:]))
    shares.append(100 * (lines[-1]["data_wait_s"] - lines[0]["data_wait_s"]) / seconds)
print("waited for data for %.3f %% of the time at 1 rank, %.3f %% at 2" % tuple(shares))
sys.exit(max(shares) > float(sys.argv[1]))
PYTHON
