#!/bin/bash
# examples/02_fashion_mnist.c at 2 ranks, on the unpacked files of Debian's dataset-fashion-mnist.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

source_folder=/usr/share/datasets/fashion-mnist
[ -r $source_folder/train-images-idx3-ubyte.gz ] || exit 77
for packed in "$source_folder"/*.gz; do gunzip -c "$packed" >"$(basename "$packed" .gz)"; done

limit_s=120
run mpirun -np 2 "$BUILD/examples/02_fashion_mnist" . 100
expect 0
[ ! -s err ] || failed "no message" "$(cat err)"
last=$(tail -n 1 out)
[[ $last =~ ^test\ accuracy\ 0\.[6-9][0-9]{3}$ ]] || failed "a test accuracy of at least 0.6 after 100 steps" "$last"
