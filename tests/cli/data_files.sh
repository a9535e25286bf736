#!/bin/bash
# Files of a dataset: manifests, kept indices, checksums of files and values, the same file twice, empty ones; pictures
# of histograms.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" good.h5 chunk=8
rank_counts=1
accepted '^part.manifest$' data pack part.h5 good.h5 --files 3 --chunk-rows 1 --deflate 1 --shuffle
what="the manifest that pack writes"
[ "$(sed -n '1p;$p' part.manifest | tr '\n' ' ')" = "dptrain manifest 1 end 3 " ] || failed "its ends" "$(cat part.manifest)"
[ "$(sed -n 2p part.manifest)" = "67,200 $(stat -c %s part-0.h5) $(awk 'NR == 2 { print $3 }' part.manifest) part-0.h5" ] ||
    failed "part-0.h5 with 67 and 200 rows" "$(cat part.manifest)"
if command -v xxh64sum >/dev/null; then
    [ "$(xxh64sum part-1.h5 | cut -d' ' -f1)" = "$(awk 'NR == 3 { print $3 }' part.manifest)" ] ||
        failed "the checksum of part-1.h5" "$(xxh64sum part-1.h5)"
fi

# trained on as on the one file; the index is made once and used again until a file is another
train=(train model.name=mlp steps=2 batch=8 run.dir=run seed=1 data.index=kept data.order=exact)
# trains WORDS...: a run, its messages about the index in `said`.
trains() {
    rm -rf run
    on 1 "${train[@]}" log.level=debug "$@"
    expect 0
    grep -ho 'index kept/index-.*' out err | sed 's/index-[0-9a-f]*/index/' | sort -u >said || true
}
# says_index TEXT
says_index() { [ "$(cat said)" = "$1" ] || failed "$1" "$(cat said)"; }
trains data.files=part.manifest
grep -q 'made anew: No such file' said || failed "made anew" "$(cat said)"
last=$(tail -n 1 out)
trains data.files=part.manifest
says_index 'index kept/index: used again'
[ "$(tail -n 1 out)" = "$last" ] || failed "$last" "$(tail -n 1 out)"
trains data.files=good.h5
[ "$(tail -n 1 out)" = "$last" ] || failed "$last" "$(tail -n 1 out)"
touch -d '2020-01-01' part-1.h5
trains data.files=part.manifest
says_index 'index kept/index: made anew: part-1.h5 was changed at another time'
trains data.files=part.manifest
says_index 'index kept/index: used again'

# the same file twice, nothing in a file
ln -s part-0.h5 other.h5
rank_counts=${RANK_COUNTS:-1 3}
refused 65 'other.h5: the same file as part-0.h5, which is listed too' "${train[@]}" 'data.files=[part-0.h5,other.h5]'
rank_counts=1
: >empty.h5
refused 65 'empty.h5: an empty file, of 0 bytes' "${train[@]}" 'data.files=[part-0.h5,empty.h5]'
sed 's/^67,200/67,201/' part.manifest >bad.manifest
refused 65 'bad.manifest: line 2: part-0.h5 has 200 rows, the manifest says 67, 201' "${train[@]}" data.files=bad.manifest
refused 64 'good.h5: exists already and is no manifest' data manifest good.h5 part-0.h5
refused 65 'part-0.h5: listed twice' data manifest new.manifest part-0.h5 part-0.h5
refused 64 'part.manifest is a manifest itself' data manifest new.manifest part.manifest
accepted '^new.manifest$' data manifest new.manifest part-2.h5 part-0.h5

# checksums: of a file, of a dataset without one for its chunks, of a chunk among many
accepted '^part-2.h5: /train/y: good: 200 rows of 1 u8, 0 to 9, checksum right$' data verify part.manifest --threads 3
cp out three
accepted '^part-2.h5' data verify --threads 1 part.manifest
cmp -s out three || failed "the same lines from 1 thread and from 3" "$(diff out three)"
bad_manifest=$(sed '3s/ [0-9a-f]\{16\} / 0123456789abcdef /' part.manifest)
printf '%s\n' "$bad_manifest" >bad.manifest
refused 65 'bad.manifest: line 3: part-1.h5: its checksum \(XXH64\) is [0-9a-f]{16}, the manifest says 0123456789abcdef' data verify bad.manifest
grep -q '^part-1.h5: /train/y: good' out || failed "the datasets are looked at all the same" "$(cat out)"
sed 's/^67,200/67,200,300/' part.manifest >bad.manifest
refused 65 'line 2: part-0.h5: its datasets have other numbers of rows' data verify bad.manifest
# flip FILE PATTERN: the first byte of the first place where the bytes stand
flip() {
    python3 - "$1" "$2" <<'PY'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
at = data.index(bytes.fromhex(sys.argv[2]))
data[at] ^= 1
open(sys.argv[1], "wb").write(data)
PY
}
if command -v python3 >/dev/null; then
    accepted . data pack plain.h5 good.h5
    flip plain.h5 00010203040506070809
    refused 65 "1 of 6 are bad: plain.h5: /t[a-z]*/y: the checksum of its values \(XXH64\) is [0-9a-f]{16}, but [0-9a-f]{16} was written" \
        data verify plain.h5
    accepted . data pack chunks.h5 good.h5 --chunk-rows 1 --fletcher32
    if command -v h5ls >/dev/null; then
        place=$(h5ls -v -a chunks.h5/train/x | awk '/\[300, 0, 0, 0/ { print $3 }')
        python3 -c 'import sys
f = open("chunks.h5", "r+b"); f.seek(int(sys.argv[1]) + 20); b = f.read(1)[0]
f.seek(-1, 1); f.write(bytes([b ^ 16]))' "$place"
        refused 65 '1 of 6 are bad: 1 of 600 rows cannot be read; the first: chunks.h5: /train/x: rows 300 to 300: chunk 300 of 600 .*fletcher32' \
            data verify chunks.h5 --threads 2
    fi
fi
# what is bad in one file does not hide the next
refused 74 '1 of 7 are bad: absent.h5: No such file' data verify absent.h5 good.h5
"$make_data" none.h5 test=0
accepted '^none.h5: /test/x: good: 0 rows$' data verify none.h5
accepted '^    0 rows$' data info none.h5
refused 64 '--threads: "0" is no number' data verify good.h5 --threads 0

# a picture: a panel a dataset; ten bars of a tenth for the labels
accepted . data info good.h5 --picture seen.svg
what="the picture"
if command -v python3 >/dev/null; then
    python3 - <<'PY' >panels 2>&1 || failed "a picture that is XML, six panels, 10 equal bars for labels" "$(cat panels)"
import xml.etree.ElementTree as tree
root = tree.parse("seen.svg").getroot()
ns = "{http://www.w3.org/2000/svg}"
titles = [t.text for t in root.iter(ns + "text") if t.get("font-weight")]
assert len(titles) == 6 and "good.h5: /train/y, 600 rows" in titles, titles
bars, panel = {}, None
for e in root:
    if e.tag == ns + "text" and e.get("font-weight"):
        panel = e.text
    elif e.tag == ns + "rect" and panel:
        bars.setdefault(panel, []).append(float(e.get("height")))
labels = bars["good.h5: /train/y, 600 rows"]
assert len(labels) == 10 and max(labels) - min(labels) < 0.02, labels
PY
fi
refused 64 '--picture: "seen.gif" is no name that ends in .svg' data info good.h5 --picture seen.gif
