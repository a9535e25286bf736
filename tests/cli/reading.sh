#!/bin/bash
# What reading takes and what it stands: data.memory and what is done with it, chunks decoded once for all ranks and
# epochs, storage that fails for a moment and for good.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" plain.h5 side=28 test_side=28
run "$dptrain" data pack data.h5 plain.h5 --chunk-rows 20 --deflate 4 --shuffle
expect 0
job=(model=mlp 'model.hidden=[8]' 'data.files=[data.h5]' batch=64 epochs=3 log.every=1 run.dir=run)
chunks=$((2 * 600 / 20)) # of inputs and of labels

# Prints a number of each pass of run/metrics.jsonl.
passes() {
    python3 -c 'import json, sys
print(*(json.loads(l)[sys.argv[1]] for l in open("run/metrics.jsonl") if "\"pass\"" in l))' "$1"
}

print_losses() { python3 -c 'import json
print([json.loads(l)["loss"] for l in open("run/metrics.jsonl") if "\"train\"" in l])'; }

# decodes WANTED RANKS WORDS...: how many chunks in each pass; the same losses whatever is kept
decodes() {
    local wanted=$1 ranks=$2 got
    shift 2
    rm -rf run
    on "$ranks" train "${job[@]}" "$@"
    expect 0
    if grep -qv 'takes samples from anywhere' err; then failed "no other message" "$(cat err)"; fi
    got=$(passes chunks_decoded)
    [[ $got =~ ^$wanted$ ]] || failed "chunks decoded: $wanted" "$got"
    print_losses >losses
    [ -e "losses.$ranks" ] || cp losses "losses.$ranks"
    same_bytes losses "losses.$ranks"
    python3 - run/metrics.jsonl <<'END' || failed "time and bytes of each pass" "$(tail -n 3 run/metrics.jsonl)"
import json, sys
m = [json.loads(l) for l in open(sys.argv[1])]
assert all(0 <= p["data_wait_s"] <= p["seconds"] and p["reads_retried"] == 0 for p in m if p["event"] == "pass")
END
}

# says PATTERN: the line about reading
says() { grep -Eq "^reading +$1\$" out || failed "reading $1" "$(grep '^reading' out || true)"; }

decodes "$chunks 0 0" 1 data.order=exact
says '32 batches ahead \(.* MiB\) of at most .* MiB a rank; all 0\.45[0-9]* MiB of decoded chunks kept, once a rank'
decodes "$chunks 0 0" 2 data.order=exact
says '.*; all 0\.45[0-9]* MiB of decoded chunks kept, once a host'
decodes "$((2 * chunks)) 0 0" 2 data.order=exact data.cache=rank
says '.*; all 0\.45[0-9]* MiB of decoded chunks kept, once a rank'

# the least that a message names is enough; it holds one chunk of each field, each decoded again and again
run "$dptrain" train "${job[@]}" data.memory=0.1
least=$(sed -nE 's/.*at least ([0-9.]+) MiB a rank.*/\1/p' err)
decodes '([1-9][0-9]{2,} ?){3}' 1 data.order=exact data.cache=off data.memory="$(awk "BEGIN { print $least + 0.2 }")" \
    data.read_ahead=0.3
says '2 batches ahead \(.*\) of at most .* MiB a rank; 0\.[0-9]* MiB of decoded chunks mixed now'
# a part of the chunks has room: fewer, and as many in each epoch
decodes '([1-9][0-9]{2} ?){3}' 1 data.order=exact data.memory="$(awk "BEGIN { print $least + 0.5 }")" data.read_ahead=0.3
says '2 batches ahead .*; 0\.[0-9]+ of 0\.45[0-9]* MiB of decoded chunks kept, once a rank; 0\.[0-9]* MiB of those mixed now'
ls /dev/shm >shm 2>/dev/null || true
! grep -q dptrain shm || failed "nothing of dptrain in /dev/shm" "$(cat shm)"

refused 64 'data.memory=0.1: reading takes at least [01]\.[0-9]+ MiB a rank: a batch' train "${job[@]}" data.memory=0.1
rank_counts=1
refused 64 'data.memory=0": .* \(0, inf\)' train "${job[@]}" data.memory=0

rm -rf run
run "$dptrain" train "${job[@]}" data.memory="$least"
expect 0
grep -q 'data.memory holds one batch' err || failed "a warning of one batch" "$(cat err)"
says '1 batch ahead .*'
rm -rf run
run "$dptrain" train "${job[@]}" data.memory="$(awk "BEGIN { print $least - 0.011 }")"
expect_refusal 64 "at least $least MiB"

# test samples from the files of the training samples: their chunks are kept once for both
split=("${job[@]}" data.test.fraction=0.1 data.test.x=/train/x data.test.y=/train/y data.order=exact)
rm -rf run
run "$dptrain" train "${split[@]}" data.memory=0.1
half=$(sed -nE 's/.*at least ([0-9.]+) MiB a rank.*/\1/p' err)
rm -rf run
run "$dptrain" train "${split[@]}" data.memory="$(awk "BEGIN { print $half + 0.75 }")" data.read_ahead=0.01
expect 0
says '.*; all 0\.45[0-9]* MiB of decoded chunks kept, once a rank'
[ "$(passes chunks_decoded)" = "$chunks 0 0" ] || failed "chunks decoded: $chunks 0 0" "$(passes chunks_decoded)"

# where evaluation wants next to nothing, it takes nothing of what training needs
small=(data.files='[data.h5]' model=mlp 'model.hidden=[8]' batch=1024 eval_batch=1 steps=2 eval_every=0 run.dir=run)
rank_counts=1
refused 64 'reading takes at least' train "${small[@]}" data.memory=0.1
least=$(sed -nE 's/.*at least ([0-9.]+) MiB a rank.*/\1/p' err)
run "$dptrain" train "${small[@]}" data.memory="$least" data.cache=off
expect 0
says "1 batch ahead .* of at most ${least}[0-9]* MiB a rank; 0\\.0[0-9]* MiB of decoded chunks mixed now"

# storage that fails for a moment, in the middle of the run; for good
bad_disk=$BUILD/tests/bad_disk.so
[ -z "${ASAN_OPTIONS:-}${TSAN_OPTIONS:-}" ] || exit 0 # a sanitizer wants to be preloaded first
rm -rf run
run env LD_PRELOAD="$bad_disk" BAD_DISK='fail 10 3' "$dptrain" train "${job[@]}" data.order=exact
expect 0
grep -q 'pass 1: 3 reads failed and were tried again' err || failed "a warning of 3 reads" "$(cat err)"
[ "$(passes reads_retried)" = "3 0 0" ] || failed "3 reads tried again in the first pass" "$(passes reads_retried)"
print_losses >losses
same_bytes losses losses.1
rm -rf run
run env LD_PRELOAD="$bad_disk" BAD_DISK='fail 10 1000000' "$dptrain" train "${job[@]}"
expect_refusal 74 'data.h5: /train/[xy]: rows [0-9]+ to [0-9]+: .*Input/output error \(tries: 4, 0\.[0-9]+ s after the first'
