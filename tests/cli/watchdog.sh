#!/bin/bash
# A rank that is killed or stopped in mid-run, rank 0 too: one message and exit_report.json name it, and the job ends
# within the bound. Then ranks that leave a collective out, run another in its place, stop in a step or close their
# context (desert.c), while the others are blocked: all are told who and where.
#
#   watchdog.sh DEVICE COMM
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

device=${1:-cpu} comm=${2:-auto}
if [ "$device" = cuda ]; then use_host_device 3; fi

"$make_data" good.h5
words=(data.files=good.h5 model=mlp model.hidden=16 batch=60 eval_every=0 steps=100000000 log.every=5
    device="$device" comm.library="$comm" watchdog.silence_s=1)

messages() { grep '^dptrain: ' err || true; }
gone() { [ ! -e "/proc/$1" ]; }

# strike SIGNAL RANK BOUND: ends or stops that rank of three; what was known is said within BOUND seconds.
strike() {
    local victim begin
    what="3 ranks, device $device, comm $comm, rank $2 gets $1"
    rm -rf run
    launch_job 3 "${words[@]}"
    victim=$(rank_process "$launcher" "$2")
    [ -n "$victim" ] || failed "a process of rank $2" "none"
    sleep 0.6 # heartbeats come four times a second
    begin=$SECONDS
    kill "-$1" "$victim"
    status=0
    wait "$job" || status=$?
    [ $((SECONDS - begin)) -le "$3" ] || failed "an end within $3 s" "$((SECONDS - begin)) s"
    [ "$status" -eq 72 ] || [ "$1-$status" = KILL-137 ] || failed "exit code 72" "$status"
    [ "$(messages | wc -l)" -eq 1 ] || failed "one message" "$(messages)"
    grep -Eq "^dptrain: rank $2 on $(hostname) $4.*: it was last seen in step [0-9]+, (train|data|save), " err ||
        failed "rank $2 named" "$(grep '^dptrain: ' err || true)"
    report_says exit_code 72
    report_says rank "$2"
    report_says host "$(hostname)"
    wait_for gone "$victim" || failed "no process left" "$victim"
}

# The whole job stopped and continued, as a scheduler does: nobody is to blame.
all_paused() {
    local ranks=() rank
    what="3 ranks, all stopped for 2 s"
    rm -rf run
    launch_job 3 "${words[@]}"
    for rank in 0 1 2; do ranks+=("$(rank_process "$launcher" "$rank")"); done
    kill -STOP "${ranks[@]}"
    sleep 2
    kill -CONT "${ranks[@]}"
    lines=$(wc -l <run/metrics.jsonl)
    wait_for grown || failed "training that goes on" "$(cat err)"
    sleep 0.5
    [ ! -e run/exit_report.json ] || failed "no exit_report.json" "$(cat run/exit_report.json)"
    what="3 ranks, mpirun gets TERM" # a signal to all is no loss
    kill -TERM "$launcher"
    wait "$job" || true
    ! grep -q '^dptrain: ' err || failed "no message" "$(grep '^dptrain: ' err)"
    [ ! -e run/exit_report.json ] || failed "no exit_report.json" "$(cat run/exit_report.json)"
}
grown() { [ "$(wc -l <run/metrics.jsonl)" -gt $((lines + 1)) ]; }

strike KILL 1 5 'is gone'
strike STOP 0 10 'has stopped answering \(nothing for '
if [ "$device" = cpu ]; then
    strike KILL 0 5 'is gone'
    strike STOP 2 10 'has stopped answering \(nothing for '
    all_paused
fi

# deserted WHAT STATUS PATTERN: every rank that is left is told.
deserted() {
    run mpirun -np 3 "$BUILD/tests/desert" "$1" 1 "$device" "$comm"
    expect "$2"
    [ "$2" -eq 0 ] || [ "$(grep -c "^told [012]: .* rank 1 host $(hostname) step [0-9]* .*$3" out)" -ge 2 ] ||
        failed "two ranks or three that are told /$3/" "$(cat out)"
    ! grep -q '^failed' out || failed "no other failure" "$(cat out)"
}
deserted skip 3 'out of step: ranks 0, 2 wait in collective 101: all_reduce .*; rank 1 waits in exchange [0-9]*: sum '
deserted sleep 3 'rank 1 on .* has made no progress for .*; ranks 0, 2 wait for it in collective 101: all_reduce '
if [ "$device" = cpu ]; then
    deserted none 0 ''
    deserted swap 3 'out of step: rank 1 began collective 101: broadcast .*; ranks 0, 2 began collective 101: all_reduce '
    deserted leave 3 'rank 1 on .* has left after step 101, .*; ranks 0, 2 wait for it in collective 101: all_reduce '
fi
