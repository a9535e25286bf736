#!/bin/bash
# Precisions as typed: what the header says, training and eval in each, a loss scale that finds its level, a run that
# diverges in fp16.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" good.h5
job=(data.files=good.h5 model=mlp model.hidden=16 run.dir=run)

# The last loss of the evaluations in run/metrics.jsonl.
last_loss() { sed -n 's/.*"evaluate".*"loss": \([0-9.]*\),.*/\1/p' run/metrics.jsonl | tail -n 1; }

reference=
for precision in fp32 tf32 bf16 fp16; do
    rm -rf run
    on 2 train "${job[@]}" batch=60 epochs=3 precision=$precision
    expect 0
    grep -Eq "^training +30 steps of 60 samples, $precision$" out || failed "$precision in the header" "$(head -n 5 out)"
    loss=$(last_loss)
    [ "$precision" != fp32 ] || reference=$loss
    awk -v a="$loss" -v b="$reference" 'BEGIN { exit !(a > 0 && a < 1.02 * b && a > 0.98 * b) }' ||
        failed "a test loss near fp32's $reference" "$loss"
    on 1 eval run/params.h5
    expect 0
done

on 1 explain precision train "${job[@]}" precision=bf16
expect 0
grep -Eq 'cast.* bf16 ' out || failed "casts to bf16" "$(cat out)"

# targets up to 9 make gradients of scale x 9 x 2: too large for the first scale, said once
rm -rf run
on 1 train "${job[@]}" batch=4 steps=30 loss=mse optimizer.lr=0.001 precision=fp16 log.every=1
expect 0
[ "$(grep -c 'the gradient does not fit fp16' out)" -eq 1 ] || failed "one line about the loss scale" "$(cat err)"
[ "$(head -n 30 run/metrics.jsonl | grep -c '"skipped": 1')" -ge 2 ] || failed "skipped steps" "$(cat run/metrics.jsonl)"
sed -n 26,30p run/metrics.jsonl >last
grep -q '"skipped": 1' last && failed "a scale that has found its level" "skipped steps"

# what is not finite forward is not for the scale to mend
rm -rf run
on 1 train "${job[@]}" batch=60 epochs=20 optimizer.lr=1e30 schedule=constant precision=fp16
expect 73
grep -q 'diverged: loss or gradient have not been finite in steps' err || failed "diverged" "$(cat err)"
