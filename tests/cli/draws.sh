#!/bin/bash
# Training in the orders weighted, balanced and buckets: the same ledger of each pass and the same losses at 1 and 3 ranks,
# in epochs of a fixed number of steps, with mixup too; what the header says; weights of 0; classes without a sample; what the
# words and the datasets of numbers may not be.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" d.h5 train=1230 side=8 numbers=1230
job=(model=mlp model.hidden=16 run.dir=run batch=60 log.every=1 threads=1)

# A pass over the samples has 21 steps, the last one of 30 samples; three epochs of 15 are two passes and 3 steps more.
# as_one NAME RANKS HEADER WORD...: the same at 1 rank and at RANKS.
as_one() {
    local name=$1 most=$2 header=$3 ranks
    shift 3
    for ranks in 1 $most; do
        rm -rf run
        on "$ranks" train "${job[@]}" data.files=d.h5 epochs=3 epoch.steps=15 data.order="$name" "$@"
        expect 0
        grep -Eq "^order +$header\$" out || failed "order $header in the header" "$(head -n 8 out)"
        report_says step 45
        report_says epoch 3
        split_metrics "losses.$ranks" "ledgers.$ranks"
        [ "$(wc -l <"losses.$ranks")" -eq 48 ] || failed "45 steps and 3 evaluations" "$(wc -l <"losses.$ranks")"
    done
    same_bytes ledgers.1 "ledgers.${most:-1}"
    [ "$(cut -d' ' -f1,2 ledgers.1 | tr '\n' ,)" = "1 1230,2 1230," ] ||
        failed "two passes of 1230 samples" "$(cat ledgers.1)"
    paste losses.1 "losses.${most:-1}" | awk '{ d = $2 - $4; if (d * d > 1e-8 * $2 * $2 + 1e-12) { print; exit 1 } }' >differ ||
        failed "losses equal within 1e-4 at 1 and $most ranks" "$(cat differ)"
    cp ledgers.1 "ledgers.$name"
    cp losses.1 "losses.$name"
}

as_one exact '' 'exact'
as_one weighted 2 'weighted by /train/weight' data.weights=/train/weight mixup.alpha=0.4
as_one balanced 3 'balanced over the classes'
as_one buckets 3 'buckets by length; 4 batches are sorted at a time' data.lengths=/train/length data.bucket_batches=4
if cmp -s ledgers.exact ledgers.weighted; then failed "samples drawn with repetition" "each once"; fi
# each sample once; in order `balanced` because each class has as many
for name in balanced buckets; do
    same_bytes ledgers.exact ledgers.$name
    if cmp -s losses.exact losses.$name; then failed "other batches in order $name" "the same losses"; fi
done

# sample 25 is no number, but has weight 0; it is one of those that the split leaves to training
"$make_data" nan.h5 type=f32 value=25:nan numbers=600
rm -rf run
on 2 train "${job[@]}" data.files=nan.h5 data.test.fraction=0.2 epochs=2 data.order=weighted data.weights=/train/weight
expect 0
rank_counts=1
refused 65 'sample 25 ' train "${job[@]}" data.files=nan.h5 epochs=1 data.order=exact

# ten samples, of which number 3 has the label of number 4
"$make_data" few.h5 train=10 label=3:4
rm -rf run
on 2 train "${job[@]}" data.files=few.h5 epochs=1
expect 0
grep -q '^dptrain: /train/y: no training sample has label 3 (1 of 10)' err ||
    failed 'a warning of label 3' "$(cat err)"
[ "$(grep -c 'no training sample' err)" -eq 1 ] || failed "one warning over both ranks" "$(cat err)"
refused 65 '/train/y: no training sample has label 3 \(1 of 10\): data.order=balanced' \
    train "${job[@]}" data.files=few.h5 data.order=balanced
# nor does what loss.ignore says count as one
refused 65 'no training sample has label 3 and 4 \(2 of 10\)' \
    train "${job[@]}" data.files=few.h5 data.order=balanced loss.ignore=4

"$make_data" short.h5 numbers=599
[ -n "${RANK_COUNTS:-}" ] || rank_counts=3 # found by all ranks at once
refused 65 'short.h5: /train/weight has 599 rows, but /train/x has 600: one for each sample' \
    train "${job[@]}" data.files=short.h5 data.order=weighted data.weights=/train/weight
rank_counts=1
refused 65 '/train/wait' train "${job[@]}" data.files=d.h5 data.order=weighted data.weights=/train/wait
refused 65 '/train/x holds 64 values a sample' train "${job[@]}" data.files=d.h5 data.order=weighted data.weights=/train/x
refused 65 '/train/weight: ' train "${job[@]}" data.files=d.h5 data.order=buckets data.lengths=/train/weight
refused 64 'data.order=weighted needs data.weights' train "${job[@]}" data.files=d.h5 data.order=weighted
refused 64 'data.order=buckets goes by the lengths' train "${job[@]}" data.files=d.h5 data.order=buckets
refused 64 'data.order=balanced goes by the labels' train "${job[@]}" data.files=d.h5 data.order=balanced loss.name=mse
refused 64 'data.weights' train "${job[@]}" data.files=d.h5 data.weights=/train/weight
refused 64 'data.window' train "${job[@]}" data.files=d.h5 data.order=balanced data.window=4

# chunks with filters: what exact order costs there
"$make_data" deflated.h5 train=1200 side=8 chunk=40 deflate=1
rm -rf run
on 1 train "${job[@]}" data.files=deflated.h5 epochs=1 data.order=exact
expect 0
grep -Eq '^order +exact; chunks are decoded once and kept$' out ||
    failed "all chunks kept" "$(head -n 8 out)"

# 84 blocks of chunks could make up to 10 lanes, but a batch of 53 has none but 1
"$make_data" lanes.h5 train=6000 side=32 chunk=9
rm -rf run
on 1 train "${job[@]/batch=60/batch=53}" data.files=lanes.h5 steps=2 eval_every=0 data.window=4
expect 0
grep -q 'order lanes mixes only 4 of 84 blocks at a time, as batch=53 has no divisor from 8 to 10:' err ||
    failed "a warning of a single lane" "$(cat err)"

# sequences of 1 to 6 steps go by their own lengths
awk 'BEGIN { print 0 >"begin.csv"
    for (n = 0; n < 300; n++) {
        for (k = 0; k < 1 + n * 5 % 6; k++) { print k / 8 >"x.csv"; all++ }
        print all >"begin.csv"; print k / 8 >"y.csv" } }'
run "$dptrain" data import sequences.h5 /x=x.csv /begin=begin.csv#1:i64 /y=y.csv
expect 0
rm -rf run
on 2 train data.files=sequences.h5 data.train.x=/x data.train.offsets=/begin data.train.y=/y data.test.x=/x \
    data.test.offsets=/begin data.test.y=/y loss=mse model=mlp model.hidden=8 run.dir=run batch=40 epochs=1 \
    data.order=buckets
expect 0
grep -q '^order  *buckets by length; 50 batches' out || failed "buckets of sequences" "$(head -n 8 out)"
