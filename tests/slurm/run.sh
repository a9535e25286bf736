#!/bin/bash
# dptrain under a real Slurm with GPUs that are not there: the rows of docs/slurm.md (what each choice of visible devices
# gives), the scripts of launch/slurm, launches that cannot work, jobs and their exit codes. Two nodes with 4 GPUs each on
# this machine (cluster.sh); the GPUs are played by the CUDA backend as built for the CPU. Needs root and Slurm.
set -euo pipefail
# shellcheck source=cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source=../cli/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cli/common.sh"

module=$BUILD/tests/hostcuda where=$BUILD/tests/where
[ -e "$module/libdptrain_cuda.so" ] || { echo "no $module/libdptrain_cuda.so" && exit 77; }
[ "$(id -u)" -eq 0 ] || { echo "not root" && exit 77; }
cluster_has_slurm || { echo "no Slurm here" && exit 77; }
unshare --uts true 2>/dev/null || { echo "no UTS namespaces here" && exit 77; }

export LD_LIBRARY_PATH=$module${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_btl_tcp_if_include=lo DPTRAIN=$dptrain
cluster_start 2 || { echo "the cluster does not start" && exit 1; }

# ---- which device each rank gets ----

# places VISIBLE OPTIONS...: starts `where` on a node that shows so many GPUs (those of the job, where the site hides
# others by cgroup; all 4, where it does not).
places() {
    local visible=$1
    shift
    HOSTCUDA_DEVICES=$visible run srun --mpi=pmix "$@" "$where"
    what="$visible GPUs visible: srun $*"
}

# takes WARNING DEVICE...: rank r has the device "NUMBER-OF-ITS-PROCESS BUS"; one warning like /WARNING/, none if empty.
takes() {
    local warning=$1 rank=0 device
    shift
    expect 0
    for device in "$@"; do
        grep -Eq "^rank $rank on n[12]: cuda ${device% *} \(CUDA on the host, 0000:${device#* }:" out ||
            failed "rank $rank with device ${device% *} on bus ${device#* }" "$(grep "^rank $rank " out || echo nothing)"
        rank=$((rank + 1))
    done
    [ "$(grep -c '^rank ' out)" -eq "$rank" ] || failed "$rank ranks" "$(cat out)"
    if [ -z "$warning" ]; then
        [ ! -s err ] || failed "no warning" "$(cat err)"
    else
        [ "$(grep -c . err)" -eq 1 ] || failed "one warning" "$(cat err)"
        grep -Eq "$warning" err || failed "a warning like /$warning/" "$(cat err)"
    fi
}

# says CODE PATTERN: ends with it and a message like it, once.
says() {
    expect "$1"
    [ "$(grep -Ec "$2" err)" -eq 1 ] || failed "one message like /$2/" "$(cat err)"
}

hidden='^ranks 0-1: GPUs of the same host are hidden from each other'
strangers='^4 CUDA devices are visible on n[12], but the job has 2 of them'
two=(--nodes=1 --ntasks-per-node=2)

places 2 "${two[@]}" --gpus-per-node=2 --gpu-bind=none
takes '' '0 10' '1 11'
places 4 "${two[@]}" --gpus-per-node=2 --gpu-bind=none
takes "$strangers" '0 10' '1 11'
places 4 "${two[@]}" --gpus-per-node=4 --gpu-bind=none
takes '' '0 10' '1 11'
places 4 "${two[@]}" --gpus-per-node=2
takes '' '0 10' '1 11'
places 4 "${two[@]}" --gpus-per-task=1
takes "$hidden" '0 10' '0 11'
places 4 "${two[@]}" --gpus-per-node=2 --gpu-bind=single:1
takes "$hidden" '0 10' '0 11'
places 4 "${two[@]}" --gpus-per-node=4 --gpu-bind=map_gpu:3,1
takes "$hidden" '0 13' '0 11'
places 2 --nodes=2 --ntasks-per-node=2 --gpus-per-node=2 --gpu-bind=none
takes '' '0 10' '1 11' '0 10' '1 11'

places 4 --nodes=1 --ntasks=2 --gpus-per-node=1
says 71 'ranks 0, 1 would share one device on n[12], 0000:10:00\.0 .*CUDA_VISIBLE_DEVICES is "0"'
places 4 --nodes=1 --ntasks=3 --gpus-per-node=2
says 71 '3 ranks on n[12], and 2 CUDA devices \(CUDA_VISIBLE_DEVICES is "0,1"\): start at most 2 ranks a host'
places 0 "${two[@]}"
says 71 'no CUDA device on n[12]'

# ---- launches that cannot work ----

"$make_data" good.h5
job=(data.files="$scratch/good.h5" model=mlp model.hidden=16 batch=12 steps=4)
export HOSTCUDA_DEVICES=2

for command in train eval; do
    run srun --mpi=none "${two[@]}" --gpus-per-node=2 "$dptrain" "$command" "${job[@]}" device=cuda
    says 64 '^dptrain: srun started 2 tasks, but MPI sees this one alone: start with "srun --mpi=pmix"'
done
[ ! -e runs ] || failed "no run directory" "$(ls runs)"

# ---- jobs ----

# submit SCRIPT OPTIONS... -- WORDS...: its number in $number.
submit() {
    local script=$root/launch/slurm/$1 options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    what="sbatch ${options[*]} $script ${*:2}"
    number=$(sbatch --parsable --account=mine --partition=test --output=%j.out "${options[@]}" "$script" "${@:2}")
}

has_ended() { scontrol show job "$1" | grep -Eq 'JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)'; }

# ended NUMBER STATE CODE
ended() {
    wait_for has_ended "$1" || failed "job $1 to end" "$(scontrol show job "$1")"
    scontrol show job "$1" >about
    grep -q "JobState=$2 " about || failed "job $1: $2" "$(grep JobState about)"
    grep -q "ExitCode=$3:0" about || failed "job $1: exit code $3" "$(grep ExitCode about)"
}

# printed NUMBER PATTERN
printed() { grep -Eq "$2" "$1.out" || failed "output of job $1 like /$2/" "$(cat "$1.out")"; }

gpus=(--ntasks-per-node=2 --gpus-per-node=2 --cpus-per-task=1)
submit train.sbatch "${gpus[@]}" -- "${job[@]}"
ended "$number" COMPLETED 0
printed "$number" '^ranks +2 on 1 host, .*cuda 0 '
printed "$number" '^test accuracy'
printed "$number" "^results in +runs/mlp-$number\$"
one_node=$(sed -n 's/^epoch 1 .* loss \([0-9.]*\) .*/\1/p' "$number.out" | head -n 1)

# A rank a node: of busy ranks of two sessions on one core, as two nodes have here, Linux 6.18 at times lets those of one
# run alone for half a minute.
single=(--nodes=2 --ntasks-per-node=1 --cpus-per-task=1)
submit train.sbatch "${single[@]}" --gpus-per-node=1 -- "${job[@]}"
ended "$number" COMPLETED 0
printed "$number" '^ranks +2 on 2 hosts, .*cuda 0 '
printed "$number" " loss $one_node "

what="mpirun inside an allocation of two nodes"
number=$(sbatch --parsable --nodes=2 --ntasks-per-node=2 --gpus-per-node=2 --output=%j.out \
    --wrap "mpirun --mca oob_tcp_if_include lo $where")
ended "$number" COMPLETED 0
printed "$number" '^rank 3 on n2: cuda 1 '

submit cpu.sbatch "${single[@]}" -- "${job[@]}"
ended "$number" COMPLETED 0
printed "$number" '^ranks +2 on 2 hosts, .*cpu '
printed "$number" " loss $one_node "

submit train.sbatch "${gpus[@]}" -- "${job[@]}" nonsense=1
wrong_word=$number
HOSTCUDA_DEVICES=1 submit train.sbatch "${gpus[@]}" -- "${job[@]}"
too_few=$number
DPTRAIN=$scratch/none submit train.sbatch "${gpus[@]}" -- "${job[@]}"
no_program=$number
HOSTCUDA_DEVICES=4 submit seeds.sbatch --array=1,3 --cpus-per-task=1 -- "${job[@]}"
seeds=$number
ended "$wrong_word" FAILED 64
printed "$wrong_word" '^dptrain: .*unknown key nonsense'
ended "$too_few" FAILED 71
printed "$too_few" '^dptrain: ranks 0, 1 would share one device'
ended "$no_program" FAILED 64
printed "$no_program" "^no program $scratch/none in "
for seed in 1 3; do
    wait_for has_ended "${seeds}_$seed" || failed "job ${seeds}_$seed to end" "$(scontrol show job "${seeds}_$seed")"
    grep -q "^seed: $seed\$" "runs/mlp-${seeds}_$seed/config.yaml" ||
        failed "seed $seed" "$(ls runs && tail -n 3 ./*.out)"
done
