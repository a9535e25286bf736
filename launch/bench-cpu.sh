#!/bin/bash
# Makes the page of CPU benchmarks: every workload beside PyTorch DDP, 1 and 2 ranks; what this machine can do at most
# and what share of it a step reaches; how near its convolutions come to bare oneDNN; how much of the exchange hides;
# where the time of a step goes.
#
#   launch/bench-cpu.sh [--rounds K] [--seconds S] [--quick] [OUT.md]     (docs/benchmarks/cpu.md)
#
# About 15 minutes on 2 quiet cores; --quick leaves out the large workloads (resnet50, cosmoflow128, mlp4096). Needs what
# launch/bench-pair.sh needs. The exit status is 1 where a bound is missed, as the page says.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
. launch/env.sh

rounds=3 seconds=5 quick='' out=docs/benchmarks/cpu.md
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --quick) quick=1 ;;
    -*) die 64 "unknown option $1" ;;
    *) out=$1 ;;
    esac
    shift
done
[ -x ./dptrain ] || die 64 "no ./dptrain; build it with launch/build.sh"
export OMP_NUM_THREADS=1
page=$(mktemp -d)
trap 'rm -rf "$page"' EXIT
missed=0

# the bounds are those of tests/acceptance.csv
small=(surrogate:3:6 mlp:1.25:1.8 cnn:1.8:1.9 resnet18:1.08:1.10 cosmo:1.3:1.3)
large=(resnet50@8 cosmoflow128@1 mlp4096@256)

pairs() {
    local status=0
    bash launch/bench-pair.sh "$@" >"$page/log" || status=$?
    [ "$status" -le 1 ] || die "$status" "launch/bench-pair.sh ended with $status: $(tail -n 3 "$page/log")"
    [ "$status" -eq 0 ] || missed=1
}

# One profile a workload: its last line is the workload's, behind a table by operation.
take_profiles() {
    local name
    for name in "$@"; do
        mpirun -np 1 --bind-to core ./dptrain bench "$name" profile=true seconds="$seconds" </dev/null >"$page/$name"
    done
}

peaks() {
    local name peak
    printf '| workload | GFLOP/s of a step | product at its best | share |\n|---|---|---|---|\n'
    for name in "$@"; do
        peak=$(sed -n 's/^ceilings: .* product \([0-9.]*\) GFLOP.*/\1/p' "$page/$name")
        awk -v n="$name" -v f="$(tail -n 1 "$page/$name" | field gflop/s)" -v p="$peak" \
            'BEGIN { printf "| %s | %.1f | %.1f | %.0f %% |\n", n, f, p, 100 * f / p }'
    done
}

profiles() {
    local name
    for name in "$@"; do
        printf '\n### %s\n\n```\n' "$name"
        sed -n '/^operation /,$p' "$page/$name"
        printf '```\n'
    done
}

say "workloads beside PyTorch"
pairs --rounds "$rounds" --seconds "$seconds" --out "$page/pairs.md" "${small[@]}"
if [ -z "$quick" ]; then
    say "large workloads beside PyTorch"
    pairs --rounds 1 --seconds "$seconds" --out "$page/large.md" "${large[@]}"
    grep '^| [a-z0-9]*@' "$page/large.md" >>"$page/pairs.md"
fi
{
    cat "$page/pairs.md"
    printf '\nA workload@batch is the benchmark at another batch a rank, measured in one round.\n'
    say "profiles"
    take_profiles "${small[@]%%:*}"
    printf '\n## Share of the peak, 1 rank\n\nThe peak is that of a 512 x 512 x 512 product, measured in the same run.\n\n'
    peaks "${small[@]%%:*}"
    say "convolutions"
    printf '\n## Convolutions of resnet18 beside bare oneDNN\n\nMicroseconds of all calls of a step, ours and bare, and the share; then what of a step lies outside convolutions and\nproducts.\n\n```\n'
    bash launch/bench-conv.sh --rounds "$rounds" --seconds "$seconds" --min 95 resnet18 >"$page/conv" || missed=1
    tail -n 1 "$page/conv"
    bash launch/overhead.sh --products resnet18 10 2>&1 | tail -n 1 || missed=1
    printf '```\n'
    say "exchange"
    printf '\n## Exchange hidden behind backward\n\nOne rank with two cores; its exchange is a delay of half the time of backward.\n\n'
    bash launch/bench-hidden.sh --seconds "$seconds" 80 cnn resnet18 || missed=1
    printf '\n## Where the time goes, 1 rank\n'
    profiles "${small[@]%%:*}"
} >"$page/whole.md"
cp "$page/whole.md" "$out"
cat "$out"
exit "$missed"
