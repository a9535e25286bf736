#!/bin/bash
# dptrain bench: a line a workload in the format of tests/peers/torch_ddp.py:
#   name ranks R batch B steps N samples/s X step_ms Y gflop/s Z
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

for ranks in 1 2; do
    on "$ranks" bench surrogate mlp cnn seconds=0.2
    expect 0
    [ ! -s err ] || failed "no message" "$(cat err)"
    [ "$(wc -l <out)" -eq 3 ] || failed "3 lines" "$(cat out)"
    for workload in 'surrogate  ranks R batch 256' 'mlp        ranks R batch 64' 'cnn        ranks R batch 64'; do
        grep -Eq "^${workload/R/$ranks} steps +[0-9]+ samples/s +[0-9]+\.[0-9] step_ms +[0-9]+\.[0-9]{3} gflop/s +[0-9]+\.[0-9]\$" out ||
            failed "a line '$workload'" "$(cat out)"
    done
    # samples/s and step_ms say the same
    awk -v r="$ranks" '{ x = r * $5 / $11 * 1000; if ((x - $9)^2 > 1e-4 * x * x) { print; exit 1 } }' out >wrong ||
        failed "samples/s of ranks * batch / step_ms" "$(cat wrong)"
done

on 2 bench mlp seconds=0.1 batch=17
grep -q '^mlp        ranks 2 batch 17 ' out || failed "a batch of 17 a rank" "$(cat out)"
on 1 bench surrogate seconds=0.1 profile=true
grep -q 'kernels .* outside both' out || failed "a profile" "$(cat out)"

refused 64 'usage: dptrain bench' bench
refused 64 'model.*"lenet"' bench lenet
refused 64 'bench: "seconds=no"' bench mlp seconds=no
