#!/bin/bash
# dptrain data import: IDX files, plain and gzip, become HDF5 with the same bytes; what is damaged is refused, and
# leaves no file behind.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
rank_counts=1

# 3 images of 2 x 2 and their labels
{ printf '\0\0\010\003\0\0\0\003\0\0\0\002\0\0\0\002' && printf '\001\002\003\004\005\006\007\010\011\012\013\377'; } >images
{ printf '\0\0\010\001\0\0\0\003' && printf '\007\0\011'; } >labels
gzip -k images labels

accepted '^plain.h5$' data import plain.h5 /train/x=images /train/y=labels
accepted '^packed.h5$' data import packed.h5 /train/x=images.gz /train/y=labels.gz
same_bytes plain.h5 packed.h5
if command -v h5dump >/dev/null; then
    what="what import wrote"
    h5dump -d /train/x -o values -y -w 0 plain.h5 >header
    grep -Fq 'SIMPLE { ( 3, 1, 2, 2 )' header || failed "3 images of 1 x 2 x 2" "$(cat header)"
    [ "$(tr -d ' \n' <values)" = 1,2,3,4,5,6,7,8,9,10,11,255 ] || failed "1, 2, ... 11, 255" "$(cat values)"
    h5dump -d /train/y -o values -y -w 0 plain.h5 >header
    [ "$(tr -d ' \n' <values)" = 7,0,9 ] || failed "labels 7, 0, 9" "$(cat values)"
fi

# tables: columns by name and number, packed too; a wrong row is named by its line
printf 'u,v,label\r\n0.5,-1e2,3\r\n"1.5",7,0\r\n' >table.csv
gzip -k table.csv
accepted '^table.h5$' data import table.h5 /x=table.csv#1-2 /y=table.csv.gz#label:i64
if command -v h5dump >/dev/null; then
    what="what import wrote of a table"
    h5dump -d /x -o values -y -w 0 table.h5 >header
    grep -Fq 'H5T_IEEE_F32LE' header || failed "f32" "$(cat header)"
    grep -Fq 'SIMPLE { ( 2, 2 )' header || failed "2 rows of 2" "$(cat header)"
    [ "$(tr -d ' \n' <values)" = 0.5,-100,1.5,7 ] || failed "0.5, -100, 1.5, 7" "$(cat values)"
    h5dump -d /y -o values -y -w 0 table.h5 >header
    grep -Fq 'H5T_STD_I64LE' header || failed "i64" "$(cat header)"
    [ "$(tr -d ' \n' <values)" = 3,0 ] || failed "labels 3, 0" "$(cat values)"
fi

# by several ranks: the same file; what is wrong is said once
rank_counts=3
accepted '^ranks.h5$' data import ranks.h5 /x=table.csv#1-2 /y=table.csv.gz#label:i64
same_bytes table.h5 ranks.h5
printf '1,2\n3,4\n5\n' >short.csv
refused 65 'short.csv: line 3: 1 field, the first line has 2' data import bad.h5 /x=table.csv#1 /y=short.csv
refused 64 '"images" is not of the form DATASET=FILE' data import bad.h5 images
rank_counts=1

# what is there already stays, and that is said
cp plain.h5 before.h5
on 1 data import plain.h5 /train/x=labels
expect 0
grep -q '^plain.h5$' out || failed "the target's name" "$(cat out)"
grep -q '^dptrain: plain.h5 exists already and is left as it is' err || failed "that it is left" "$(cat err)"
same_bytes plain.h5 before.h5

# a part is what follows the first #, unless a file has that whole name
refused 64 'images: an IDX file has no parts, so no #1-2' data import bad.h5 '/x=images#1-2'
cp labels 'run#1'
accepted '^hash.h5$' data import hash.h5 '/x=run#1'

# a folder of images: 2 x 2 PNG with 1 2 3 4 and 5 6 7 255
mkdir -p photos/cat photos/dog
head=iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR42mNg
base64 -d <<<"${head}ZGJgZgEAAB0ACxDdHHAAAAAASUVORK5CYII=" >photos/cat/1.png
base64 -d <<<"${head}ZWNg/w8AAUQBEg6f2kkAAAAASUVORK5CYII=" >photos/dog/1.png
accepted '^photos: 2 classes: 0 cat, 1 dog$' data import photos.h5 /train/x=photos#images /train/y=photos#labels
if command -v h5dump >/dev/null; then
    h5dump -d /train/x -o values -y -w 0 photos.h5 >header
    grep -Fq 'SIMPLE { ( 2, 1, 2, 2 )' header || failed "2 images of 1 x 2 x 2" "$(cat header)"
    [ "$(tr -d ' \n' <values)" = 1,2,3,4,5,6,7,255 ] || failed "1, 2, ... 7, 255" "$(cat values)"
    h5dump -d /train/y -o values -y -w 0 photos.h5 >header
    [ "$(tr -d ' \n' <values)" = 0,1 ] || failed "labels 0, 1" "$(cat values)"
    h5dump -a /train/y/classes photos.h5 | grep -Fq '"cat", "dog"' || failed "names of the classes" "$(h5dump -a /train/y/classes photos.h5)"
fi
head -c 60 photos/dog/1.png >photos/cat/2.png
on 1 data import skipped.h5 /x=photos#images:size=1x1,skip=yes /y=photos#labels:skip=yes
expect 0
grep -q '^dptrain: photos: 1 broken images skipped, the first: photos/cat/2.png: broken PNG: the file ends early$' err ||
    failed "a warning that names the broken image" "$(cat err)"

# NumPy's: [3,2] of i2, and an archive of two arrays
npy() { printf "\\223NUMPY\\1\\0\\$(printf '%03o' ${#1})\\0%s" "$1"; }
short="{'descr': '<i2', 'fortran_order': False, 'shape': (3, 2)}"
{ npy "$short" && printf '\1\0\2\0\3\0\4\0\5\0\377\377'; } >short.npy
{ npy "{'descr': '|u1', 'fortran_order': False, 'shape': (3,)}" && printf '\2\1\0'; } >y.npy
python3 -c "import zipfile; z = zipfile.ZipFile('both.npz', 'w', zipfile.ZIP_DEFLATED); z.write('short.npy', 'x.npy'); z.write('y.npy')"
accepted '^npy.h5$' data import npy.h5 /train/x=short.npy /train/y=y.npy
accepted '^npz.h5$' data import npz.h5 /train/x=both.npz#x /train/y=both.npz#y
same_bytes npy.h5 npz.h5
if command -v h5dump >/dev/null; then
    what="what import wrote of NumPy's arrays"
    h5dump -d /train/x -o values -y -w 0 npz.h5 >header
    [ "$(tr -d ' \n' <values)" = 1,2,3,4,5,-1 ] || failed "1, 2, 3, 4, 5, -1" "$(cat values)"
    grep -Fq H5T_STD_I32LE header || failed "i32" "$(cat header)"
fi

# bad_import CODE PATTERN FILE
bad_import() {
    refused "$1" "$2" data import bad.h5 /x="$3"
    [ -z "$(find . -name 'bad.h5*')" ] || failed "no file left behind" "$(ls)"
}
head -c 20 images.gz >short.gz
bad_import 65 'short.gz: truncated' short.gz
head -c 20 images >short
bad_import 65 'short: truncated: 4 bytes of values, its header says 12' short
{ cat images && printf '\0'; } >long
bad_import 65 'long: goes on after the 12 bytes' long
printf 'not IDX at all' >text
bad_import 65 'text: of no known format' text
bad_import 65 'plain.h5: is HDF5 already, which needs no import' plain.h5
bad_import 65 'photos/cat/1.png: an image; images are imported by the folder' photos/cat/1.png
mkfifo pipe
bad_import 74 'pipe: neither a file nor a folder' pipe
{ head -c 40 images.gz | head -c 30 && printf '\377\377\377\377\377\377' && tail -c +37 images.gz; } >damaged.gz
bad_import 65 'damaged.gz: (damaged|truncated)' damaged.gz
printf '\0\0\015\001\0\0\0\001\0\0\0\0' >floats
bad_import 64 'floats: values of IDX type 0x0d \(32-bit floats\) are not supported' floats
bad_import 74 'absent: No such file' absent
bad_import 65 'photos/cat/2.png: broken PNG: the file ends early' photos#images
bad_import 64 'photos: "pixels" is no part of a folder of images: images or labels' photos#pixels
head -c -1 short.npy >cut.npy
bad_import 65 'cut.npy: holds 11 bytes of values, its header declares 12' cut.npy
bad_import 64 'both.npz: holds 2 arrays, and FILE#NAME says which one: x, y' both.npz
bad_import 64 'both.npz: has no array "z"; it holds x, y' both.npz#z
{ npy "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}" && printf '\200\4K\1.'; } >objects.npy
bad_import 64 'objects.npy: elements of type "\|O" \(Python objects: a pickle' objects.npy
bad_import 65 'short.csv: line 3: 1 field, the first line has 2' short.csv
seq 100000 >numbers.csv
run bash -c "ulimit -f 200 && exec '$dptrain' data import bad.h5 /x=numbers.csv"
expect_refusal 74 'bad.h5 cannot be written: it needs 400000 bytes: File too large'
[ -z "$(find . -name 'bad.h5*')" ] || failed "no file left behind of a disk that fills" "$(ls)"
printf '1\t2\n3\t4\t5\n' >long.tsv
bad_import 65 'long.tsv: line 2: 3 fields, the first line has 2' long.tsv
bad_import 64 'table.csv: no column "w"; there are 1 to 3: u, v, label' table.csv#w
refused 74 '/dev/null/x: Not a directory' data import /dev/null/x/out.h5 /x=images
refused 64 '"images" is not of the form DATASET=FILE' data import bad.h5 images
refused 64 'usage: dptrain data import OUT.h5' data import
on 1 data import --help
expect 0
grep -q '/train/x=train-images-idx3-ubyte.gz' out || failed "an example of IDX" "$(cat out)"
refused 64 'no command "data export"; there are import' data export
refused 64 'data: which of import' data
