#!/bin/bash
# Training features as typed: augmentation and mixup give the same losses at any number of ranks and threads; metrics in
# the output, in metrics.jsonl and from eval; early stopping keeps the best parameters; pictures are XML with what the
# metrics say; what does not fit is refused before the first step.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" data.h5
job=(data.files=data.h5 model=mlp model.hidden=16 batch=60 epochs=2 log.every=1 run.dir=run)
changed=("${job[@]}" augment.flip=both augment.crop=1 augment.padding=reflect augment.cutout=2 augment.brightness=0.2
    augment.contrast=0.2 mixup.alpha=0.4)

losses() {
    python3 -c 'import json, sys
for line in open("run/metrics.jsonl"):
    m = json.loads(line)
    if m["event"] == "train": print(m["step"], m["loss"])' >"$1"
}

# the same losses, whoever reads the samples; other ones without
for ranks in 1 2 4; do
    rm -rf run
    on "$ranks" "${changed[@]}" data.threads="$ranks"
    expect 0
    losses "losses.$ranks"
done
rm -rf run
on 1 "${job[@]}"
losses losses.plain
what="losses of changed samples at 1, 2 and 4 ranks"
[ "$(wc -l <losses.1)" -eq 20 ] || failed "20 losses" "$(wc -l <losses.1)"
paste losses.1 losses.2 losses.4 losses.plain | awk '
    { if (($2 - $4)^2 + ($2 - $6)^2 > 1e-8 * $2 * $2) { print; exit 1 } if (($2 - $8)^2 < 1e-8) { print; exit 1 } }' >difference ||
    failed "equal within 1e-4, and not those of the samples as they are" "$(cat difference)"

# metrics and pictures; the confusion matrix counts every sample, and its diagonal is the accuracy
measured=("${job[@]}" 'metrics=[accuracy,top5,confusion]')
for ranks in 1 3; do
    rm -rf run
    on "$ranks" "${measured[@]}"
    expect 0
    python3 - <<'END' >checked 2>&1 || failed "metrics and pictures" "$(tail -n 1 checked)"
import json, xml.etree.ElementTree as xml
shown = [json.loads(l) for l in open("run/metrics.jsonl") if '"evaluate"' in l]
assert len(shown) == 2
for m in shown:
    c = m["confusion"]
    assert sum(map(sum, c)) == m["samples"] == 200 and [sum(r) for r in c] == [20] * 10
    assert abs(sum(c[i][i] for i in range(10)) / 200 - m["accuracy"]) < 1e-9
    assert m["accuracy"] <= m["top5"] <= 1
svg = "{http://www.w3.org/2000/svg}"
curves = xml.parse("run/curves.svg").getroot()
lines = curves.findall(svg + "polyline")
assert [len(l.get("points").split()) for l in lines] == [20, 2, 2, 2, 20], [len(l.get("points").split()) for l in lines]
texts = [t.text for t in curves.findall(svg + "text")]
assert {"loss", "metrics", "learning rate", "step"} <= set(texts), texts
assert "accuracy %.4g" % shown[1]["accuracy"] in texts, texts
cells = [int(t.text) for t in xml.parse("run/confusion.svg").getroot().findall(svg + "text") if t.get("fill")]
assert cells == [n for row in shown[1]["confusion"] for n in row if n > 0], cells
END
    cp out shown
    on "$ranks" eval run/params.h5
    expect 0
    [ "$(tail -n 1 out)" = "$(tail -n 1 shown)" ] || failed "$(tail -n 1 shown)" "$(tail -n 1 out)"
    grep -q '^test top5 ' out || failed "top5" "$(cat out)"
    [ "$(grep -Ec '^([0-9]+ ){9}[0-9]+$' out)" -eq 10 ] || failed "ten lines of the confusion matrix" "$(cat out)"
done

# numbers: the squared rmse is the mean squared error, also where samples are mixed in training
rm -rf run
on 2 "${job[@]}" loss=mse optimizer.lr=0.01 mixup.alpha=0.2
expect 0
python3 -c 'import json
m = [json.loads(l) for l in open("run/metrics.jsonl")][-1]
assert abs(m["rmse"] ** 2 - m["loss"]) < 1e-6 * m["loss"] and 0 < m["mae"] <= m["rmse"], m
assert abs(m["r2"] - (1 - m["loss"] / 8.25)) < 1e-6, m # targets 0 to 9: a variance of 8.25
print("test rmse %.6f" % m["rmse"])' >rmse 2>&1 || failed "metrics of numbers" "$(tail -n 1 rmse)"
on 3 eval run/params.h5
grep -qxF "$(cat rmse)" out || failed "$(cat rmse)" "$(cat out)"

# one test sample with the wrong label: its loss rises as the others are learnt
"$make_data" wrong.h5 train=1 test=300 label=0:5
stopping=(data.files=wrong.h5 data.train.x=/test/x data.train.y=/test/y data.test.x=/train/x data.test.y=/train/y
    model=mlp model.hidden=16 batch=60 epochs=9 schedule=constant run.dir=run)
for ranks in 1 2; do
    rm -rf run
    on "$ranks" "${stopping[@]}" early_stop.metric=loss early_stop.patience=2
    expect 0
    grep -Eq 'stopped after step [0-9]+: loss has not improved for 2 evaluations' out || failed "why" "$(cat out)"
    python3 -c 'import json
loss = [json.loads(l)["loss"] for l in open("run/metrics.jsonl") if "evaluate" in l]
epoch = json.load(open("run/exit_report.json"))["epoch"]
assert len(loss) == epoch < 9 and loss.index(min(loss)) == epoch - 3, (loss, epoch)
print("test loss %.6f" % min(loss))' >best 2>&1 || failed "an end two evaluations after the best" "$(tail -n 1 best)"
    on "$ranks" eval run/params.h5
    grep -qxF "$(cat best)" out || failed "$(cat best), the best" "$(cat out)"
done
rm -rf run
on 2 "${stopping[@]/epochs=9/epochs=4}" early_stop.metric=accuracy early_stop.patience=9 early_stop.min_delta=0.5
expect 0
report_says epoch 4 # patience outlasts it

refused 64 'augment.padding does nothing without augment.crop$' "${job[@]}" augment.padding=reflect
refused 64 'augment.saturation needs three channels.*"x" have 1' "${job[@]}" augment.saturation=0.5
refused 64 'augment.cutout=7: images have 6 x 6 pixels' "${job[@]}" augment.cutout=7
refused 64 'reflection needs less than the image.s 6 x 6 pixels' "${job[@]}" augment.crop=6 augment.padding=reflect
refused 64 'augment.flip moves the pixels of /train/x, but not those of its targets' data.files=data.h5 \
    model=autoencoder loss=mse steps=2 run.dir=run augment.flip=horizontal
refused 64 'without loss.class_weights and loss.ignore' "${job[@]}" mixup.alpha=0.2 loss.ignore=3
refused 64 'mixup.alpha.* 0.* not in \(0, 1000\]' "${job[@]}" mixup.alpha=0
refused 64 'no metric "acuracy": did you mean "accuracy"\?' "${job[@]}" metrics=acuracy
refused 64 'metric "r2" is for numbers: this loss has classes' "${job[@]}" metrics=r2
refused 64 'early_stop.metric=mae is neither loss nor among metrics' "${job[@]}" early_stop.metric=mae
refused 64 'early_stop.patience does nothing without early_stop.metric$' "${job[@]}" early_stop.patience=2
refused 64 'early_stop.metric=loss needs evaluations: eval_every is 0' "${job[@]}" early_stop.metric=loss eval_every=0
[ ! -e run ] || failed "no run directory" "$(ls run)"

# a list of layers stays with the run, and evaluates its parameters when the list itself has changed
printf 'layers:\n  - {type: flatten}\n  - {type: linear, name: head, out: classes}\n' >net.yaml
cp net.yaml net.before
rm -rf run
on 1 data.files=data.h5 model.file=net.yaml batch=60 steps=2 run.dir=run
expect 0
cmp -s run/layers.yaml net.before || failed "the list in the run's folder" "$(ls run)"
echo nothing >net.yaml
on 1 eval run/params.h5 run/config.yaml model.file=run/layers.yaml
expect 0
