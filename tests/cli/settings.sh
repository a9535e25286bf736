#!/bin/bash
# Losses, optimisers, schedules, groups of parameters and averages as typed: they train; what does not fit the model or
# the data is refused before the first step; a plateau and groups do what they say.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" data.h5
job=(data.files=data.h5 model=mlp model.hidden=16 batch=60 steps=4 log.every=1 run.dir=run run.overwrite=true)

for settings in "loss.smoothing=0.1 loss.ignore=3 loss.class_weights=[1,1,1,1,1,1,1,1,1,2] optimizer.nesterov=true" \
    "optimizer=lars optimizer.lr=1 optimizer.weight_decay=0.01 optimizer.zero=1 schedule=one_cycle" \
    "optimizer=lamb average.decay=0.9 schedule=multistep schedule.milestones=[2,3] schedule.unit=steps"; do
    # shellcheck disable=SC2086 # words
    on 2 "${job[@]}" $settings
    expect 0
done

# the rates of the last one: 0.001, then a tenth after steps 2 and 3
what="rates of schedule=multistep"
python3 - <<'END' >out 2>err || failed "0.001, 0.001, 0.0001, 0.00001" "$(cat out err)"
import json
rates = [m["lr"] for m in map(json.loads, open("run/metrics.jsonl")) if m["event"] == "train"]
print(rates)
assert all(abs(a / b - 1) < 1e-6 for a, b in zip(rates, [1e-3, 1e-3, 1e-4, 1e-5])) and len(rates) == 4
END

refused 64 'optimizer.groups "fc9\* lr=2": no parameter matches; there are fc1.weight to fc2.bias' \
    "${job[@]}" 'optimizer.groups=[fc9* lr=2]'
refused 64 'optimizer.groups "fc1\* speed=2": "speed=2" is none of lr=FACTOR, no_decay' \
    "${job[@]}" 'optimizer.groups=[fc1* speed=2]'
refused 64 'optimizer.groups "fc1\*": wanted a pattern, then settings' "${job[@]}" 'optimizer.groups=[fc1*]'
refused 64 'optimizer.groups "fc1\* lr=fast": "lr=fast" is no factor' "${job[@]}" 'optimizer.groups=[fc1* lr=fast]'
refused 64 'optimizer.frozen "layer\*": no parameter matches' "${job[@]}" 'optimizer.frozen=[layer*]'
refused 64 'schedule.metric=speed is neither loss nor among metrics' \
    "${job[@]}" schedule=plateau schedule.metric=speed
refused 64 'milestone 2 is 3: they must grow' "${job[@]}" schedule=multistep 'schedule.milestones=[3,3]' \
    schedule.unit=steps
refused 64 'one_cycle rises by itself' "${job[@]}" schedule=one_cycle schedule.warmup_steps=2

# targets of each position without a dimension for their one channel; norms of each sample; as kept in params.h5
planes=(data.files=data.h5 data.train.y=/train/image data.test.y=/test/image loss=mse batch=60 steps=2
    run.overwrite=true run.dir=planes model.width=4)
for settings in "model=unet model.norm=group model.depth=1" "model=unet model.norm=layer model.depth=1" \
    "model=fno2d model.modes=3"; do
    # shellcheck disable=SC2086 # words
    on 2 "${planes[@]}" $settings
    expect 0
    on 1 eval planes/params.h5
    expect 0
done
refused 64 'model.norm=group beside model.batch_norm=local: give one' "${job[@]}" model.norm=group \
    model.batch_norm=local
refused 64 'model.name=autoencoder gives back its input: a loss that compares values' \
    data.files=data.h5 model=autoencoder run.dir=run
refused 64 'loss.name=bce wants targets from 0 to 1, but those of model.name=autoencoder are its inputs' \
    data.files=data.h5 model=autoencoder loss=bce data.mean=0.1 run.dir=run
refused 64 'loss.name=bce wants targets from 0 to 1, but .*data.log, data.mean and data.std shift' \
    data.files=data.h5 model=autoencoder loss=bce data.log=1 run.dir=run

# transforms of the inputs: zeros among them have a logarithm after an offset or a clip, and none before; one-hot of
# integers, and the shape that it gives a model
refused 65 'data.h5: /train/x: sample [0-9]* .*the value 0 has no logarithm' "${job[@]}" data.log=0
for settings in "data.log=1 data.mean=0.5" "data.log=0 data.scale=1 data.clip=[1,200] data.std=2"; do
    # shellcheck disable=SC2086 # words
    on 2 "${job[@]}" $settings
    expect 0
    on 1 eval run/params.h5
    expect 0
done
labels=("${job[@]}" data.train.x=/train/y data.test.x=/test/y)
on 2 "${labels[@]}" data.one_hot=10
expect 0
grep -q '^ *one_hot: 10$' run/config.yaml || failed "one_hot: 10 in run/config.yaml" "none"
on 1 eval run/params.h5
expect 0
refused 65 'data.h5: /train/y: sample [0-9]* .*label 9 is outside \[0, 9\)' "${labels[@]}" data.one_hot=9
refused 64 'augment changes images: samples of "x" are one-hot' "${labels[@]}" data.one_hot=10 augment.flip=horizontal
refused 64 'stored zeros, which have no logarithm .data.log.: give augment.padding=reflect' "${job[@]}" data.log=0 \
    augment.crop=1

refused 64 '4 modes .model.modes., but a side of 6 has 1 to 3' "${planes[@]}" model=fno2d model.modes=4
refused 64 'schedule.name=plateau follows evaluations' "${job[@]}" schedule=plateau eval_every=0
on 1 "${job[@]}" schedule=step schedule.every=9000000000000000000
expect 0
