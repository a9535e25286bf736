#!/bin/bash
# The CUDA backend as built for GPUs, on a host that has none: it opens, training on it ends with 71 and says why,
# device=auto trains on the CPU, and `dptrain info` names what is there and what is missing. Without its libraries, too.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

plugin=$BUILD/cuda/libdptrain_cuda.so
[ -e "$plugin" ] || { echo "no $plugin: built without a CUDA toolkit" && exit 77; }
! ldconfig -p | grep -q 'libcuda\.so\.1' || { echo "this host has an NVIDIA driver" && exit 77; }

"$make_data" good.h5
job=(data.files=good.h5 model=mlp model.hidden=16 batch=12 steps=2 run.dir=run run.overwrite=true)

# nothing of dptrain is linked, and one symbol is shown
if command -v nm >/dev/null; then
    what="symbols of $plugin"
    wanted=$(nm -D --undefined-only "$plugin" | grep -c ' dpt_' || true)
    shown=$(nm -D --defined-only "$plugin" | awk '{ print $3 }')
    [ "$wanted" -eq 0 ] || failed "no symbol of dptrain wanted" "$wanted"
    [ "$shown" = dpt_backend_table ] || failed "dpt_backend_table alone" "$shown"
fi

refused 71 'no NVIDIA driver on .*; this build needs one for CUDA [0-9]+\.[0-9]+' "${job[@]}" device=cuda

for ranks in $rank_counts; do
    on "$ranks" train "${job[@]}" device=auto log.level=debug
    expect 0
    cat out err >all
    grep -q 'device auto: cpu, since cuda cannot be used: no NVIDIA driver' all || failed "why it is the CPU" "$(cat all)"
done

on 1 info
expect 0
for words in 'cuda     runtime [0-9]+\.[0-9]+, built for [0-9]+' 'no driver' 'cuBLASLt [0-9]' 'cuDNN' '^         no NVIDIA driver'; do
    grep -Eq "$words" out || failed "$words" "$(cat out)"
done

# a plug-in whose libraries are not found: an object that needs one that is nowhere
if command -v cc >/dev/null; then
    mkdir -p broken
    echo 'int nothing(void);int nothing(void){return 0;}' >nothing.c
    cc -shared -fPIC -o libdptrain_no_such_library.so nothing.c
    cc -shared -fPIC -o broken/libdptrain_cuda.so nothing.c -Wl,--no-as-needed -L. -ldptrain_no_such_library
    rm libdptrain_no_such_library.so
    export LD_LIBRARY_PATH=$scratch/broken${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    on 1 info
    expect 0
    grep -q 'cuda     none: libdptrain_no_such_library.so: cannot open shared object file' out ||
        failed "the library that is missing" "$(cat out)"
    grep -q 'dptrain was built with CUDA' out || failed "that it was built with CUDA" "$(cat out)"
    refused 71 'the CUDA backend could not be opened: libdptrain_no_such_library.so' "${job[@]}" device=cuda
fi
