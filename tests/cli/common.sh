# shellcheck shell=bash
# What the tests of the command line share. Sourced: moves into a scratch folder that goes away at the end, finds the
# programs under test, and gives checks that say what was expected and what came.
#
# By hand, after a build in build/ (or in the folder that BUILD names): bash tests/cli/train.sh
# RANK_COUNTS="2": at how many ranks each message is looked at, instead of 1 and 3.
#
# Invariant: no program runs longer than $limit_s, and every check goes through failed(), so that a script tells all
# that is wrong before it ends with 1.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=$(cd "${BUILD:-$root/build}" && pwd)
. "$root/launch/env.sh"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
unset "${!SLURM_@}" # a test may itself run in a job

dptrain=$BUILD/dptrain
# shellcheck disable=SC2034 # for the scripts
make_data=$BUILD/tests/make_data order=$BUILD/tests/order
[ -x "$dptrain" ] || { echo "no program $dptrain: build first, or name the build's folder with BUILD=" && exit 70; }
limit_s=${limit_s:-60}
rank_counts=${RANK_COUNTS:-1 3}
failures=0 status=0 what=

scratch=$(mktemp -d)
leave() {
    local code=$?
    # shellcheck disable=SC2046 # a word a process
    kill $(jobs -p) 2>/dev/null || true
    wait
    cd /
    rm -rf "$scratch"
    if [ "$failures" -gt 0 ]; then
        echo "$failures checks failed"
        exit 1
    fi
    exit "$code"
}
trap leave EXIT
cd "$scratch" || exit 70

# use_host_device DEVICES: device=cuda is CUDA on the host (tests/hostcuda/), with so many devices; skips without it.
use_host_device() {
    local module=$BUILD/tests/hostcuda
    [ -e "$module/libdptrain_cuda.so" ] || { echo "no $module/libdptrain_cuda.so" && exit 77; }
    export LD_LIBRARY_PATH=$module${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} HOSTCUDA_DEVICES=$1
}

# failed EXPECTED GOT
failed() {
    failures=$((failures + 1))
    printf 'FAILED: %s\n  expected: %s\n  got:      %s\n' "$what" "$1" "$2"
    [ ! -s out ] || { echo "  --- end of its output" && tail -n 8 out; }
    [ ! -s err ] || { echo "  --- end of its messages" && tail -n 12 err; }
    echo
}

# run COMMAND...: its output in `out` and `err`, its exit status in $status.
run() {
    what=$*
    status=0
    timeout -k 5 "$limit_s" "$@" >out 2>err </dev/null || status=$?
    [ "$status" -ne 124 ] || failed "an end within $limit_s s" "none"
}

# on RANKS WORDS...: dptrain WORDS; a single rank without a launcher.
on() {
    local ranks=$1
    shift
    if [ "$ranks" -eq 1 ]; then run "$dptrain" "$@"; else run mpirun -np "$ranks" "$dptrain" "$@"; fi
}

# What stands in `err` besides warnings and what mpirun says of an exit code other than 0.
own_messages() {
    grep -Ev '^$|^-{20,}$|^(Primary job|a non-zero exit code|mpirun detected|the job to be terminated|  Process name:|  Exit code:)' err |
        grep -v 'not finite, the update is skipped' || true
}

# expect CODE
expect() { [ "$status" -eq "$1" ] || failed "exit code $1" "$status"; }

# expect_refusal CODE PATTERN: that code, and one message that matches, from one rank.
expect_refusal() {
    local said
    expect "$1"
    said=$(own_messages)
    [ "$(grep -c . <<<"$said")" -eq 1 ] || failed "one line of message" "${said:-none}"
    grep -Eq "^dptrain: .*$2" <<<"$said" || failed "a message like /$2/" "${said:-none}"
}

# refused CODE PATTERN WORDS...: expect_refusal of `dptrain WORDS`, at each of $rank_counts.
refused() {
    local code=$1 pattern=$2 ranks
    shift 2
    for ranks in $rank_counts; do
        rm -rf run
        on "$ranks" "$@"
        expect_refusal "$code" "$pattern"
    done
}

# accepted PATTERN WORDS...: exit code 0, no message, a line of output that matches; at each of $rank_counts.
accepted() {
    local pattern=$1 ranks
    shift
    for ranks in $rank_counts; do
        rm -rf run
        on "$ranks" "$@"
        expect 0
        [ ! -s err ] || failed "no message" "$(cat err)"
        grep -Eq "$pattern" out || failed "output like /$pattern/" "$(tail -n 3 out)"
    done
}

# same_bytes A B
same_bytes() { cmp "$1" "$2" >difference 2>&1 || failed "$1 and $2 with the same bytes" "$(cat difference)"; }

# json_value FILE KEY: of an object in a file of its own; fails where it is no JSON.
json_value() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }

# report_says KEY VALUE: what run/exit_report.json holds.
report_says() {
    local value
    value=$(json_value run/exit_report.json "$1" 2>&1) || true
    [ "$value" = "$2" ] || failed "$1 $2 in run/exit_report.json" "$value"
}

# wait_for COMMAND...: until it succeeds; 1 after 30 s.
wait_for() {
    local i
    for ((i = 0; i < 300; i++)); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    return 1
}

# rank_process LAUNCHER RANK: the process id of a rank that mpirun started.
rank_process() {
    local p children
    read -ra children <"/proc/$1/task/$1/children"
    for p in "${children[@]}"; do
        if grep -qxz "OMPI_COMM_WORLD_RANK=$2" "/proc/$p/environ"; then echo "$p"; fi
    done
}

# launch_job RANKS WORDS...: starts dptrain under mpirun in the background, output in `out` and `err`, and waits until it
# trains. $job: the process to wait for; $launcher: mpirun.
launch_job() {
    local ranks=$1
    shift
    timeout -k 5 120 mpirun -np "$ranks" "$dptrain" "$@" run.dir=run >out 2>err &
    job=$!
    wait_for test -s run/metrics.jsonl || failed "a run that has begun within 30 s" "none"
    # shellcheck disable=SC2034 # for the scripts
    read -r launcher <"/proc/$job/task/$job/children" || true
}

# split_metrics LOSSES LEDGERS: of the run in `run`, two files: losses of steps and evaluations, ledgers of passes.
split_metrics() {
    python3 -c 'import json, sys
losses, ledgers = open(sys.argv[1], "w"), open(sys.argv[2], "w")
for line in open("run/metrics.jsonl"):
    m = json.loads(line)
    if m["event"] == "pass": print(m["pass"], m["samples"], m["digest"], file=ledgers)
    elif m["event"] == "train": print(m["step"], m["loss"], file=losses)
    else: print(m["epoch"], m["loss"], file=losses)' "$1" "$2"
}
