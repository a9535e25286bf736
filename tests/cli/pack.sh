#!/bin/bash
# dptrain data pack: files become one, or several, with the same values in the layout that is asked for.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
rank_counts=1

# two files: 3 and 2 labels and their images of 2 x 2
{ printf '\0\0\010\003\0\0\0\003\0\0\0\002\0\0\0\002' && printf '\001\002\003\004\005\006\007\010\011\012\013\377'; } >x1
{ printf '\0\0\010\003\0\0\0\002\0\0\0\002\0\0\0\002' && printf '\021\022\023\024\025\026\027\030'; } >x2
printf '\0\0\010\001\0\0\0\003\007\0\011' >y1
printf '\0\0\010\001\0\0\0\002\001\002' >y2
on 1 data import a.h5 /train/x=x1 /train/y=y1
on 1 data import b.h5 /train/x=x2 /train/y=y2
expect 0

# values FILE DATASET
values() { h5dump -d "$2" -o values -y -w 0 "$1" >/dev/null && tr -d ' \n' <values; }
# holds FILE DATASET VALUES
holds() { [ "$(values "$1" "$2")" = "$3" ] || failed "$3 in $2 of $1" "$(cat values)"; }

images=1,2,3,4,5,6,7,8,9,10,11,255,17,18,19,20,21,22,23,24
accepted '^plain.h5$' data pack plain.h5 a.h5 b.h5
accepted '^packed.h5$' data pack packed.h5 a.h5 b.h5 --chunk-rows 2 --deflate 6 --shuffle --fletcher32
accepted '^plain2.h5$' data pack plain2.h5 packed.h5
same_bytes plain.h5 plain2.h5
accepted '^parts-1.h5$' data pack --files 2 parts.h5 a.h5 b.h5
if command -v h5dump >/dev/null; then
    what="what pack wrote"
    for file in plain.h5 packed.h5; do
        holds "$file" /train/x $images
        holds "$file" /train/y 7,0,9,1,2
    done
    holds parts-0.h5 /train/y 7,0,9
    holds parts-1.h5 /train/y 1,2
    h5dump -H -p -d /train/x plain.h5 | grep -q 'CONTIGUOUS' || failed "contiguous images" "others"
    h5dump -H -p -d /train/x packed.h5 >header
    for word in 'CHUNKED ( 2, 1, 2, 2 )' SHUFFLE 'DEFLATE { LEVEL 6 }' FLETCHER32; do
        grep -Fq "$word" header || failed "$word" "$(cat header)"
    done
fi

# bad_pack CODE PATTERN WORDS...
bad_pack() {
    local code=$1 pattern=$2
    shift 2
    refused "$code" "$pattern" data pack bad.h5 "$@"
    [ -z "$(find . -name 'bad*.h5')" ] || failed "no file left behind" "$(ls)"
}
on 1 data import other.h5 /train/x=x1
bad_pack 65 'other.h5: /train/y: no such dataset; the file holds /train/x' a.h5 other.h5
bad_pack 65 'a.h5: holds /train/y, which other.h5 does not' other.h5 a.h5
on 1 data import uneven.h5 /train/x=x1 /train/y=y2
bad_pack 65 'uneven.h5: /train/y has 2 rows, /train/x has 3' a.h5 uneven.h5
bad_pack 74 'absent.h5: No such file' a.h5 absent.h5
bad_pack 64 '/train/x: 5 samples for 6 files' a.h5 b.h5 --files 6
refused 64 'plain.h5: exists already' data pack plain.h5 a.h5

# a disk that is full in the middle
run bash -c 'ulimit -f 1 && exec "$0" data pack bad.h5 a.h5 b.h5' "$dptrain"
expect_refusal 74 'bad.h5 cannot be written: .*File too large'
[ -z "$(find . -name 'bad*')" ] || failed "no file left behind" "$(ls)"

# bad_words PATTERN WORDS...: the message's first line; the usage follows
bad_words() {
    local pattern=$1
    shift
    on 1 data pack bad.h5 "$@"
    expect 64
    head -n 1 err | grep -Eq "^dptrain: $pattern" || failed "a message like /$pattern/" "$(cat err)"
}
bad_words '--deflate: "10" is no number from 1 to 9$' a.h5 --deflate 10
bad_words '--deflate: "" is no number' a.h5 --deflate
bad_words '--chunk-rows: "0" is no number' a.h5 --chunk-rows 0
bad_words '--files: "1x" is no number' a.h5 --files 1x
bad_words 'unknown option "--lzma"$' a.h5 --lzma
bad_words 'usage: dptrain data pack OUT.h5 IN.h5'
