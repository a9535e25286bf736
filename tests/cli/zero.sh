#!/bin/bash
# ZeRO-1 and updates by bucket as typed: the same curve as without, in training, evaluation and from the file; what
# explain and bench say; what does not go together.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" good.h5
job=(data.files=good.h5 model=mlp model.hidden=16 run.dir=run batch=60 epochs=2 optimizer=adamw comm.bucket_mb=0.001)

# Step, loss and norm of every line of run/metrics.jsonl, without times.
curve() {
    python3 -c 'import json, sys
for line in open("run/metrics.jsonl"):
    m = json.loads(line)
    print(m.get("step"), m.get("loss"), m.get("event"), m.get("skipped"))' >"$1"
}

# Two ranks add in no order that could matter: the same digits.
on 2 train "${job[@]}"
expect 0
curve plain
on 2 eval run/params.h5
grep -i loss out >plain.eval
for words in optimizer.zero=1 optimizer.by_bucket=true 'optimizer.zero=1 optimizer.by_bucket=true'; do
    rm -rf run
    # shellcheck disable=SC2086 # words
    on 2 train "${job[@]}" $words
    expect 0
    curve other
    same_bytes plain other
    on 1 eval run/params.h5
    expect 0
    grep -i loss out >other.eval
    same_bytes plain.eval other.eval
done

# fp16: norms of scaled gradients, a scale that all ranks move alike; on a thread; over micro-batches
for words in precision=fp16 'accumulate=3 comm.thread=on'; do
    for zero in 0 1; do
        rm -rf run
        # shellcheck disable=SC2086 # words
        on 2 train "${job[@]}" $words optimizer.zero=$zero
        expect 0
        curve zero.$zero
    done
    same_bytes zero.0 zero.1
done

on 2 explain train "${job[@]}" optimizer.zero=1
expect 0
for word in gather_start gather_wait scatter_start scatter_wait 'updates shared out over 2 ranks'; do
    grep -q "$word" out || failed "$word in the program" "$(tail -n 3 out)"
done

on 2 bench mlp seconds=0.1 zero=1
expect 0
grep -q '^mlp        ranks 2 batch 64 ' out || failed "a line for mlp" "$(cat out)"

refused 64 'without optimizer.clip_norm' train "${job[@]}" optimizer.by_bucket=true optimizer.clip_norm=1
refused 64 'optimizer.zero' train "${job[@]}" optimizer.zero=2
