#!/bin/bash
# The built-in cnn trained on the CUDA backend as built for the CPU (tests/hostcuda/) and on CPU ranks, with the same
# seed: the same loss at every step, CURVE_STEPS of them in fp32 (80), and the same test accuracy; 6 steps at 2 ranks; a
# quarter in bf16.
#
# On Fashion-MNIST where Debian's package is installed, else on the generated digits. Batches of 32, and 400 of the
# 10,000 test samples, so that it takes a minute: that backend makes some 150 samples a second. The learning rate
# is low on purpose: at the built-in one rounding grows to 0.3 in 200 steps, between 1 and 2 CPU ranks as between CPU
# and CUDA, and a difference would say nothing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

use_host_device 1
export XDG_CACHE_HOME=$scratch/cache
limit_s=240
steps=${CURVE_STEPS:-80}

source_folder=/usr/share/datasets/fashion-mnist
test_samples=400
data=()
if [ -r $source_folder/train-images-idx3-ubyte.gz ]; then
    # the first samples of the test set, as IDX files: the number of samples is the second word of the header
    first() {
        gunzip -c "$1" >whole
        { head -c 4 whole && printf '\0\0\001\220' && head -c "$2" whole | tail -c +9; } >"$3"
    }
    first $source_folder/t10k-images-idx3-ubyte.gz $((16 + test_samples * 784)) images
    first $source_folder/t10k-labels-idx1-ubyte.gz $((8 + test_samples)) labels
    run "$dptrain" data import fashion.h5 /train/x=$source_folder/train-images-idx3-ubyte.gz \
        /train/y=$source_folder/train-labels-idx1-ubyte.gz /test/x=images /test/y=labels
    expect 0
    data=(data.files=fashion.h5 'data.mean=[0.286]' 'data.std=[0.353]')
fi

# train RUN RANKS DEVICE WORDS...
train() {
    local folder=$1 ranks=$2 device=$3
    shift 3
    HOSTCUDA_DEVICES=$ranks on "$ranks" train "${data[@]}" model=cnn batch=32 optimizer.lr=0.002 seed=7 log.every=1 \
        run.dir="$folder" device="$device" "$@"
    expect 0
}

# same_curve CPU CUDA STEPS TOLERANCE: of the loss at every step, relative; says the largest difference.
same_curve() {
    what="$2 beside $1"
    python3 - "$@" >out 2>err <<'END' || failed "losses within $4 at $3 steps, and the same test accuracy" "$(tail -n 3 out err)"
import json, sys
cpu, cuda = ([json.loads(line) for line in open(name + "/metrics.jsonl")] for name in sys.argv[1:3])
steps, tolerance = int(sys.argv[3]), float(sys.argv[4])
a, b = ({m["step"]: m["loss"] for m in run if m["event"] == "train"} for run in (cpu, cuda))
assert sorted(a) == sorted(b) == list(range(1, steps + 1)), (sorted(a), sorted(b))
off = {step: abs(b[step] / a[step] - 1) for step in a}
worst = max(off, key=off.get)
accuracy = [[m["accuracy"] for m in run if m["event"] == "evaluate"] for run in (cpu, cuda)]
assert len(accuracy[0]) == len(accuracy[1]) == 1, accuracy
print(f"largest difference {off[worst]:.1e} at step {worst}: {a[worst]} and {b[worst]}; accuracy {accuracy}")
sys.exit(off[worst] > tolerance or abs(accuracy[0][0] - accuracy[1][0]) > 0.005)
END
    echo "$what: $(cat out)"
}

train cpu 1 cpu steps="$steps"
train cuda 1 cuda steps="$steps"
same_curve cpu cuda "$steps" 1e-4

# training it was: the loss has gone down
what="the loss of $steps steps"
python3 - >out 2>&1 <<'END' || failed "less than 0.92 of its first values" "$(cat out)"
import json, sys
loss = [m["loss"] for m in map(json.loads, open("cpu/metrics.jsonl")) if m["event"] == "train"]
print(sum(loss[:10]), sum(loss[-10:]))
sys.exit(sum(loss[-10:]) > 0.92 * sum(loss[:10]))
END

train cpu_np2 2 cpu steps=6
train cuda_np2 2 cuda steps=6
same_curve cpu_np2 cuda_np2 6 1e-4

train cpu_bf16 1 cpu steps=$((steps / 4)) precision=bf16
train cuda_bf16 1 cuda steps=$((steps / 4)) precision=bf16
same_curve cpu_bf16 cuda_bf16 $((steps / 4)) 0.02
