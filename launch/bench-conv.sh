#!/bin/bash
# How near the convolutions of a model come to what oneDNN makes of the same shapes by itself: operands that lie in the
# layouts that it likes best, nothing else in the caches. One thread, pinned; both sides in turn, on CPU in f32.
#
#   launch/bench-conv.sh [--rounds K] [--seconds S] [--min PERCENT] [NAME]...     (resnet18)
#
# A line for each convolution and gradient: microseconds of ours (reorders that it makes inside of itself included) and
# of oneDNN, medians over K rounds (3), and the share, oneDNN's time over ours; then the share of all of them together.
# Exit status 1: that is below PERCENT. DPTRAIN_BUILD: the build folder (build).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
. launch/env.sh

rounds=3 seconds=5 least=0 models=()
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --min) least=$2 && shift ;;
    -*) die 64 "unknown option $1" ;;
    *) models+=("$1") ;;
    esac
    shift
done
[ ${#models[@]} -gt 0 ] || models=(resnet18)
build=${DPTRAIN_BUILD:-build}
[ -x "$build/dptrain" ] || die 64 "no $build/dptrain; build it with launch/build.sh"
logged "$build/onednn_conv.log" cmake --build "$build" --target onednn_conv
export OMP_NUM_THREADS=1
core=$(taskset -cp $$ | sed 's/.*: *//; s/[,-].*//')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ours MODEL: `word microseconds` of every call
ours() {
    taskset -c "$core" "$build/dptrain" bench "$1" seconds="$seconds" profile=true device=cpu </dev/null |
        awk '$4 == "us" && NF == 5 { print $5, $3 }'
}

# theirs WORD...: the same, once a shape
theirs() { taskset -c "$core" "$build/tests/onednn_conv" seconds=0.5 "$@" | awk '{ print $1, $2 }'; }

status=0
for model in "${models[@]}"; do
    : >"$work/ours"
    : >"$work/theirs"
    for ((round = 0; round < rounds; round++)); do
        ours "$model" >"$work/round"
        [ -s "$work/round" ] || die 70 "no convolutions in the profile of $model"
        # calls of one shape are numbered, so that each keeps its line
        awk '{ print $1 "#" ++n[$1], $2 }' "$work/round" >>"$work/ours"
        mapfile -t words < <(cut -d' ' -f1 "$work/round" | sort -u)
        theirs "${words[@]}" >>"$work/theirs"
    done
    echo "$model, $(machine), medians of $rounds rounds"
    awk -v least="$least" '
        function median(list, n,   i, j, v, x) {
            n = split(list, v, " ")
            for (i = 2; i <= n; i++) {
                x = v[i] + 0
                for (j = i - 1; j > 0 && v[j] + 0 > x; j--) v[j + 1] = v[j]
                v[j + 1] = x
            }
            return v[int((n + 1) / 2)]
        }
        FNR == NR { bare[$1] = bare[$1] " " $2; next }
        { if (!($1 in us)) order[++n] = $1; us[$1] = us[$1] " " $2 }
        END {
            printf "%-48s %12s %12s %8s\n", "convolution", "ours, us", "oneDNN, us", "share"
            for (i = 1; i <= n; i++) {
                word = order[i]
                sub(/#.*/, "", word)
                a = median(us[order[i]]); b = median(bare[word])
                ours += a; theirs += b
                printf "%-48s %12.2f %12.2f %6.1f %%\n", word, a, b, 100 * b / a
            }
            printf "%-48s %12.2f %12.2f %6.1f %%\n", "all", ours, theirs, 100 * theirs / ours
            exit 100 * theirs / ours < least
        }' "$work/theirs" "$work/ours" || status=1
done
exit "$status"
