#!/bin/bash
# What is wrong with a single value, found while training: exit code 65 with file, dataset and sample; a loss that is no
# number: 73. exit_report.json agrees, and the lock of the run directory is given back.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# bad_value CODE PATTERN FILE WORDS...
bad_value() {
    local code=$1 pattern=$2 file=$3
    shift 3
    refused "$code" "$pattern" data.files="$file" model=mlp model.hidden=16 batch=60 run.dir=run "$@"
    report_says exit_code "$code"
    local rank
    rank=$(sed -n 's/^dptrain: rank \([0-9]*\): .*/\1/p' err)
    report_says rank "${rank:-0}"
    grep -Eq "$pattern" run/exit_report.json || failed "the message in run/exit_report.json" "$(cat run/exit_report.json)"
    [ ! -s run/lock ] || failed "an empty lock" "$(cat run/lock)"
    [ ! -e run/params.h5 ] || failed "no params.h5" "one"
}

rank_counts=${RANK_COUNTS:-1 4}
"$make_data" label.h5 label=417:10
bad_value 65 'label.h5: /train/y: sample 417 .*label 10 is outside \[0, 10\)' label.h5 epochs=1
report_says status data
report_says phase train
"$make_data" nan.h5 type=f32 value=123:nan
bad_value 65 'nan.h5: /train/x: sample 123 \(row 123 of the file\), element 18: the value -?nan' nan.h5 epochs=1
"$make_data" inf.h5 type=f32 value=599:inf
bad_value 65 'inf.h5: /train/x: sample 599 .*the value inf' inf.h5 epochs=1

# the second file's sample is counted over all files, its row within the file
"$make_data" good.h5
rank_counts=3
bad_value 65 'label.h5: /train/y: sample 1017 \(row 417 of the file\)' good.h5,label.h5 epochs=1

# a value of the test part: found in the evaluation
rank_counts=${RANK_COUNTS:-1 3}
bad_value 65 'label.h5: /train/y: sample 417 .*label 10' label.h5 epochs=1 data.train.x=/test/x data.train.y=/test/y \
    data.test.x=/train/x data.test.y=/train/y
report_says phase evaluate

# a learning rate that throws the parameters away
bad_value 73 'diverged: loss or gradient have not been finite in steps [0-9]+ to [0-9]+ \(learning rate 1e\+30\)' good.h5 \
    epochs=20 optimizer.lr=1e30 schedule=constant
report_says status diverged
grep -q 'step [0-9]*: loss .*not finite, the update is skipped' err || failed "a warning at the first skipped step" "none"

# a few such steps do not end a run: what is saved is finite
rm -rf run
on 3 data.files=good.h5 model=mlp model.hidden=16 batch=60 steps=6 optimizer.lr=1e30 schedule=constant run.dir=run
expect 0
if command -v h5dump >/dev/null; then
    h5dump run/params.h5 >params.txt
    ! grep -Eiwq -e '-?nan|-?inf' params.txt || failed "finite parameters" "$(grep -Eiwm 3 -e '-?nan|-?inf' params.txt)"
fi
