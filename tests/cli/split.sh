#!/bin/bash
# Training and test samples of one dataset: by fraction, count, files and lists. Which samples a pass delivers is held
# against the split and the digest as another program makes them (tests/golden/), at 1 to 5 ranks, in order exact
# and in lanes; then what is wrong with splits and lists.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" a.h5 train=4500 side=32 chunk=9
"$make_data" b.h5 train=800 side=32
job=(model=mlp model.hidden=8 run.dir=run batch=100 threads=1 data.files='[a.h5, b.h5]')
limited=(steps=1 eval_every=0)
cat >job.yaml <<'END'
{model: {name: mlp, hidden: 8}, run: {dir: run}, batch: 100, threads: 1, data: {files: [a.h5, b.h5]}}
END

# expected SAMPLES COUNT SEED KEEP...: a line "count digest" of pass 1 for what a split leaves training of, and the
# ranges and numbers of KEEP (all where none are given).
expected() {
    PYTHONPATH=$root/tests/golden python3 -c 'import sys
from order import M64, xxh64_short
from split import take
samples, count, seed = map(int, sys.argv[1:4])
taken = {s for g in range((samples + 4095) // 4096) for s in take(samples, count, seed, g)} if count else set()
keep = {s for r in sys.argv[4:] for s in range(int(r.split("-")[0]), int(r.split("-")[-1]) + 1)} or set(range(samples))
left = sorted(keep - taken)
print(len(left), "%016x" % (sum(xxh64_short(s.to_bytes(8, "little"), 0) for s in left) & M64))' "$@"
}

delivered() {
    python3 -c 'import json
for line in open("run/metrics.jsonl"):
    m = json.loads(line)
    if m["event"] == "pass": print(m["samples"], m["digest"])' | head -n 1
}

# trains RANKS WANTED TEST WORDS...: a pass over what is wanted, and so many test samples.
trains() {
    local ranks=$1 wanted=$2 test=$3 line
    shift 3
    rm -rf run
    on "$ranks" train job.yaml epochs=1 "$@"
    expect 0
    line=$(delivered 2>&1) || true
    [ "$line" = "$wanted" ] || failed "a pass of (count, digest) $wanted" "$line"
    grep -Eq "^data .* ${wanted% *} training samples, $test test samples" out ||
        failed "${wanted% *} and $test samples in the header" "$(grep '^data' out)"
}

wanted=$(expected 5300 530 7)
for ranks in 1 3; do trains $ranks "$wanted" 530 data.test.fraction=0.1 seed=7 data.order=exact; done
for ranks in 2 5; do trains $ranks "$wanted" 530 data.test.count=530 data.split_seed=7 seed=1 data.window=4; done
grep -Eq '^order +[0-9]+ lanes' out || failed "order lanes" "$(grep '^order' out)"

# the split does not move with lists; those take from each part what they name
printf '# noisy\n0-99\n4321\n' >noisy.txt
printf '100-4320\n4322-5299 # all others\n' >others.txt
wanted=$(expected 5300 530 7 100-4320 4322-5299)
trains 2 "$wanted" 530 data.test.fraction=0.1 seed=7 data.train.exclude=noisy.txt
trains 3 "$wanted" 530 data.test.fraction=0.1 seed=7 data.train.include=others.txt

# lists alone; what both parts have is said
lists=(data.train.x=/train/x data.test.x=/train/x data.test.y=/train/y data.test.include=noisy.txt)
trains 2 "$(expected 5300 0 0 100-4320 4322-5299)" 101 "${lists[@]}" data.train.exclude=noisy.txt
[ ! -s err ] || failed "no message" "$(cat err)"
printf '50-60\n' >few.txt
trains 1 "$(expected 5300 0 0 0-49 61-5299)" 101 "${lists[@]}" data.train.exclude=few.txt
grep -q '90 samples are in training and test both' err || failed "90 samples of both" "$(cat err)"

# by file: what is named twice is not trained on
trains 2 "$(expected 4500 0 0)" 800 data.test.files=./b.h5
[ "$(grep -c 'test samples' out)" -eq 1 ] || failed "one header" "$(cat out)"
# a manifest stands for its files, on both sides
run "$dptrain" data manifest both.manifest a.h5 b.h5
run "$dptrain" data manifest one.manifest b.h5
trains 2 "$(expected 4500 0 0)" 800 data.files=both.manifest data.test.files=b.h5
trains 1 "$(expected 4500 0 0)" 800 data.test.files=one.manifest
rm -rf run
on 1 train "${job[@]}" "${limited[@]}" data.test.files='[b.h5]' data.test.x=/test/x data.test.y=/test/y
expect 0
grep -q '5300 training samples, 200 test samples' out || failed "both parts of b.h5" "$(grep '^data' out)"

# evaluation takes the test part that training had, from the config in params.h5
rm -rf run
on 1 train "${job[@]}" "${limited[@]}" data.test.count=300
on 2 eval run/params.h5
expect 0
grep -q '^test samples 300$' out || failed "300 test samples" "$(cat out)"

# bad PATTERN WORDS...
rank_counts=1
bad() { refused 65 "$1" train "${job[@]}" "${limited[@]}" "${@:2}"; }
bad 'data.test.count: 5300 of 5300 samples for the test part: each part needs at least 1' data.test.count=5300
bad 'data.test.fraction: 0 of 5300 samples for the test part' data.test.fraction=0.00001
bad 'a.h5: data.test.count splits .* /train/x has 4500 and /test/x has 200' data.test.count=10 data.test.x=/test/x data.test.y=/test/y
bad 'data.test.files: no file matches "c\*.h5"' data.test.files='c*.h5'
bad 'data.test.files holds all 2 files of data.files' data.test.files='*.h5'
bad 'data.test.files holds all 2 files of data.files' data.test.files=both.manifest
echo 5300 >wrong.txt
rank_counts=3
bad 'data.train.include: wrong.txt, line 1: sample 5300: the dataset has 5300' data.train.include=wrong.txt
rank_counts=1
printf '1\n2\nthree\n' >wrong.txt
bad 'data.test.exclude: wrong.txt, line 3: "three" is no number' data.test.exclude=wrong.txt
echo '0-5299' >all.txt
bad 'data.train.include, exclude: .*no sample is left of 5300' data.train.exclude=all.txt
refused 74 'data.train.include: absent.txt: No such file' train "${job[@]}" "${limited[@]}" \
    data.train.include=absent.txt
refused 64 'data.test.fraction' train "${job[@]}" "${limited[@]}" data.test.fraction=1
refused 64 'data.test.fraction and data.test.count are both given' train "${job[@]}" "${limited[@]}" \
    data.test.fraction=0.1 data.test.count=5
refused 64 'data.split_seed does nothing without' train "${job[@]}" "${limited[@]}" data.split_seed=5
