#!/bin/bash
# Several inputs and targets: a problem whose answer is a formula is learned by layers that take inputs by name; means
# and deviations that are found are those of the formula, stand in the run's config and serve evaluation; samples of no
# dimension and of several; what does not fit is refused by name.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

make_fields=$BUILD/tests/make_fields
"$make_fields" data.h5

# the entries at the left, layers at the right
cat >two.yaml <<'END'
data:
  files: data.h5
  inputs:
    - {name: u, mean: auto, std: auto}
    - {train: /train/kind, test: /test/kind, name: k, type: i64}
  targets:
    - {name: flux, loss: mse, layer: head}
    - {name: regime, loss: cross_entropy, classes: 3, weight: 0.5, layer: top}
model:
  layers:
    - {type: embedding, name: table, from: k, count: 5, out: 4}
    - {type: concat, name: all, from: [u, table]}
    - {type: linear, name: head, from: all, out: classes}
    - {type: linear, name: top, from: all, out: classes}
batch: 32
epochs: 8
eval_every: 0
optimizer: {name: adam, lr: 0.05}
run: {dir: run}
END

# measured PYTHON: an assertion over `m`, the evaluation in run/metrics.jsonl
measured() {
    python3 - "$1" <<'END' >checked 2>&1 || failed "$1" "$(tail -n 1 checked)"
import json, sys
m = [json.loads(line) for line in open("run/metrics.jsonl") if '"evaluate"' in line][-1]
assert eval(sys.argv[1]), m
END
}

# found KEY NUMBER...: what run/config.yaml says of it, as "key=a:b" or "key: [a, b]"
found() {
    python3 - "$@" <<'END' >checked 2>&1 || failed "$*" "$(tail -n 1 checked)"
import re, sys
said = re.search(sys.argv[1] + r"(?:=([^ \"]*)|: \[([^]]*)\])", open("run/config.yaml").read())
numbers = [float(x) for x in re.split("[:,]", said[1] or said[2])]
assert len(numbers) == len(sys.argv) - 2, numbers
assert all(abs(x - float(w)) < 1e-12 for x, w in zip(numbers, sys.argv[2:])), numbers
END
}

for ranks in $rank_counts; do
    rm -rf run
    on "$ranks" train two.yaml
    expect 0
    measured 'm["flux_rmse"] < 0.02 and m["flux_r2"] > 0.999 and m["regime_accuracy"] == 1 and m["samples"] == 240'
    # the sum of the losses, weighted; a mean and a deviation for each of the four values
    measured 'm["flux_rmse"] ** 2 < m["loss"] < m["flux_rmse"] ** 2 + 0.1'
    found mean 7.5 7.5 7.5 7.5
    found std 4.6097722286464435 4.6097722286464435 4.6097722286464435 4.6097722286464435
done

# eval takes the numbers that params.h5 keeps; in larger batches, with twice the weights, the loss is twice as large
run "$dptrain" eval run/params.h5 eval_batch=200 \
    'data.targets=[flux loss=mse layer=head weight=2, regime loss=cross_entropy classes=3 layer=top]'
expect 0
grep -q '^test regime_accuracy 1' out || failed "the accuracy of training" "$(cat out)"
loss=$(sed -n 's/^test loss //p' out)
measured "abs(2 * m['loss'] - ${loss:-0}) < 1e-5"

# the config that training was given says auto: that is what training found, not what other samples would give
run "$dptrain" eval run/params.h5
expect 0
grep '^test ' out >by_params
cp run/params.h5 trained.h5 # refused() removes the run
echo 0-9 >few.txt
run "$dptrain" eval run/params.h5 two.yaml data.train.include=few.txt
expect 0
diff by_params <(grep '^test ' out) >difference || failed "the evaluation by params.h5" "$(cat difference)"
refused 64 'the mean of target "flux" is auto, which evaluation takes from trained.h5' eval trained.h5 two.yaml \
    'data.targets=[flux loss=mse layer=head mean=auto, regime loss=cross_entropy classes=3 layer=top]'

# the program shows what it takes
run "$dptrain" explain lower two.yaml
expect 0
grep -Eq '^input  *u .*/train/u, /test/u.*f32 \[4\]' out || failed "the input u" "$(head -n 5 out)"
grep -Eq '^input  *k .*/train/kind, /test/kind.*i64 \[\]' out || failed "the input k" "$(head -n 5 out)"
grep -Eq '^target  *regime .*cross_entropy' out || failed "the target regime" "$(head -n 5 out)"

# a number a sample, two dimensions, samples of different lengths: their sum is learned; what is found is of what is
# clipped, and of steps, not of what fills up
rank_counts=${rank_counts%% *}
cat >all.yaml <<'END'
data:
  files: data.h5
  inputs:
    - {name: place, mean: auto}
    - {name: field, mean: auto, std: [2, 4], clip: [-8, 8]}
    - {name: walk, train_offsets: /train/begin, test_offsets: /test/begin}
    - {name: steps, train_offsets: /train/begin, test_offsets: /test/begin, lengths: true}
  targets: [{name: total, loss: mse}]
model:
  layers:
    - {type: flatten, name: flat, from: field}
    - {type: concat, from: [place, flat, walk, steps]}
    - {type: linear, out: classes}
batch: 32
epochs: 8
eval_every: 0
optimizer: {name: adam, lr: 0.05}
run: {dir: run}
END
accepted '^test loss' train all.yaml
measured 'm["r2"] > 0.99'
found 'place mean' 0.75
found 'clip=-8:8 mean' 5.75 7
found 'std' 2 4
run "$dptrain" explain lower all.yaml
grep -Eq '^input  *walk .*f32 \[4\]' out || failed "four steps" "$(head -n 3 out)"
walk='walk train_offsets=/train/begin test_offsets=/test/begin length=3'
one=('data.targets=[total loss=mse layer=out]' steps=2 run.dir=run)
printf 'layers: [{type: linear, name: out, out: classes}]\n' >one.yaml
accepted '^test loss' train data.files=data.h5 model.file=one.yaml "${one[@]}" "data.inputs=[$walk cut=true mean=auto pad=-1]"
found mean 7.888888888888889 # of the three steps that are kept
refused 65 'data.h5: /train/walk: .*4 steps' train data.files=data.h5 model.file=one.yaml "${one[@]}" "data.inputs=[$walk]"

# the short form; a layer may be called x then
printf 'layers: [{type: flatten, name: x}, {type: linear, from: x, out: classes}]\n' >short.yaml
accepted '^test loss' train data.files=data.h5 loss=mse data.train.y=/train/flux data.test.y=/test/flux model.file=short.yaml \
    steps=2 eval_every=0 run.dir=run data.train.x=/train/field data.test.x=/test/field \
    data.mean=auto_all data.std=auto_all
found '  mean' 7.25

# a model that gives back its input compares with what it was given: bytes as 0 to 1
"$make_data" images.h5
accepted '^test loss' train data.files=images.h5 model=autoencoder loss=mse steps=2 eval_every=0 run.dir=run
measured 'm["loss"] < 1'

# what does not fit
refused 64 'the name "u" is given twice' train two.yaml 'data.inputs=[u, u type=i64]'
refused 64 'metric "top5" is for classes: no target has classes' train two.yaml 'metrics=[mae,top5]' \
    'data.targets=[flux loss=mse layer=head, place loss=mse layer=top]'
refused 64 'model.name=mlp takes one input, but data.inputs has 2 \(u, k\)' train data.files=data.h5 model=mlp \
    'data.inputs=[u, k type=i64]'
refused 64 'two.yaml:[0-9]+: from: no layer or input "k".*the inputs are u, kind' train two.yaml \
    'data.inputs=[u, kind type=i64]'
refused 64 'two.yaml: no layer takes the input "place"' train two.yaml \
    'data.inputs=[u, k train=/train/kind test=/test/kind type=i64, place]'
refused 64 'embedding: ids are f32' train two.yaml 'data.inputs=[u, k train=/train/kind test=/test/kind]'
"$make_fields" fewer.h5 kinds=959
refused 65 'fewer.h5: /train/kind has 959 rows, /train/u has 960' train two.yaml data.files=fewer.h5
