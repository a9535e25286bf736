#!/bin/bash
# Samples of different lengths: the sum of a sequence is learned from sequences padded with zeros, at every rank count;
# cut where asked; their lengths as an input of their own; what does not fit is refused by name.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# part NAME ROWS: sequences of 1 to 6 steps, where each begins, their sums and lengths
part() {
    awk -v part="$1" -v rows="$2" 'BEGIN {
        print 0 >part ".begin.csv"
        for (n = 0; n < rows; n++) {
            sum = 0
            for (k = 0; k < 1 + n * 5 % 6; k++) {
                v = (n * 7 + k * 11 + n * k) % 17 / 8 - 1
                print v >part ".x.csv"
                sum += v
                total++
            }
            print total >part ".begin.csv"
            print sum >part ".sum.csv"
            print k >part ".count.csv"
        }
    }'
}
part train 600
part test 120
run "$dptrain" data import data.h5 /train/x=train.x.csv /train/begin=train.begin.csv#1:i64 /train/sum=train.sum.csv \
    /train/count=train.count.csv /test/x=test.x.csv /test/begin=test.begin.csv#1:i64 /test/sum=test.sum.csv \
    /test/count=test.count.csv
expect 0

job=(data.files=data.h5 loss=mse model=mlp model.hidden=16 batch=40 optimizer.name=adam optimizer.lr=0.02 eval_every=0
    run.dir=run data.train.y=/train/sum)
by=(data.train.offsets=/train/begin data.test.offsets=/test/begin data.test.y=/test/sum)

# test_loss BELOW: the last line of the evaluation
test_loss() {
    local loss
    loss=$(sed -n 's/^test loss \([0-9.e+-]*\).*/\1/p' out)
    awk -v a="${loss:-9}" -v b="$1" 'BEGIN { exit !(a < b) }' || failed "a test loss below $1" "${loss:-none}"
}

for ranks in $rank_counts; do
    rm -rf run
    on "$ranks" train "${job[@]}" "${by[@]}" epochs=30
    expect 0
    test_loss 0.01
done

# what was trained on 6 steps takes 6 in evaluation
run "$dptrain" eval run/params.h5 data.files=data.h5
expect 0
test_loss 0.01

# cut to 2 steps a sum cannot be known
rm -rf run
on 1 train "${job[@]}" "${by[@]}" data.length=2 data.cut=true epochs=10
expect 0
awk -v a="$(sed -n 's/^test loss \([0-9.e+-]*\).*/\1/p' out)" 'BEGIN { exit !(a > 0.05) }' ||
    failed "a test loss above 0.05" "$(grep '^test loss' out)"

# test samples split off from those of training
rm -rf run
on 2 train "${job[@]}" data.train.offsets=/train/begin data.test.fraction=0.2 epochs=1
expect 0
grep -q '480 training samples, 120 test samples' out || failed "480 and 120 samples" "$(grep samples out)"

# chunks of steps are decoded once and kept, in an order that takes samples from anywhere
run "$dptrain" data pack packed.h5 data.h5 --chunk-rows 100 --deflate 4
expect 0
rm -rf run
on 1 train "${job[@]/data.h5/packed.h5}" "${by[@]}" data.order=exact epochs=2
expect 0
grep -q '^order .*; chunks are decoded once and kept' out || failed "chunks decoded once" "$(grep '^order' out)"
python3 - run/metrics.jsonl <<'END' || failed "chunks decoded in the first pass alone" "$(grep '"pass"' run/metrics.jsonl)"
import json, sys
decoded = [m["chunks_decoded"] for m in map(json.loads, open(sys.argv[1])) if m["event"] == "pass"]
assert len(decoded) == 2 and decoded[0] > 20 and decoded[1] == 0
END

# how long they are, as an input by itself
rm -rf run
cat >count.yaml <<'END'
data:
  files: data.h5
  inputs:
    - {name: x, train_offsets: /train/begin, test_offsets: /test/begin}
    - {name: steps, train_offsets: /train/begin, test_offsets: /test/begin, lengths: true}
  targets: [{name: count, loss: mse}]
model:
  layers:
    - {type: concat, name: all, from: [x, steps]}
    - {type: linear, name: head, from: all, out: classes}
batch: 40
epochs: 30
eval_every: 0
optimizer: {name: adam, lr: 0.05}
run: {dir: run}
END
on 2 train count.yaml
expect 0
test_loss 0.05

refused() { # CODE PATTERN WORD...
    local code=$1 pattern=$2 ranks
    shift 2
    for ranks in $rank_counts; do
        rm -rf run
        on "$ranks" train "$@"
        expect_refusal "$code" "$pattern"
    done
}
refused 65 'data.h5: /train/x: sample [0-9]+ \(row [0-9]+ of the file\) has 6 steps, more than the 5 wanted' \
    "${job[@]}" "${by[@]}" data.length=5
rank_counts=${rank_counts%% *}
refused 65 '/test/begin holds 121 offsets, so 120 samples; /train/sum has 600' "${job[@]}" \
    data.train.offsets=/test/begin data.test.offsets=/test/begin data.test.y=/test/sum
refused 64 'data.train.offsets and data.test.offsets go together' data.files=data.h5 data.train.offsets=/train/begin
refused 64 'data.length' data.files=data.h5 data.length=5
