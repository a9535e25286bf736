#!/bin/bash
# Trains on 8 GiB of samples with data.memory=512, contiguous and deflated, and holds two things against bounds: the
# resident memory of the process, less that of the same job on few samples with the least data.memory; and the share of
# the time that training waits for its data, where computing takes longer than reading.
#
#   launch/memory-budget.sh MOST-MIB MOST-WAIT-PERCENT
#
# Deflated, a window of 2 chunks of 1 MiB a lane is what the budget holds: a larger one would have chunks decoded again and
# again, as the program then warns. The files take hardly any room on the disk (tests/sparse_data.c). Results are a line a form.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

[ $# -eq 2 ] || die 64 "usage: launch/memory-budget.sh MOST-MIB MOST-WAIT-PERCENT"
build=${BUILD:-$root/build}
[ -x "$build/tests/sparse_data" ] || die 70 "no program $build/tests/sparse_data: build first"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
export OMP_NUM_THREADS=1

# peak FILE WORDS...: resident KiB at most of a training on that file, which leaves its metrics in run/metrics.jsonl
peak() {
    python3 - "$build/dptrain" train data.files="[$1]" model=mlp 'model.hidden=[256]' batch=256 eval_every=0 \
        steps="${steps:-8192}" log.every=100 run.dir=run run.overwrite=true "${@:2}" <<'PYTHON'
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=open("said", "w"), stderr=subprocess.STDOUT)
if done.returncode: sys.exit(open("said").read())
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
PYTHON
}

# Seconds from the first to the last line, and those of them that waited for data.
waited() {
    python3 - <<'PYTHON'
import json
lines = [json.loads(l) for l in open("run/metrics.jsonl") if '"train"' in l]
rows = [256 * (b["step"] - a["step"]) / b["samples_per_s"] for a, b in zip(lines, lines[1:])]
print("%.3f %.3f" % (sum(rows), lines[-1]["data_wait_s"] - lines[0]["data_wait_s"]))
PYTHON
}

"$build/tests/sparse_data" few.h5 4096 1024
own=$(steps=20 peak few.h5 data.memory=8 data.read_ahead=1)
failed=0
for form in contiguous deflated; do
    chunk_rows=() window=16
    [ "$form" = contiguous ] || { chunk_rows=(256) && window=2; }
    "$build/tests/sparse_data" all.h5 2097152 1024 "${chunk_rows[@]}"
    all=$(peak all.h5 data.memory=512 data.order=lanes data.window=$window)
    read -r seconds wait < <(waited)
    grep '^reading' said
    awk -v form="$form" -v own="$own" -v all="$all" -v s="$seconds" -v w="$wait" -v most="$1" -v share="$2" 'BEGIN {
        mib = (all - own) / 1024; percent = 100 * w / s
        printf "%s: %.0f MiB resident beside the %.0f of the trainer; waited for data for %.2f %% of %.1f s\n",
            form, mib, own / 1024, percent, s
        exit !(mib <= most && percent <= share) }' || failed=1
    rm all.h5
done
exit "$failed"
