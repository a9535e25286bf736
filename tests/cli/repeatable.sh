#!/bin/bash
# Two runs with the same words on as many ranks write the same bytes into params.h5, and dropout draws the same whatever
# the number of ranks.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" data.h5 side=12
mkdir a b
ln -s ../data.h5 a/data.h5
ln -s ../data.h5 b/data.h5

# twice RANKS WORDS...: in folders a and b.
twice() {
    local ranks=$1 folder
    shift
    for folder in a b; do
        cd "$folder"
        rm -rf run
        on "$ranks" data.files=data.h5 batch=50 steps=24 log.every=24 run.dir=run "$@"
        expect 0
        cd ..
    done
    same_bytes a/run/params.h5 b/run/params.h5
}

for ranks in 1 2 3; do
    twice "$ranks" model=mlp model.dropout=0.3 optimizer=adamw
    python3 -c 'import json; print(next(m["loss"] for m in map(json.loads, open("a/run/metrics.jsonl")) if "loss" in m))' >"loss.$ranks"
    twice "$ranks" model=cnn
done
twice 2 model=mlp model.batch_norm=sync data.threads=3 comm.bucket_mb=0.05
twice 2 model=mlp model.batch_norm=local accumulate=3 comm.thread=on

what="dropout at 1, 2 and 3 ranks"
paste loss.1 loss.2 loss.3 | awk '{ if (($1 - $2)^2 + ($1 - $3)^2 > 1e-6 * $1 * $1) { print; exit 1 } }' >out ||
    failed "the same loss of step 24 within 1e-3" "$(cat out)"

# another seed is another run
cd b
rm -rf run
on 2 data.files=data.h5 batch=50 steps=24 log.every=24 run.dir=run model=cnn seed=1
cd ..
if cmp -s a/run/params.h5 b/run/params.h5; then failed "other parameters with another seed" "the same"; fi
