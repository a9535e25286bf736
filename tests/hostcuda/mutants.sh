#!/bin/bash
# Breaks the CUDA backend on purpose, one place at a time, and expects a test on the CPU build of it (README.md) to fail:
# a barrier taken out, a wait left out, a store out of bounds, a read of what was never written, a recording with a stale
# address. A mutant that survives, or that no longer applies because the code has moved on, is a failure.
#
#   tests/hostcuda/mutants.sh [all | NAME...]      one of each kind by default; BUILD: the build folder, build/ if unset
#
# A mutant is a copy of cuda/ with one edit. Only the files named with it are compiled again, with the commands that the
# build folder has for them, and linked in front of the others into a libdptrain_cuda.so in a scratch folder. Invariant:
# the module as it is must pass every test that a mutant is to fail, under the same seeds, before anything is planted.
# shellcheck disable=SC2016 # the $1 of the edits is perl's
# shellcheck disable=SC2016 # $1 in single quotes is for perl
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "${BUILD:-$root/build}" && pwd)
module=tests/hostcuda/libdptrain_cuda.so
[ -e "$build/$module" ] || { echo "no $build/$module" && exit 77; }
generator=$(sed -n 's/^CMAKE_MAKE_PROGRAM:[^=]*=//p' "$build/CMakeCache.txt")
[[ $generator == *ninja* ]] || { echo "$build was not made with Ninja, which would name the commands" && exit 77; }
export DPT_TEST_DEVICE=cuda HOSTCUDA_DEVICES=1 OMP_NUM_THREADS=1
limit_s=60

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd "$build" && "$generator" -t commands "$module") >"$scratch/commands"
known=0 planted=0 caught=0 survivors=()
words=("$@")

# wanted NAME SHORT: whether the words of the command line ask for it.
wanted() {
    local word
    [ ${#words[@]} -gt 0 ] || { [ "$2" = short ] && return 0 || return 1; }
    for word in "${words[@]}"; do
        case $word in all | "$1") return 0 ;; esac
    done
    return 1
}

# passes FOLDER SEEDS TEST CASES...: under each of these seeds, with the module in that folder.
passes() {
    local folder=$1 seeds=$2 test=$3 seed
    shift 3
    for seed in $seeds; do
        { # the shell says here, and nowhere else, that the program was aborted
            LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} HOSTCUDA_SEED=$seed \
                timeout -k 5 "$limit_s" "$build/tests/test_$test" "$@" >"$scratch/log" 2>&1 </dev/null || return 1
        } 2>/dev/null
    done
}

# make_module SOURCE...: those of $scratch/tree compiled, and a module with them in $scratch/module.
make_module() {
    local source object objects=() command
    for source in "$@"; do
        object=$scratch/module/$source.o
        command=$(grep -F -- "-c $root/cuda/$source" "$scratch/commands" | head -n 1 |
            sed -E "s#^[^ ]*ccache ##; s# -M[DTF]( [^- ][^ ]*)?##g; s# -o [^ ]+# -o $object#; s#-c [^ ]+#-c $scratch/tree/cuda/$source#;
                    s# -I# -I$scratch/tree -I#")
        [ -n "$command" ] || { echo "no command for cuda/$source" >"$scratch/log" && return 1; }
        (cd "$build" && sh -c "$command") >"$scratch/log" 2>&1 || return 1
        objects+=("$object")
    done
    # of functions that stand in several objects the linker takes the first
    command=$(tail -n 1 "$scratch/commands")
    for source in "$@"; do command=$(sed -E "s# [^ ]*/cuda/$source\.o# #" <<<"$command"); done
    command=${command/ -o $module / -o $scratch/module/libdptrain_cuda.so ${objects[*]} }
    [ ! -e "$build/tests/hostcuda/libnccl.so.2" ] || ln -sf "$build/tests/hostcuda/libnccl.so.2" "$scratch/module/"
    (cd "$build" && sh -c "$command") >"$scratch/log" 2>&1 && [ -e "$scratch/module/libdptrain_cuda.so" ]
}

# plant NAME short|long FILE "SOURCES" "TEST CASES" "SEEDS" PERL: an edit of cuda/FILE (over the whole text), which shows
# in SOURCES; the test must fail under one of the seeds.
plant() {
    local name=$1 file=$3 seeds=$6 change=$7 sources test verdict=survived
    known=$((known + 1))
    wanted "$name" "$2" || return 0
    planted=$((planted + 1))
    read -ra sources <<<"$4"
    read -ra test <<<"$5"
    rm -rf "$scratch/tree" "$scratch/module"
    mkdir -p "$scratch/tree" "$scratch/module"
    cp -r "$root/cuda" "$scratch/tree/cuda"
    perl -0777 -pi -e "$change" "$scratch/tree/cuda/$file"
    if cmp -s "$root/cuda/$file" "$scratch/tree/cuda/$file"; then
        verdict='does not apply'
    elif [ ! -e "$scratch/passed $5 $seeds" ] && ! passes "$build/tests/hostcuda" "$seeds" "${test[@]}"; then
        verdict='fails without it'
    elif : >"$scratch/passed $5 $seeds" && ! make_module "${sources[@]}"; then
        verdict='does not build'
    elif ! passes "$scratch/module" "$seeds" "${test[@]}"; then
        verdict=caught
    fi
    printf '%-36s %-16s %s\n' "$name" "$verdict" "$5"
    if [ "$verdict" = caught ]; then
        caught=$((caught + 1))
        grep -m 1 -E 'hostcuda|test_[a-z_]*\.c:[0-9]+:' "$scratch/log" | cut -c 1-160 | sed 's/^/    /' || true
    else
        survivors+=("$name: $verdict")
        [ "$verdict" = survived ] || tail -n 12 "$scratch/log" | sed 's/^/    /'
    fi
}

# ---- a barrier taken out ----

plant 'barrier: sum over a block' short reduce.cuh update.cu 'cuda_update square_norm' '1 2' \
    's/(part\[threadIdx\.x \/ 32\] = v;\n) *__syncthreads\(\);\n/$1/'
plant 'barrier: next sum over a block' long reduce.cuh norm.cu 'cuda_rows batch_norm' '1 2' \
    's/(part\[lane\] : \(W\)0\);\n) *__syncthreads\(\);\n/$1/'
plant 'barrier: who comes last' long rows.cuh update.cu 'cuda_update square_norm' '1 2' \
    's/(== blocks - 1;\n) *__syncthreads\(\);\n/$1/'
plant 'barrier: columns folded' long reduce.cu reduce.cu 'cuda_map sums_of_all_forms' '1 2' \
    's/(sum\[half \* width \+ i\];\n) *__syncthreads\(\);\n/$1/'
plant 'barrier: settings of a step' long update.cu update.cu 'cuda_update optimisers' '1 2' \
    's/(beta2, t\)\) : 1;\n    \}\n) *__syncthreads\(\);\n/$1/'
plant 'barrier: coefficients' long norm.cu norm.cu 'cuda_rows batch_norm' '1 2' \
    's/(run, first \+ threadIdx\.x\);\n) *__syncthreads\(\);\n/$1/'
plant 'barrier: tile turned over' long reorder.cu reorder.cu 'layout_kernels reorders' '1 2' \
    's/(\*at;\n        \}\n    \}\n) *__syncthreads\(\);\n/$1/'

# ---- a wait left out ----

plant 'wait: stream for an event' short device.c device.c 'cuda_step curve' '1 2' \
    's/return DPT_CUDA\(cudaStreamWaitEvent\(stream->cuda, event->cuda, 0\)\);/return DPT_OK;/'
plant 'wait: inside of a recording' long device.c device.c 'device_cuda recorded' '1' \
    's/return DPT_CUDA\(cudaStreamWaitEvent\(stream->cuda, event->cuda, 0\)\);/return DPT_OK;/'
plant 'wait: host for an event' long device.c device.c 'cuda_step curve' '1 2' \
    's/(if \(code == cudaErrorNotReady\) \{\n)/$1        *done = true;\n/'
plant 'wait: copy behind what is queued' long device.c device.c 'device_cuda at_once' '1 2' \
    's/DPT_TRY\(DPT_CUDA\(cudaDeviceSynchronize\(\)\)\);\n( *DPT_TRY\(DPT_CUDA\(cudaMemcpy\()/$1/'
plant 'wait: event behind all streams' long device.c device.c 'device_cuda at_once' '1 2' \
    's/if \(stream == NULL\) DPT_TRY\(DPT_CUDA\(cudaDeviceSynchronize\(\)\)\);\n//'

# ---- a store out of bounds ----

plant 'store: after the last pack' long map.cuh elementwise.cu 'cuda_map broadcasts' '1' \
    's/if \(p < end\) \(\(pack/if (p <= end) ((pack/'
plant 'store: partial sums' long update.cu update.cu 'cuda_update square_norm' '1' \
    's/partial\[walk\.chunk\] = sum/partial[walk.chunk * 64] = sum/'
plant 'store: channel past the last' long norm.cu norm.cu 'cuda_rows batch_norm' '1' \
    's/value >= values \|\| c >= run\.tiling\.channels/value >= values/'
plant 'store: row of a tile' long reorder.cu reorder.cu 'layout_kernels reorders' '1' \
    's/(const int q = i \/ \(TILE \/ step_out\).*\n.*)r0 \+ r >= height \|\| q0 \+ q >= width/$1r0 + r >= height/'
plant 'store: beside the result' short update.cu update.cu 'cuda_update square_norm' '1' \
    's/if \(threadIdx\.x == 0\) \*out = before \? \*before \+ sum : sum;/if (threadIdx.x <= 32) out[threadIdx.x] = before ? *before + sum : sum;/'

# ---- a read of what was never written ----

plant 'unwritten: sum of a chunk' short update.cu update.cu 'cuda_update square_norm' '1' \
    's/if \(threadIdx\.x == 0\) partial/if (threadIdx.x == 0 && walk.chunk > 0) partial/'
plant 'unwritten: sum of a split' long reduce.cu reduce.cu 'cuda_map sums_of_all_forms' '1' \
    's/if \(threadIdx\.x == 0\) p\.partial/if (threadIdx.x == 0 && blockIdx.x % 2) p.partial/'
plant 'unwritten: sum of a warp' long reduce.cuh update.cu 'cuda_update square_norm' '1' \
    's/lane < blockDim\.x \/ 32 \? part\[lane\] : \(W\)0/lane <= blockDim.x \/ 32 ? part[lane] : (W)0/'
plant 'unwritten: coefficients' long norm.cu norm.cu 'cuda_rows batch_norm' '1' \
    's/\(int\)threadIdx\.x < columns && first/(int)threadIdx.x + 1 < columns && first/'
plant 'unwritten: fresh memory' long device.c device.c 'device_cuda memory' '1' \
    's/DPT_TRY\(DPT_CUDA\(cudaMemsetAsync\(memory, 0, bytes, state->zeroing\)\)\);/(void)memory, (void)bytes;/'

# ---- a recording with a stale address ----

plant 'stale: copied by way of a temporary' short device.c device.c 'device_cuda recorded' '1' \
    's/(static dpt_status transfer\()/static void *between;\n$1/;
     s/(if \(stream != NULL\) return DPT_CUDA\(cudaMemcpyAsync)/if (between && kind == cudaMemcpyDeviceToDevice) {
        DPT_TRY(DPT_CUDA(cudaMemcpyAsync(between, from, bytes, kind, stream->cuda)));
        from = between;\n    }\n    $1/;
     s/(return DPT_CUDA\(cudaStreamBeginCapture)/DPT_TRY(DPT_CUDA(cudaMalloc(&between, 1 << 20)));\n    $1/;
     s/(cudaStreamEndCapture\(stream->cuda, &graph\)\)\);)/$1\n    (void)cudaFree(between);\n    between = NULL;/'
plant 'stale: table of another session' long update.cu update.cu 'cuda_step same_bits' '1' \
    's/(static dpt_status update_launch\(.*\n)/$1    static const void *table = call->table;\n/;
     s/\(const table_head \*\)call->table, settings/(const table_head *)table, settings/'
plant 'stale: workspace given back' long update.cu update.cu 'cuda_step curve' '1' \
    's/(static dpt_status square_norm_bind\(dpt_call \*call\) \{)/$1
    const dpt_device_ops *ops = call->device->ops;
    DPT_TRY(ops->alloc(call->device, call->workspace_bytes, DPT_FOR_COMPUTE, &call->plan));
    ops->release(call->device, call->plan, call->workspace_bytes, DPT_FOR_COMPUTE);/;
     s/\(double \*\)call->workspace/(double *)call->plan/'

echo "$caught of $planted caught, of $known that there are"
[ ${#survivors[@]} -eq 0 ] || printf 'not caught: %s\n' "${survivors[@]}"
[ "$planted" -gt 0 ] && [ "$caught" -eq "$planted" ]
