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
kill -STOP "$holder" # it need not take a core from the others
refused 64 "run directory held is in use by process $holder on $(uname -n)" "${job[@]}" steps=2 run.dir=held
refused 64 "held is in use by process $holder " "${job[@]}" steps=2 run.dir=held run.overwrite=true
kill -KILL "$holder"
wait "$holder" 2>/dev/null || true

# What a killed run leaves can be taken over.
[ -s held/lock ] || failed "a lock that names its killed process" "none"
accepted '^test accuracy 0\.' "${job[@]}" steps=20 run.dir=held run.overwrite=true

# No room for the parameters, 17 MiB: no file may grow past 16 MiB.
for ranks in $rank_counts; do
    rm -rf run
    (
        ulimit -f 16384
        on "$ranks" data.files=good.h5 model=mlp model.hidden=2048,2048 batch=60 steps=2 run.dir=run
        echo "$status" >code
    )
    what="$ranks ranks with 16 MiB a file"
    status=$(cat code)
    expect_refusal 74 'run/params.h5.*File too large'
    report_says exit_code 74
    report_says phase save
    [ -z "$(find run -name 'params*')" ] || failed "no part of a params.h5" "$(ls -l run)"
done
