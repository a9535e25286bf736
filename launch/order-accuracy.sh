#!/bin/bash
# Does order `lanes` train as well as order `exact`? On Fashion-MNIST sorted by class, in chunks, which is the worst case
# for an order that mixes few chunks at a time: a model is trained with both orders from several seeds, and the means of
# the final test accuracies are compared.
#
#   launch/order-accuracy.sh [--within 0.003] [--seeds 5] [--epochs 10] [--ranks 1] [--rows-per-chunk 21] [WORD...]
#
# WORDs go to each training, as model=cnn batch=32. Pixels are stored as floats, so that 21 rows are a chunk of 64 KiB and
# the training part has 2858 of them; with batch=128 there are 64 lanes, which mix 16 chunks each (data.window). The last
# line is what was measured; the exit status is 1 if the bound is missed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

within=0.003 seeds=5 epochs=10 ranks=1 rows=21
while [ $# -gt 1 ]; do
    case $1 in
    --within) within=$2 ;;
    --seeds) seeds=$2 ;;
    --epochs) epochs=$2 ;;
    --ranks) ranks=$2 ;;
    --rows-per-chunk) rows=$2 ;;
    *) break ;;
    esac
    shift 2
done
dptrain=${DPTRAIN:-$root/dptrain}
source_files=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# IDX to NPY, sorted by class; samples of a class stay in their order
python3 - "$source_files" <<'END'
import array, gzip, sys

def idx(name, head):
    with gzip.open(f"{sys.argv[1]}/{name}.gz") as f:
        return f.read()[head:]

def npy(name, kind, shape, values):
    head = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (kind, shape)
    head += " " * (-(len(head) + 11) % 64) + "\n"
    with open(name, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
        f.write(values)

for part, source in ("train", "train"), ("test", "t10k"):
    y, x = idx(source + "-labels-idx1-ubyte", 8), idx(source + "-images-idx3-ubyte", 16)
    order = sorted(range(len(y)), key=lambda i: y[i])
    pixels = array.array("f")
    for i in order:
        pixels.extend(x[784 * i : 784 * (i + 1)])
    npy(part + "-x.npy", "<f4", (len(y), 1, 28, 28), pixels)
    npy(part + "-y.npy", "|u1", (len(y),), bytes(y[i] for i in order))
END
"$dptrain" data import plain.h5 /train/x=train-x.npy /train/y=train-y.npy /test/x=test-x.npy /test/y=test-y.npy >&2
"$dptrain" data pack sorted.h5 plain.h5 --chunk-rows "$rows" >&2
rm -f ./*.npy plain.h5

# train ORDER SEED WORD...: prints the final test accuracy.
train() {
    local order=$1 seed=$2
    shift 2
    mpirun -np "$ranks" "$dptrain" train data.files=sorted.h5 data.scale=0.00392156862745098 data.mean=0.286 \
        data.std=0.353 data.order="$order" seed="$seed" epochs="$epochs" eval_every=0 run.dir=run run.overwrite=true \
        "$@" </dev/null >out
    grep '^order ' out >&2
    sed -n 's/^test accuracy \([0-9.]*\)$/\1/p' out | tail -n 1
}

for ((seed = 1; seed <= seeds; seed++)); do
    echo "$seed $(train exact "$seed" "$@") $(train lanes "$seed" "$@")" | tee -a accuracies >&2
done
awk -v within="$within" -v epochs="$epochs" '
    NF == 3 { e += $2; l += $3; d = $3 - $2; dd += d * d; n++ }
    END {
        if (n == 0) exit 1
        e /= n; l /= n
        spread = n > 1 ? sqrt((dd - n * (l - e) ^ 2) / (n - 1) / n) : 0
        printf "test accuracy after %d epochs, mean of %d seeds: exact %.4f, lanes %.4f, difference %+.4f (standard error %.4f)\n",
            epochs, n, e, l, l - e, spread
        exit !(l - e >= -within - 1e-9 && l - e <= within + 1e-9)
    }' accuracies
