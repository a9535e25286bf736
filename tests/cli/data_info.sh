#!/bin/bash
# dptrain data info and data verify: what files hold, from the formula they were made by; what is damaged, no number or
# no class is named by file, dataset and row, with exit code 65.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
rank_counts=1

# says PATTERN...: a line of the last output for each
says() {
    local pattern
    for pattern; do grep -Eq -- "$pattern" out || failed "a line like /$pattern/" "$(head -n 40 out)"; done
}

# labels are i mod 10: mean 4.5, variance 8.25, a tenth each
"$make_data" good.h5 chunk=64
"$make_data" floats.h5 type=f32
accepted '^good.h5: [0-9]+ bytes, 6 datasets$' data info good.h5
says '^  /train/y \[600\]$' '^    chunks \[64\]: 640 bytes for 600$' '^    stored as u8$' \
    '^    all 600 rows: min 0, max 9, mean 4.5, std 2.87228$' '^    all 200 rows: min 0, max 9, mean 4.5, std 2.87228$' \
    '^  /train/x \[600,1,6,6\]$' '^    chunks \[64,1,6,6\]: 23040 bytes for 21600$'
[ "$(grep -Ec '^ +[0-9] +10.000 % #{40}$' out)" -eq 20 ] || failed "20 bars of a tenth each" "$(grep % out)"
accepted '^    the first 15 of 600 rows: min 0, max 9, mean 3.66667, std 2.74874$' data info good.h5 floats.h5 rows=15
says '^floats.h5: [0-9]+ bytes, 6 datasets$' '^    contiguous: 86400 bytes$' '^    stored as f32$'
accepted '^    all 600 rows: min 0, max 9, mean 4.5, std 2.87228$' data info rows=all floats.h5
refused 64 'rows=0: rows is a number from 1 up' data info good.h5 rows=0
refused 74 'absent.h5: No such file' data info absent.h5
printf 'not HDF5 at all' >text.h5
refused 65 'text.h5: not an HDF5 file' data info good.h5 text.h5
on 1 data info
expect 64
grep -q '^dptrain: usage: dptrain data info FILE.h5' err || failed "the usage" "$(cat err)"

accepted '^good.h5: /train/y: good: 600 rows of 1 u8, 0 to 9$' data verify good.h5 floats.h5 /train/y=0:9 test/y=0:9
says '^floats.h5: /train/x: good: 600 rows of 36 f32, 0 to 1$'
accepted '^good.h5: /train/y: good: 600 rows of 1 u8, 0 to 9; no sample of -2, -1, 10, 11$' data verify good.h5 /train/y=-2:11
refused 64 '/train/z: no such dataset' data verify good.h5 /train/z=0:9
! grep -q 'good:' out || failed "nothing read for a name that is wrong" "$(cat out)"
refused 65 '1 of 6 are bad: good.h5: /train/y: values outside of 0 to 7: 120; the first, 8, in row 8$' \
    data verify good.h5 /train/y=0:7
"$make_data" nan.h5 type=f32 value=17:nan
refused 65 '2 of 6 .* nan.h5: /train/image: values that are NaN: 1, infinite: 0; the first, NaN, in row 17 at \[3,0\]$' \
    data verify nan.h5
says '^nan.h5: /train/x: values that are NaN: 1, .* in row 17 at \[0,3,0\]$' '^nan.h5: /train/y: good'
"$make_data" infinite.h5 type=f32 value=599:inf
refused 65 'values that are NaN: 0, infinite: 1; the first, infinite, in row 599 at' data verify infinite.h5
accepted 'max 9.*' data info infinite.h5
says '^    all 600 rows: min 0, max 1, mean .*, 1 infinite$'
head -c 20000 floats.h5 >short.h5
refused 65 'short.h5: truncated' data verify short.h5
refused 74 'absent.h5: No such file' data verify absent.h5

# a dataset of bytes whose type is damaged: class 0 (integers), version 1, 1 byte, bits 0 to 7
python3 - <<'END'
data = open("good.h5", "rb").read()
at = data.index(bytes([0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0]))
open("type.h5", "wb").write(data[:at] + b"\x1d" + data[at + 1:])
END
refused 74 '1 of 6 are bad: type.h5: /[a-z/]+: cannot be opened: ' data verify type.h5
refused 74 'type.h5: /[a-z/]+: cannot be opened: ' data info type.h5

# a chunk of rows whose bytes have changed
if command -v h5repack >/dev/null && command -v h5ls >/dev/null; then
    h5repack -f /train/x:SHUF -f /train/x:GZIP=6 -f /train/x:FLET -l /train/x:CHUNK=50x1x6x6 good.h5 packed.h5
    accepted '^    chunks \[50,1,6,6\], shuffle, deflate 6, fletcher32: [0-9]+ bytes for 21600$' data info packed.h5
    accepted '^packed.h5: /train/x: good: 600 rows of 36 u8' data verify packed.h5
    place=$(h5ls -v -a packed.h5/train/x | awk '/\[100, 0, 0, 0/ { print $3 }')
    python3 -c 'import sys
f = open("packed.h5", "r+b"); f.seek(int(sys.argv[1]) + 40); b = f.read(1)[0]
f.seek(-1, 1); f.write(bytes([b ^ 16]))' "$place"
    refused 65 '1 of 6 .* 50 of 600 rows cannot be read; the first: packed.h5: /train/x: row' data verify packed.h5
    on 1 data info packed.h5
    expect 65
    says '^    bad: packed.h5: /train/x: row' '^  /train/y \[600\]$'
fi
