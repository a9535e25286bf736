#!/bin/bash
# Everything that only a real GPU can show, in one command: the tests on the GPU, compute-sanitizer on the operations,
# benchmarks beside PyTorch where it is installed; a report as Markdown and JSON.
#
#   tests/gpu/run.sh [PART...]      parts: tests sanitize bench comm peer report (default: all of them, in this order)
#
# comm: what NCCL costs one rank; how much of an exchange hides, on emulated fabrics; two ranks on this GPU, if its NCCL
# can do that and mpirun is here.
#
# Runs from a bundle (BUNDLE=archive or folder, made by `cmake --build build --target bundle`; default
# build/dptrain-bundle.tar.xz where it exists) on a host that may lack Open MPI, HDF5 and oneDNN; without one it builds
# here. Environment: OUT: folder of results (default docs/benchmarks); PEER: folder with torch_ddp.py (default
# tests/peers; the peer is left out where python3 has no torch); SECONDS_EACH: of each timing (default 3); LIMIT_S: of
# each test (default 120). The exit status is 1 if a test failed.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${OUT:-$root/docs/benchmarks}
peer=${PEER:-$root/tests/peers}
seconds=${SECONDS_EACH:-3}
limit=${LIMIT_S:-120}
work=${WORK:-$(mktemp -d)}
mkdir -p "$out" "$work"
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(tests sanitize bench comm peer report)

die() {
    echo "run.sh: $*" >&2
    exit 70
}

command -v nvidia-smi >/dev/null || die "no nvidia-smi: is there a GPU?"
card() { nvidia-smi --query-gpu="$1" --format=csv,noheader | head -n 1; }

# ---- where the programs are ----

if [ -z "${BUNDLE:-}" ] && [ -e "$root/build/dptrain-bundle.tar.xz" ]; then BUNDLE=$root/build/dptrain-bundle.tar.xz; fi
if [ -n "${BUNDLE:-}" ] && [ -f "$BUNDLE" ]; then
    tar -C "$work" -xf "$BUNDLE" || die "cannot unpack $BUNDLE"
    BUNDLE=$work/dptrain-bundle
fi
if [ -n "${BUNDLE:-}" ]; then
    programs=$BUNDLE/bin
    start=("$BUNDLE/run")
else
    command -v cmake >/dev/null || die "neither a bundle (BUNDLE=) nor cmake to build here"
    bash "$root/launch/build.sh" default -DDPTRAIN_CUDA=ON -DDPTRAIN_CUDA_ARCHITECTURES="$(card compute_cap | tr -d .)" || die "the build failed"
    programs=$root/build/tests
    ln -sf "$root/build/dptrain" "$programs/dptrain" 2>/dev/null
    start=(env)
fi
dptrain() { "${start[@]}" "$programs/dptrain" "$@"; }
export DPT_TEST_DEVICE=cuda OMP_NUM_THREADS=1

gpu=$(card name)
name=$(echo "$gpu" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')

# ---- parts ----

# Tests that are about kernels, programs and steps; the others do not touch the device.
suites=(op_kernels linear conv norm update ops half golden cuda_map cuda_update cuda_rows cuda_product cuda_conv cuda_step
    program precision trainer trainer_values physics ranks rank_values timeline)

# one PREFIX-COMMAND... -- SUITE: prints "passed", "failed" or "skipped" and keeps the output.
one() {
    local status=0 log
    local -a prefix=()
    while [ "$1" != -- ]; do
        prefix+=("$1")
        shift
    done
    log=$work/$2.log
    timeout "$limit" "${start[@]}" "${prefix[@]}" "$programs/test_$2" >"$log" 2>&1 || status=$?
    case $status in
    0) echo passed ;;
    77) echo skipped ;;
    124) echo "failed (longer than $limit s)" ;;
    *) echo "failed ($status)" ;;
    esac
}

tests_part() {
    : >"$work/tests.txt"
    for suite in "${suites[@]}"; do
        [ -x "$programs/test_$suite" ] || continue
        echo "$suite $(one -- "$suite")" | tee -a "$work/tests.txt"
        grep -q "^$suite failed" "$work/tests.txt" && grep -E '^\[rank|FAILED|error' "$work/$suite.log" | head -n 12
    done
}

sanitize_part() {
    : >"$work/sanitize.txt"
    local tool
    tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) || {
        echo "compute-sanitizer missing" | tee "$work/sanitize.txt"
        return
    }
    for suite in op_kernels update norm conv linear; do
        [ -x "$programs/test_$suite" ] || continue
        for kind in memcheck racecheck; do
            echo "$suite $kind $(one "$tool" --tool "$kind" --error-exitcode 9 -- "$suite")" | tee -a "$work/sanitize.txt"
            cp "$work/$suite.log" "$work/$suite.$kind.log"
        done
    done
}

# peak_of COMMAND...: runs it; the most memory in use on the card meanwhile, in MiB, goes to $work/peak.
peak_of() {
    : >"$work/peak"
    (
        most=0
        while sleep 0.2; do
            used=$(card memory.used | tr -dc 0-9)
            if [ "${used:-0}" -gt "$most" ]; then
                most=$used
                echo "$most" >"$work/peak"
            fi
        done
    ) &
    local sampler=$! status=0
    "$@" || status=$?
    kill "$sampler" 2>/dev/null
    wait "$sampler" 2>/dev/null
    return $status
}

# workload batch: as the peer's. A line a workload and precision, prefixed by what was run.
bench_part() {
    : >"$work/bench.txt"
    local precision line
    for precision in fp32 tf32 bf16; do
        for workload in surrogate:256 mlp:64 cnn:64 cnn:4096 mlp4096:8192; do
            line=$(dptrain bench "${workload%%:*}" batch="${workload##*:}" precision=$precision device=cuda \
                seconds="$seconds" 2>>"$work/bench.err" | tail -n 1)
            echo "$precision ${line:-${workload%%:*} failed: $(tail -n 1 "$work/bench.err")}" | tee -a "$work/bench.txt"
        done
    done
    # images, and the memory that they take; what the peer's figures stand beside
    peak_of dptrain bench resnet50 batch=256 precision=bf16 device=cuda seconds="$seconds" \
        >"$work/resnet50.txt" 2>>"$work/bench.err"
    line=$(tail -n 1 "$work/resnet50.txt")
    echo "bf16 ${line:-resnet50 failed: $(tail -n 1 "$work/bench.err")} peak $(cat "$work/peak") MiB" |
        tee -a "$work/bench.txt"
    for workload in cnn:4096 mlp4096:8192 surrogate:256 resnet50:256; do
        dptrain bench "${workload%%:*}" batch="${workload##*:}" precision=bf16 device=cuda seconds=1 profile=true \
            >"$work/profile.${workload%%:*}.txt" 2>&1
    done
}

# bench_ms WORKLOAD BATCH WORDS...: step_ms of a bench line.
bench_ms() {
    local workload=$1 batch=$2
    shift 2
    dptrain bench "$workload" batch="$batch" precision=bf16 device=cuda seconds="$seconds" "$@" 2>>"$work/comm.err" |
        awk -v name="$workload" '$1 == name { ms = $NF } END { print ms }'
}

# The overhead of NCCL at one rank: without and with it in turn, so that a change of clocks meets both.
nccl_overhead() { # WORKLOAD BATCH
    local round without=() with=()
    for round in 1 2 3 4 5; do
        without[round]=$(bench_ms "$1" "$2")
        with[round]=$(bench_ms "$1" "$2" comm=nccl)
    done
    awk -v name="$1" -v a="${without[*]}" -v b="${with[*]}" '
        function median(text, v, n, i, j, t) {
            n = split(text, v, " ")
            for (i = 1; i < n; i++) for (j = i + 1; j <= n; j++) if (v[j] < v[i]) { t = v[i]; v[i] = v[j]; v[j] = t }
            return n ? v[int((n + 1) / 2)] : 0
        }
        BEGIN {
            x = median(a); y = median(b)
            if (x > 0 && y > 0) printf "%s without_ms %.4f nccl_ms %.4f overhead_%% %.2f\n", name, x, y, 100 * (y / x - 1)
            else printf "%s failed\n", name
        }'
}

# Two ranks on one device, which NCCL allows from 2.30 on.
two_ranks() {
    local version major minor
    version=$(sed -n 's/.*NCCL \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' "$work/info.txt" | head -n 1)
    read -r major minor <<<"${version:-0 0}"
    if [ "$major" -lt 2 ] || { [ "$major" -eq 2 ] && [ "$minor" -lt 30 ]; } || ! command -v mpirun >/dev/null; then
        echo "two ranks on one GPU: not yet (NCCL ${major:-0}.${minor:-0}, 2.30 and mpirun are needed)"
        return
    fi
    NCCL_MULTI_RANK_GPU_ENABLE=1 DPTRAIN_SHARE_GPU=1 mpirun -np 2 "${start[@]}" "$programs/dptrain" bench allreduce \
        device=cuda comm=nccl max=16M seconds="$seconds" 2>>"$work/comm.err" || echo "two ranks on one GPU: failed"
}

comm_part() {
    local workload fabric
    {
        for workload in mlp:64 mlp4096:8192; do nccl_overhead "${workload%%:*}" "${workload##*:}"; done
        for workload in mlp355m:8192 cnn:4096; do
            for fabric in 8xnvlink 4-nodes 128-nodes; do
                printf '%s ' "$fabric"
                dptrain bench allreduce min=64M max=64M model="${workload%%:*}" batch="${workload##*:}" precision=bf16 \
                    device=cuda emulate=$fabric seconds=$((4 * seconds)) 2>>"$work/comm.err" |
                    awk -v name="${workload%%:*}" '$1 == name { line = $0 } END { print line ? line : name " failed" }'
            done
        done
        two_ranks
    } | tee "$work/comm.txt"
}

peer_part() {
    : >"$work/peer.txt"
    python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || {
        echo "no PyTorch with CUDA here" | tee "$work/peer.txt"
        return
    }
    [ -r "$peer/torch_ddp.py" ] || return
    local limit_s=170
    run_peer() {
        local mode=$1
        shift
        timeout "$limit_s" python3 "$peer/torch_ddp.py" --device cuda --no-pin --seconds "$seconds" --threads 4 --amp "$@" \
            2>/dev/null | grep -v '^torch' | sed "s/^/$mode /" | tee -a "$work/peer.txt"
    }
    run_peer eager surrogate mlp mlp4096
    run_peer eager --batch 4096 cnn
    run_peer compiled --compile surrogate mlp mlp4096
    run_peer compiled --compile --batch 4096 cnn
    run_peer graphs --compile --compile-mode reduce-overhead surrogate mlp mlp4096
    run_peer graphs --compile --compile-mode reduce-overhead --batch 4096 cnn
    limit_s=600 # resnet50, batch 256: compiling takes minutes
    local mode
    for mode in eager compiled graphs; do
        case $mode in
            eager) set -- ;;
            compiled) set -- --compile ;;
            graphs) set -- --compile --compile-mode reduce-overhead ;;
        esac
        peak_of run_peer "$mode" "$@" resnet50
        echo "$mode resnet50 peak $(cat "$work/peak") MiB" | tee -a "$work/peer.txt"
    done
}

json_text() { sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' | tr '\n\t' '  '; }
json_lines() { # FILE: its lines as a list
    local first=1
    printf '['
    while IFS= read -r line; do
        [ $first -eq 1 ] || printf ', '
        first=0
        printf '"%s"' "$(printf '%s' "$line" | json_text)"
    done <"$1"
    printf ']'
}
show() { # TITLE FILE
    [ -s "$2" ] || return 0
    printf '\n## %s\n\n```\n' "$1"
    cat "$2"
    printf '```\n'
}

report_part() {
    local file=$out/$name day
    day=$(date -u +%F)
    {
        echo "# $gpu"
        echo
        echo "Made by \`tests/gpu/run.sh\` on $day. Driver $(card driver_version), clocks (SM, memory)" \
            "$(card clocks.sm), $(card clocks.mem), power limit $(card power.limit), memory $(card memory.total)."
        show "Versions" "$work/info.txt"
        show "Tests on the GPU" "$work/tests.txt"
        show "compute-sanitizer" "$work/sanitize.txt"
        show "dptrain (precision, then the line of \`dptrain bench\`; medians of blocks of 20 steps)" "$work/bench.txt"
        show "Exchange of gradients, bf16 (NCCL at one rank; emulated fabrics; two ranks on this GPU)" "$work/comm.txt"
        show "PyTorch, bf16 autocast (mode, then the line of torch_ddp.py)" "$work/peer.txt"
        for workload in cnn mlp4096 surrogate; do
            show "Time by operation: $workload, bf16" "$work/profile.$workload.txt"
        done
    } >"$file.md"
    {
        printf '{"gpu": "%s", "date": "%s", "driver": "%s"' "$gpu" "$day" "$(card driver_version)"
        for part in info tests sanitize bench comm peer; do
            if [ -s "$work/$part.txt" ]; then
                printf ', "%s": ' "$part"
                json_lines "$work/$part.txt"
            fi
        done
        printf '}\n'
    } >"$file.json"
    echo "report: $file.md"
}

dptrain info >"$work/info.txt" 2>&1
cat "$work/info.txt"
for part in "${parts[@]}"; do
    case $part in
    tests | sanitize | bench | comm | peer | report) "${part}_part" ;;
    *) die "unknown part $part" ;;
    esac
done
if grep -qs ' failed' "$work/tests.txt" "$work/sanitize.txt"; then exit 1; fi
