#!/bin/bash
# Run directories that cannot be had: not writable (74), not empty or in use (64); and a disk that fills up (74).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" good.h5
job=(data.files=good.h5 model=mlp model.hidden=16 batch=60)

touch file
refused 74 'run directory /dev/null/x cannot be made: Not a directory' "${job[@]}" steps=2 run.dir=/dev/null/x
refused 74 'run directory file/a/b cannot be made: Not a directory' "${job[@]}" steps=2 run.dir=file/a/b
refused 74 'run directory /proc/dptrain cannot be made' "${job[@]}" steps=2 run.dir=/proc/dptrain

mkdir full
echo kept >full/notes
refused 64 'run directory full is not empty \(notes\).*run.dir=.*run.overwrite=true' "${job[@]}" steps=2 run.dir=full
[ "$(ls full)" = notes ] || failed "a folder left as it was" "$(ls full)"
accepted '^test accuracy 0\.' "${job[@]}" steps=20 run.dir=full run.overwrite=true
[ "$(cat full/notes)" = kept ] || failed "other files left alone" "$(ls full)"

# In use: the message names the host and the process of the run that holds it.
"$dptrain" "${job[@]}" steps=100000000 eval_every=0 run.dir=held >/dev/null 2>&1 &
holder=$!
what="a run that holds its folder"
wait_for test -s held/metrics.jsonl || failed "a run that has begun within 30 s" "none"
refused 64 "run directory held is in use by process $holder on $(uname -n)" "${job[@]}" steps=2 run.dir=held
refused 64 "held is in use by process $holder " "${job[@]}" steps=2 run.dir=held run.overwrite=true
kill -KILL "$holder"
wait "$holder" 2>/dev/null || true

# What a killed run leaves can be taken over.
[ -s held/lock ] || failed "a lock that names its killed process" "none"
accepted '^test accuracy 0\.' "${job[@]}" steps=20 run.dir=held run.overwrite=true

# No room for the parameters: files may not grow past 8 KiB (for MPI's own files as well, so only without a launcher).
what="dptrain with 8 KiB a file"
mkdir small
(
    trap '' XFSZ
    ulimit -f 8
    run "$dptrain" "${job[@]}" model.hidden=256 steps=2 run.dir=run
    printf '%s\n' "$status" >small/status
)
status=$(cat small/status)
expect_refusal 74 'run/params.h5'
report_says exit_code 74
report_says phase save
[ ! -e run/params.h5 ] || failed "no half of a params.h5" "$(ls -l run)"
