#!/bin/bash
# Training on a chunked file in order `lanes`, which data.order=auto takes there: the same ledger of each epoch and the
# same losses at 1, 2 and 3 ranks, with mixup too; what the header and the run's folder say; words that do not fit.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" chunked.h5 train=3000 side=32 chunk=7
"$make_data" plain.h5
job=(model=mlp model.hidden=16 run.dir=run batch=60 log.every=1 threads=1)

# as_one WORD...: the same at 1, 2 and 3 ranks.
as_one() {
    local ranks
    for ranks in 1 2 3; do
        rm -rf run
        on $ranks train data.files=chunked.h5 "${job[@]}" epochs=2 "$@"
        expect 0
        grep -Eq '^order +5 lanes; a rank mixes [0-9]+ blocks at a time \([0-9.]+ MiB\); blocks are read 1.00 times' out ||
            failed "order lanes in the header" "$(head -n 8 out)"
        split_metrics losses.$ranks ledgers.$ranks
        [ "$(wc -l <losses.$ranks)" -eq 102 ] || failed "100 steps and 2 evaluations" "$(wc -l <losses.$ranks)"
        same_bytes ledgers.1 ledgers.$ranks
        paste losses.1 losses.$ranks |
            awk '{ d = $2 - $4; if (d * d > 1e-8 * $2 * $2 + 1e-12) { print; exit 1 } }' >differ ||
            failed "losses equal within 1e-4 at 1 and $ranks ranks" "$(cat differ)"
    done
}

as_one
[ "$(cut -d' ' -f1,2 ledgers.1 | tr '\n' ,)" = "1 3000,2 3000," ] || failed "two epochs of 3000 samples" "$(cat ledgers.1)"
cp ledgers.1 ledgers.lanes
as_one mixup.alpha=0.4 data.order=lanes data.window=2

# the same samples by order `exact`, so the same ledger, but other losses
rm -rf run
on 2 train data.files=chunked.h5 "${job[@]}" epochs=2 data.order=exact
expect 0
grep -Eq '^order +exact$' out || failed "order exact in the header" "$(head -n 8 out)"
split_metrics losses.exact ledgers.exact
same_bytes ledgers.lanes ledgers.exact
if cmp -s losses.1 losses.exact; then failed "other batches in order exact" "the same losses"; fi

# without chunks auto is `exact`, and lanes can be asked for
rm -rf run
on 1 train data.files=plain.h5 "${job[@]}" epochs=2
expect 0
grep -Eq '^order +exact$' out || failed "order exact for a file without chunks" "$(head -n 8 out)"
rm -rf run
on 3 train data.files=plain.h5 "${job[@]}" epochs=2 data.order=lanes
expect 0
grep -Eq '^order +1 lane; a rank mixes 1 block .* blocks are read 3.00 times' out ||
    failed "one block, read by each of three ranks" "$(head -n 8 out)"

# epochs of 40 steps: three of them, with as many evaluations, are two passes of 50 steps and a part of the third
rm -rf run
on 2 train data.files=chunked.h5 "${job[@]}" epochs=3 epoch.steps=40
expect 0
split_metrics losses.steps ledgers.steps
same_bytes ledgers.lanes ledgers.steps
[ "$(wc -l <losses.steps)" -eq 123 ] || failed "120 steps and 3 evaluations" "$(wc -l <losses.steps)"
report_says step 120
report_says epoch 3

refused 64 'data.window' train data.files=plain.h5 "${job[@]}" data.order=exact data.window=4
refused 64 'data.order' train data.files=plain.h5 "${job[@]}" data.order=lane
