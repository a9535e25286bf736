#!/bin/bash
# A rank that is killed in mid-run ends the job: mpirun says so and does not hang, and the run directory can be used
# again.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" good.h5
job=(data.files=good.h5 model=mlp model.hidden=16 batch=60 eval_every=0)

# rank_process LAUNCHER RANK: the process id of a rank that mpirun started.
rank_process() {
    local p children
    read -ra children <"/proc/$1/task/$1/children"
    for p in "${children[@]}"; do
        if grep -qxz "OMPI_COMM_WORLD_RANK=$2" "/proc/$p/environ"; then echo "$p"; fi
    done
}

for rank in 0 2; do
    what="3 ranks, rank $rank is killed"
    rm -rf run
    timeout -k 5 120 mpirun -np 3 "$dptrain" "${job[@]}" steps=100000000 run.dir=run >out 2>err &
    wait_for test -s run/metrics.jsonl || failed "a run that has begun within 30 s" "none"
    launcher=$(cat "/proc/$!/task/$!/children")
    victim=$(rank_process "${launcher% }" "$rank")
    [ -n "$victim" ] || failed "a process of rank $rank" "none"
    begin=$SECONDS
    kill -KILL "$victim"
    status=0
    wait $! || status=$?
    expect 137
    [ $((SECONDS - begin)) -le 20 ] || failed "an end within 20 s" "$((SECONDS - begin)) s"
    grep -q "signal 9" err || failed "mpirun's word on the killed process" "$(tail -n 3 err)"
    [ ! -e run/params.h5 ] || failed "no params.h5" "one"
done

accepted '^test accuracy 0\.' "${job[@]}" steps=20 run.dir=run run.overwrite=true
