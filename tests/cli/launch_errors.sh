#!/bin/bash
# Launches that cannot work end with 64 and say so once: more ranks than rows, tasks of srun that do not find each
# other, ranks started with different words.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" good.h5
job=(data.files=good.h5 model=mlp model.hidden=16 run.dir=run)

rank_counts="4 8"
refused 64 '[48] ranks, but a global batch of 3 rows' "${job[@]}" batch=3 steps=2
[ ! -e run ] || failed "no run directory" "$(ls run)"
refused 64 'accumulate=4 is more than batch=3' "${job[@]}" batch=3 accumulate=4 steps=2

# As srun without PMI starts them: four processes, each the only rank of its MPI; the first speaks.
for command in train eval; do
    what="4 tasks of srun, each alone: $command"
    words=("${job[@]}" batch=60 steps=2)
    [ "$command" = train ] || words=(params.h5)
    for task in 0 1 2 3; do
        {
            code=0
            env SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=$task \
                timeout 60 "$dptrain" "$command" "${words[@]}" >"out.$task" 2>"err.$task" || code=$?
            echo "$code" >"code.$task"
        } &
    done
    wait
    cat err.? >err
    cat out.? >out
    for task in 0 1 2 3; do
        status=$(cat "code.$task")
        expect_refusal 64 'srun started 4 tasks, but MPI sees this one alone: .*srun --mpi=pmix.*mpirun'
    done
    [ -s err.0 ] || failed "the message from task 0" "$(cat err)"
    [ ! -e run ] || failed "no run directory" "$(ls run)"
done

# Inside a job, but started by mpirun, or alone on purpose: fine.
rm -rf run
run mpirun -np 2 env SLURM_JOB_ID=7 SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0 "$dptrain" "${job[@]}" batch=60 steps=2
expect 0
rm -rf run
run env SLURM_JOB_ID=7 SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 "$dptrain" "${job[@]}" batch=60 steps=2
expect 0

# Different words on different ranks.
rm -rf run
one=("${job[@]}" batch=60 steps=2 seed=1) other=("${job[@]}" batch=60 steps=2 seed=2)
run mpirun -np 3 "$dptrain" "${one[@]}" : -np 1 "$dptrain" "${other[@]}"
expect_refusal 64 'the configuration differs between ranks: rank 3 against'
run mpirun -np 1 "$dptrain" "${one[@]}" : -np 2 "$dptrain" "${other[@]}"
expect_refusal 64 'the configuration differs between ranks: rank 0 against'
run mpirun -np 2 "$dptrain" "${one[@]}" : -np 1 "$dptrain" "${one[@]}" nonsense=1
expect_refusal 64 'rank 2: .*unknown key nonsense'
[ ! -e run ] || failed "no run directory" "$(ls run)"
