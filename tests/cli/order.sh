#!/bin/bash
# Which sample stands at which place of which global batch is the same at 1, 2, 4 and 8 ranks, with any number of reading
# threads; each epoch holds every sample once, in an order of its own.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

rows=613 batch=50 # neither is a multiple of a rank count
"$make_data" data.h5 train=$rows

# order_at RANKS THREADS SEED OUT: lines "epoch step position sample" of three epochs.
order_at() {
    run mpirun -np "$1" "$order" data.h5 part $batch "$3" "$2" 3
    expect 0
    sort -n -k1,1 -k2,2 -k3,3 part.* >"$4"
    rm -f part.*
}

order_at 1 1 5 one
for ranks in 2 4 8; do
    order_at $ranks 1 5 other
    same_bytes one other
done
order_at 4 3 5 other
same_bytes one other
order_at 2 0 5 other
same_bytes one other

what="the order of $rows samples"
for epoch in 0 1 2; do
    awk -v e=$epoch '$1 == e { print $4 }' one >"epoch.$epoch"
    sort -n "epoch.$epoch" | cmp -s - <(seq 0 $((rows - 1))) || failed "every sample once in epoch $epoch" "another set"
    awk -v e=$epoch '$1 == e && $2 * 50 + $3 != n++ { bad = 1 } END { exit bad }' one ||
        failed "places without a gap in epoch $epoch" "gaps"
done
if cmp -s epoch.0 epoch.1 || cmp -s epoch.1 epoch.2; then failed "an order of its own in each epoch" "the same"; fi
if cmp -s epoch.0 <(seq 0 $((rows - 1))); then failed "a shuffled epoch" "the order of the file"; fi
order_at 2 1 6 other
if cmp -s one other; then failed "another order with another seed" "the same"; fi
