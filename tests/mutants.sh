#!/bin/bash
# Breaks the code on purpose, one place at a time, in a scratch copy, and expects a named test to fail. A mutant that
# survives, or that no longer applies because the code has moved on, is a failure.
#
#   tests/mutants.sh [NAME...]      all of them take about 10 minutes on 2 cores
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

# name | file | perl substitution | tests of which one must fail (a regular expression)
mutants=(
    'wrong gradient|src/ops/activation.c|s/square, -1\.0\), 1\.0\)/square, -1.0), 0.9)/|^ops$'
    'missing count|src/train/trainer_step.c|s/memcpy\(a->global_rows, sums,/memcpy(a->global_rows, a->rows,/|^ranks_np2$'
    'swapped bucket|src/program/session.c|s/arenas\.grad \+ a->slot\.offset/arenas.grad + 0 * a->slot.offset/|^ranks_np2$'
    'forgotten exchange|src/program/pass_distribute.c|s/DPT_SPREAD_PARTIAL\) return DPT_SPREAD_PARTIAL;/DPT_SPREAD_PARTIAL) return DPT_SPREAD_REPLICATED;/|^(ranks|physics|rank_values)_np[24]$'
    'draws by rank|src/ops/dropout.c|s/first_row\[/step * 0 + 0 * call->block->first_row[/|^(ranks|rank_values)_np2$'
    'variance between ranks|src/train/trainer_eval.c|s/\+ off \* off\)/+ 0 * off)/|^(ranks|rank_values|trainer)_np[24]$'
    'update not guarded|src/ops/update.c|s/ok == 0|\[1\] == 0/0/|^(update|ranks|trainer)'
    'live memory reused|src/program/pass_memory.c|s/o->end < one->begin/o->end <= one->begin + 1/|^program$'
    'wgrad sees padding|src/ops/cpu_product.c|s/dpt_cpu_zero_padding\(/(void)sizeof(/|^linear$'
    'reorder for each user|src/program/pass_layout.c|s/if \(\*memo\) return \*memo;//|^layout$'
    'operands not alike|src/program/layout_plan.c|s/if \(c\[i\]\.alike && has_layouts/if (i == 0 \&\& c[i].alike \&\& has_layouts/|^layout$'
    'dropout in blocks|src/ops/dropout.c|s/\.release = dropout_release\}/.release = dropout_release, .layouts = dpt_map_layouts}/|^layout$'
    'dropped tail|src/data/sampler.c|s/\+ \(rows % .*? != 0\)//|^(sampler|loader)$'
)

build() { cmake --build "$copy/build" -j "${DPTRAIN_JOBS:-2}" >"$copy/log" 2>&1; }

wanted() {
    local name=$1 word
    shift
    [ $# -eq 0 ] && return 0
    for word in "$@"; do [ "$word" = "$name" ] && return 0; done
    return 1
}

git -C "$root" ls-files -z | (cd "$root" && xargs -0 cp --parents -t "$copy" 2>/dev/null)
cmake -G Ninja -S "$copy" -B "$copy/build" >"$copy/log" 2>&1
build || { tail -n 20 "$copy/log" >&2; exit 1; }

caught=0 survived=0
for mutant in "${mutants[@]}"; do
    name=${mutant%%|*} rest=${mutant#*|}
    file=${rest%%|*} rest=${rest#*|}
    change=${rest%|*} tests=${rest##*|}
    # an alternative inside the substitution or the test names is part of it: the last field begins with ^
    tests=^${mutant##*|^} change=${rest%|^*}
    wanted "$name" "$@" || continue
    cp "$copy/$file" "$copy/whole"
    perl -pi -e "$change" "$copy/$file"
    verdict=survived
    if cmp -s "$copy/$file" "$copy/whole"; then
        verdict='does not apply'
    elif ! build; then
        verdict='does not build'
    elif ! ctest --test-dir "$copy/build" -R "$tests" --no-tests=ignore --timeout 120 >"$copy/log" 2>&1; then
        verdict=caught
    fi
    cp "$copy/whole" "$copy/$file"
    printf '%-24s %s (%s)\n' "$name" "$verdict" "$tests"
    if [ "$verdict" = caught ]; then caught=$((caught + 1)); else survived=$((survived + 1)); fi
done
printf '%d caught, %d not\n' "$caught" "$survived"
[ "$survived" -eq 0 ] && [ "$caught" -gt 0 ]
