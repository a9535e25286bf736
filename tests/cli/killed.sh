#!/bin/bash
# A rank that is killed in mid-run ends the job: mpirun says so and does not hang, and the run directory can be used
# again. One of the others says which rank it was, on stderr and in exit_report.json, unless that is switched off.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" good.h5
job=(data.files=good.h5 model=mlp model.hidden=16 batch=60 eval_every=0)

for rank in 0 2 2-alone; do
    what="3 ranks, rank $rank is killed"
    watchdog=true
    [ "$rank" != 2-alone ] || watchdog=false
    rm -rf run
    timeout -k 5 120 mpirun -np 3 "$dptrain" "${job[@]}" steps=100000000 run.dir=run watchdog.enabled=$watchdog >out 2>err &
    wait_for test -s run/metrics.jsonl || failed "a run that has begun within 30 s" "none"
    launcher=$(cat "/proc/$!/task/$!/children")
    victim=$(rank_process "${launcher% }" "${rank%-*}")
    [ -n "$victim" ] || failed "a process of rank $rank" "none"
    begin=$SECONDS
    kill -KILL "$victim"
    status=0
    wait $! || status=$?
    # mpirun's own code where it saw the loss first, the survivors' where they did
    [ "$status" -eq 137 ] || [ "$status-$watchdog" = 72-true ] || failed "exit code 137" "$status"
    [ $((SECONDS - begin)) -le 20 ] || failed "an end within 20 s" "$((SECONDS - begin)) s"
    if [ "$watchdog" = true ]; then
        report_says exit_code 72
        report_says rank "$rank"
        [ "$(grep -c '^dptrain: ' err)" -eq 1 ] || failed "one message" "$(grep '^dptrain: ' err || true)"
    else
        [ ! -e run/exit_report.json ] || failed "no exit_report.json" "one"
    fi
    [ "$status" -eq 72 ] || grep -q "signal 9" err || failed "mpirun's word on the killed process" "$(tail -n 3 err)"
    [ ! -e run/params.h5 ] || failed "no params.h5" "one"
done

accepted '^test accuracy 0\.' "${job[@]}" steps=20 run.dir=run run.overwrite=true
