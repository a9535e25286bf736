#!/bin/bash
# What is wrong with a data file as a whole: exit code 65, and one message that names file, dataset and numbers. The
# run directory is not made.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# bad_data PATTERN FILE WORDS...
bad_data() {
    local pattern=$1 file=$2
    shift 2
    refused 65 "$pattern" data.files="$file" model=mlp batch=32 steps=2 run.dir=run "$@"
    [ ! -e run ] || failed "no run directory" "$(ls run)"
}

"$make_data" good.h5
bad_data 'absent.h5' absent.h5
bad_data 'absent-\*.h5' 'absent-*.h5'

head -c 5000 good.h5 >truncated.h5
bad_data "truncated.h5: truncated: 5000 bytes of $(wc -c <good.h5)" truncated.h5
echo 'This is not an HDF5 file.' >text.h5
bad_data 'text.h5: not an HDF5 file' text.h5

bad_data 'good.h5: /train/z: no such dataset; the file holds .*/train/x' good.h5 data.train.x=/train/z
"$make_data" partial.h5 without=/test/y
bad_data 'partial.h5: /test/y: no such dataset; the file holds' partial.h5

"$make_data" other_side.h5 test_side=5
bad_data 'other_side.h5: /test/x: a sample is \[1,5,5\], expected \[1,6,6\]' other_side.h5
bad_data 'good.h5: /test/y: a sample is \[\], expected \[1,6,6\]' good.h5 data.train.y=/train/x
"$make_data" fewer.h5 labels=599
bad_data 'fewer.h5: /train/y has 599 rows, /train/x has 600' fewer.h5
"$make_data" empty.h5 train=0
bad_data 'empty.h5: /train/x: 0 samples' empty.h5
