#!/bin/bash
# Two hosts, by network namespaces (tests/netns/): a job of four ranks trains over both; then the cable between them is
# pulled, and each side finds the other cut off and ends. Needs root and namespaces, else it is skipped.
#
#   two_hosts.sh DEVICE COMM [training]     training: only that, a rank a host: over the NCCL that is played on the
#                                           host every rank polls with two threads, and two cores bear no more
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

device=${1:-cpu} comm=${2:-auto}
if [ "$device" = cuda ]; then use_host_device 2; fi
here=2
[ "${3:-}" != training ] || here=1
netns=$root/tests/netns
export NETNS_PREFIX=dpt$$
prefix=$NETNS_PREFIX
if ! "$netns/up.sh" 2 "$prefix" >up 2>&1; then
    cat up
    "$netns/down.sh" "$prefix" >/dev/null 2>&1 || true
    echo "no network namespaces here"
    exit 77
fi
tear_down() {
    exec 2>/dev/null # bash names every job that is killed
    "$netns/down.sh" "$prefix" || true
    leave
}
trap tear_down EXIT

"$make_data" good.h5
# the host name that mpirun starts ranks with, and what they need on the other side
# shellcheck disable=SC2054
launch=("$netns/agent.sh" 10.77.0.1 mpirun --mca plm_rsh_agent "$netns/agent.sh" --mca plm_rsh_no_tree_spawn 1
    --mca btl tcp,self,vader --mca btl_tcp_if_include e0 --mca oob_tcp_if_include e0 --bind-to none
    --host "10.77.0.1:$here,10.77.0.2:$here" "$dptrain" data.files="$scratch/good.h5" model=mlp model.hidden=16 batch=60
    eval_every=0 device="$device" comm.library="$comm" run.dir="$scratch/run" log.every=5)

run "${launch[@]}" steps=100 comm.interface=e0 watchdog.silence_s=120 watchdog.stuck_s=120
expect 0
grep -q "^ranks *$((2 * here)) on 2 hosts" out || failed "$((2 * here)) ranks on 2 hosts" "$(head -n 3 out)"
grep -q '^test accuracy' out || failed "a test accuracy" "$(tail -n 3 out)"
[ "${3:-}" != training ] || exit 0

what="the cable is pulled"
rm -rf run
"${launch[@]}" steps=100000000 watchdog.silence_s=2 >out 2>err &
wait_for test -s run/metrics.jsonl || failed "a run that has begun within 30 s" "none"
sleep 1
ip -n "${prefix}n2" link set e0 down
begin=$SECONDS
wait_for test -e run/exit_report.json || failed "a report within 30 s" "none"
# no rank is left on either side; mpirun itself waits for its daemon over there until TCP gives up
ranks() { pgrep -f "^$dptrain .*run.dir=$scratch/run" || true; }
no_rank() { [ -z "$(ranks)" ]; }
wait_for no_rank || failed "no rank left within 30 s" "processes $(ranks | tr '\n' ' ')"
[ $((SECONDS - begin)) -le 15 ] || failed "an end within 15 s" "$((SECONDS - begin)) s"
report_says exit_code 72
report_says rank 2
report_says host "${prefix}n2"
grep -q "^dptrain: host ${prefix}n2 (ranks 2-3) has stopped answering (nothing for 2" err ||
    failed "the host named" "$(grep '^dptrain: ' err || true)"
