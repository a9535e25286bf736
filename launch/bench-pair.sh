#!/bin/bash
# Times `dptrain bench` beside PyTorch's DistributedDataParallel on the same workloads, in one run: in turn, so that the
# machine's drift meets both, each rank pinned to its core on both sides, 1 thread a rank, at 1 and 2 ranks.
#
#   launch/bench-pair.sh [--rounds K] [--seconds S] [--scaling MIN] [--out FILE.md] NAME[@BATCH][:MIN1[:MIN2]]...
#
#   launch/bench-pair.sh --out docs/benchmarks/cpu.md surrogate:3:6 mlp:1.25:1.8
#
# Prints, per workload and rank count, the medians over K rounds (3), their range and the ratio of the medians. MIN1 and
# MIN2 are the least ratios at 1 and 2 ranks: the exit status is 1 where one is missed. BATCH is that of a rank, where it
# is not the workload's own. Two ranks over twice one rank is what scaling leaves: at
# least MIN with --scaling. The last line names the ratios.
# The peer needs PyTorch with a fast BLAS in PEER_PYTHON (default /usr/bin/python3): else the exit status is 77.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
. launch/env.sh

rounds=3 seconds=5 least_scaling=0 out='' workloads=()
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --scaling) least_scaling=$2 && shift ;;
    --out) out=$2 && shift ;;
    -*) die 64 "unknown option $1" ;;
    *) workloads+=("$1") ;;
    esac
    shift
done
[ ${#workloads[@]} -gt 0 ] || die 64 "name at least one workload (surrogate, mlp, cnn)"
[ -x ./dptrain ] || die 64 "no ./dptrain; build it with launch/build.sh"
python=${PEER_PYTHON:-/usr/bin/python3}
# its version and the BLAS that it has really loaded
peer_version='
import re, torch
loaded = re.search(r"(openblas|blis|atlas)", open("/proc/self/maps").read())
blas = "MKL" if torch.backends.mkl.is_available() else loaded[1] if loaded else "reference BLAS"
print(torch.__version__, "with", blas)'
torch=$("$python" -c "$peer_version" 2>/dev/null) || {
    say "$python has no torch: apt-get install python3-torch libopenblas0-pthread, or set PEER_PYTHON"
    exit 77
}
# a peer on the reference BLAS is up to ten times too slow, and a figure beside it worth nothing
[[ $torch != *'reference BLAS'* ]] || {
    say "PyTorch $torch would be no peer: apt-get install libopenblas0-pthread"
    exit 77
}

samples=$(mktemp)
trap 'rm -f "$samples" "$samples.md"' EXIT
export OMP_NUM_THREADS=1

# measure SIDE COMMAND...: takes the lines `name ranks R ... samples/s X step_ms Y` that the command prints into the
# file of samples, as `SIDE name R X`. A side that hangs ends the run instead of holding it.
measure() {
    local side=$1
    shift
    timeout "$((seconds + 600))" "$@" </dev/null |
        awk -v side="$side" '
            $2 == "ranks" { for (i = 4; i < NF; i++) if ($i == "samples/s") print side, $1, $3, $(i + 1) }
            ' >>"$samples" || die 70 "$side failed or hung: $*"
}

for ((round = 1; round <= rounds; round++)); do
    for ranks in 1 2; do
        for workload in "${workloads[@]}"; do
            IFS=:@ read -r name batch _ <<<"$workload"
            [[ $workload == *@* ]] || batch=''
            say "round $round of $rounds: $name, ranks $ranks"
            measure dptrain mpirun -np "$ranks" --map-by core --bind-to core ./dptrain bench "$name" seconds="$seconds" \
                ${batch:+"batch=$batch"}
            measure peer "$python" tests/peers/torch_ddp.py --ranks "$ranks" --threads 1 --seconds "$seconds" "$name" \
                ${batch:+--batch "$batch"}
        done
    done
done

# statistics SIDE NAME RANKS: median, least, most
statistics() {
    awk -v side="$1" -v name="$2" -v ranks="$3" '$1 == side && $2 == name && $3 == ranks { print $4 }' "$samples" |
        sort -g | awk '{ v[NR] = $1 }
            function figure(x) { return sprintf(x < 100 ? "%.1f" : "%.0f", x) }
            END { if (!NR) exit 1; h = int((NR + 1) / 2); m = NR % 2 ? v[h] : (v[h] + v[h + 1]) / 2
                  print figure(m), figure(v[1]), figure(v[NR]) }'
}

no_figure() { die 70 "no bench line of $1 for $2 at $3 ranks"; }

missed=0 summary=()
rows() {
    local workload name minimum ranks own peer ratio verdict one scaling
    for workload in "${workloads[@]}"; do
        IFS=: read -r name 'minimum[1]' 'minimum[2]' <<<"$workload"
        name=${name%@*}
        for ranks in 1 2; do
            read -r -a own < <(statistics dptrain "$name" "$ranks") || no_figure dptrain "$name" "$ranks"
            read -r -a peer < <(statistics peer "$name" "$ranks") || no_figure peer "$name" "$ranks"
            ratio=$(awk -v a="${own[0]}" -v b="${peer[0]}" 'BEGIN { printf "%.2f", a / b }')
            verdict=-
            if [ -n "${minimum[$ranks]:-}" ]; then
                verdict="met (>= ${minimum[$ranks]})"
                awk -v r="$ratio" -v m="${minimum[$ranks]}" 'BEGIN { exit !(r >= m) }' ||
                    { verdict="MISSED (>= ${minimum[$ranks]})" && missed=1; }
            fi
            scaling=-
            [ "$ranks" -eq 1 ] || scaling=$(awk -v a="${own[0]}" -v b="$one" 'BEGIN { printf "%.2f", a / b / 2 }')
            one=${own[0]}
            if [ "$ranks" -eq 2 ] && awk -v s="$scaling" -v m="$least_scaling" 'BEGIN { exit !(s < m) }'; then
                scaling="$scaling MISSED (>= $least_scaling)" && missed=1
            fi
            printf '| %s | %d | %s (%s..%s) | %s (%s..%s) | %s | %s | %s |\n' \
                "${workload%%:*}" "$ranks" "${own[@]}" "${peer[@]}" "$ratio" "$verdict" "$scaling"
            summary+=("$name@$ranks ${ratio}x")
        done
    done
}

report() {
    printf '# dptrain beside PyTorch DDP, %s\n\n' "$(date -u +%Y-%m-%d)"
    printf 'Machine: %s.\n' "$(machine)"
    printf 'Versions: %s; PyTorch %s; %s.\n' \
        "$(./dptrain --version | head -n 1)" "$torch" "$(mpirun --version | head -n 1)"
    printf 'Pinned, alternating, %d rounds of %s s, 1 thread a rank. ' "$rounds" "$seconds"
    printf 'Samples/s over all ranks: median (least..most).\n\n'
    printf '| workload | ranks | dptrain | PyTorch | ratio | bound | 2 ranks over twice 1 |\n|---|---|---|---|---|---|---|\n'
    rows
}

report >"$samples.md"
cat "$samples.md"
[ -z "$out" ] || cp "$samples.md" "$out"
(IFS=, && echo "${summary[*]}")
exit "$missed"
