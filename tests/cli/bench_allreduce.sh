#!/bin/bash
# dptrain bench allreduce: its table, read back and held to its own arithmetic, over the ranks of each scope; the line of
# a model; what it refuses. And the keys of a config that it shares: comm.check, comm.emulate.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
export XDG_CACHE_HOME=$scratch/cache

# table OP RANKS ROWS [ERROR]: the head, and rows whose bandwidths follow from bytes and time by nccl-tests' definition.
table() {
    head -n 1 out | grep -Eq "^$1 over $2 ranks? by .*, f32\$" || failed "$1 over $2 ranks" "$(head -n 1 out)"
    awk -v op="$1" -v n="$2" -v rows="$3" -v error="${4:-}" '
        BEGIN { f = (n - 1) / n; if (op == "all_reduce") f *= 2 }
        function near(a, b) { return (a - b)^2 <= (0.002 + 0.02 * b)^2 }
        NR == 2 && $0 !~ /^ +bytes +time_us +spread_% +alg_GB\/s +bus_GB\/s +error$/ { bad = 1; print }
        NR > 2 && /^ +[0-9]/ {
            seen++
            if (NF != 6 || $2 <= 0 || !near($4, $1 / $2 / 1000) || !near($5, f * $4)) { bad = 1; print }
            if (error == "-" ? $6 != "-" : $6 + 0 > 1e-6) { bad = 1; print }
            if (last && $1 < 3 * last) { bad = 1; print }
            last = $1
        }
        END { if (seen != rows) print seen " rows"; exit bad || seen != rows }' out >wrong ||
        failed "$3 rows of $1 over $2 ranks" "$(cat wrong)"
}

for ranks in 1 2; do
    on "$ranks" bench allreduce max=64K seconds=0.2
    expect 0
    [ ! -s err ] || failed "no message" "$(cat err)"
    table all_reduce "$ranks" 4 # 1 KiB to 64 KiB, each four times the one before
done
for op in reduce_scatter all_gather; do
    on 2 bench allreduce op=$op min=3000 max=12000 seconds=0.1
    expect 0
    table $op 2 2
done
on 2 bench allreduce scope=node max=4K seconds=0.1
table all_reduce 2 2
on 2 bench allreduce scope=across max=4K seconds=0.1 # one host: each rank is alone
table all_reduce 1 2

# a model: at two ranks, and alone on a fabric that is described
line='^mlp +ranks R batch 8 buckets [0-9]+ gradient_bytes [0-9]+ exchange_ms [0-9.]+ last_ms [0-9.]+ compute_ms [0-9.]+ step_ms [0-9.]+ hidden_% [0-9.]+ hideable_hidden_% [0-9.]+ compute_slowdown_% -?[0-9.]+$'
on 2 bench allreduce min=1K max=1K seconds=0.3 model=mlp batch=8
expect 0
grep -Eq "${line/R/2}" out || failed "a line of mlp at 2 ranks" "$(tail -n 1 out)"
on 1 bench allreduce min=1K max=1K seconds=0.3 model=mlp batch=8 emulate=500us,10GB/s
expect 0
table all_reduce 1 1 -
grep -q 'exchange of gradients is emulated (500us,10GB/s: 500 us + 10 GB/s): nothing is summed' err ||
    failed "a warning" "$(cat err)"
grep -Eq "${line/R/1}" out || failed "a line of mlp at 1 rank" "$(tail -n 1 out)"
# three buckets of at least 500 us each, and all shares from 0 to 100
awk '/^mlp/ { if ($7 == 3 && $9 >= 1.5 && $11 >= 0.5 && $17 >= 0 && $17 <= 100 && $19 >= 0 && $19 <= 100) ok = 1 }
    END { exit !ok }' out || failed "an exchange of 1.5 ms or more in 3 buckets" "$(tail -n 1 out)"
on 1 bench mlp seconds=0.1 emulate=2ms,1GB/s
expect 0
awk '/^mlp/ { exit !($11 >= 6) }' out || failed "steps of 6 ms or more" "$(tail -n 1 out)"

rank_counts=2
refused 64 'bench allreduce: "min=1x": bytes, as in 4096' bench allreduce min=1x
rank_counts=1
refused 64 'bench allreduce: min is 4096 bytes, max 1024' bench allreduce min=4K max=1K
refused 64 '"op=sum": usage: dptrain bench allreduce' bench allreduce op=sum
refused 64 '"loud": usage: dptrain bench allreduce' bench allreduce loud
refused 64 'no model "mpl": did you mean "mlp"' bench allreduce model=mpl
refused 64 'no fabric "8xnvlnk" \(did you mean "8xnvlink"' bench allreduce emulate=8xnvlnk
refused 64 'comm.library is nccl, which sums between GPUs' bench allreduce comm=nccl device=cpu
refused 64 'one rank alone exchanges nothing' bench allreduce max=1K seconds=0.1 model=mlp
on 2 bench allreduce dtype=bf16 max=4K seconds=0.1 device=cpu
expect 0
awk 'NR > 2 { if ($6 > 2 / 256) exit 1; rows++ } END { exit rows != 2 }' out ||
    failed "sums in bf16 within its rounding" "$(cat out)"

# the same in a training run
"$make_data" data.h5
run=(model.name=mlp 'data.files=[data.h5]' batch=64 epochs=1 run.dir=run run.overwrite=true)
on 2 "${run[@]}" comm.check=3 comm.thread=on
expect 0
[ "$(grep -c '^comm.check: [0-9]* sums of step 0 compared with MPI' out)" -eq 1 ] ||
    failed "one line of comm.check" "$(cat out)"
on 1 "${run[@]}" comm.emulate=100us,10GB/s
expect 0
grep -q 'exchange of gradients is emulated' err || failed "a warning" "$(cat err)"
rank_counts=2
refused 64 'comm.check compares sums, and comm.emulate makes none' "${run[@]}" comm.emulate=8xnvlink comm.check=1
rank_counts=1
refused 64 '"fast" is no latency' "${run[@]}" comm.emulate=fast,1GB/s

# on the host device: sums of NCCL, in steps that are recorded from the third on, but for those that are checked; an
# emulated exchange inside the recording
if [ -e "$BUILD/tests/hostcuda/libdptrain_cuda.so" ]; then
    use_host_device 2
    cuda=("${run[@]}" device=cuda cuda.graph=whole eval_every=0 log.level=debug)
    on 2 "${cuda[@]}" comm.check=4
    expect 0
    for step in 0 4 8; do
        grep -q "^comm.check: [0-9]* sums of step $step compared with MPI's" out || failed "step $step checked" "$(cat out)"
    done
    grep -Eq '^gradients are summed by nccl .*, checked$' out || failed "sums by NCCL" "$(cat out)"
    on 1 "${cuda[@]}" comm.emulate=100us,10GB/s
    expect 0
    grep -q '^gradients are summed by nothing: 100us,10GB/s is emulated$' out || failed "an emulated exchange" "$(cat out)"
fi
