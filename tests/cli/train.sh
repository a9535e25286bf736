#!/bin/bash
# A training run as typed, at 1, 2 and 3 ranks: its output, the files of its run directory, eval of what it saved, and
# the same losses whatever the number of ranks.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$make_data" data.h5
cat >job.yaml <<END
model:
  name: mlp
  hidden: [32]
data:
  files: [data.h5]
batch: 64
epochs: 4
optimizer: {lr: 0.2}
log: {every: 1}
END

# Prints the losses of run/metrics.jsonl; fails where a line is no JSON object with all its numbers.
read_metrics() {
    python3 - "$1" <<'END'
import json, math, sys
train = ["step", "epoch", "loss", "lr", "grad_norm", "skipped", "samples_per_s", "data_wait_s",
         "read_mb_per_s"]
evaluate = ["epoch", "loss", "accuracy", "samples"]
passes = ["pass", "samples", "seconds", "data_wait_s", "read_mb", "chunks_decoded", "reads_retried"]
for line in open(sys.argv[1]):
    m = json.loads(line)
    for key in {"train": train, "evaluate": evaluate, "pass": passes}[m["event"]]:
        assert math.isfinite(m[key]), (key, line)
    if m["event"] == "train": print(m["step"], m["loss"])
    elif m["event"] == "pass": assert m["samples"] == 600 and len(m["digest"]) == 16, line
    else: assert m["samples"] == 200, line
END
}

check_files() {
    local file
    for file in config.yaml metrics.jsonl params.h5 exit_report.json lock; do
        [ -e "run/$file" ] || failed "run/$file" "$(ls run)"
    done
    [ ! -s run/lock ] || failed "an empty lock" "$(cat run/lock)"
    [ -z "$(find run -name '*.tmp' -o -name '*.partial')" ] || failed "no temporary files" "$(ls run)"
    report_says exit_code 0
    report_says status 'done'
    report_says message None
    report_says step 40 # 600 samples in batches of 64: 10 steps an epoch, the last of 24 samples
    report_says epoch 4
    read_metrics run/metrics.jsonl >losses 2>&1 || failed "metrics.jsonl of JSON objects" "$(tail -n 2 losses)"
    [ "$(wc -l <losses)" -eq 40 ] || failed "40 lines of training metrics" "$(wc -l <losses)"
}

check_params() {
    command -v h5ls >/dev/null || return 0
    h5ls -r run/params.h5 >listing
    grep -Eq 'fc1\.weight +Dataset \{32, 36\}' listing || failed "fc1.weight of 32 x 36" "$(cat listing)"
    grep -Eq 'fc2\.bias +Dataset \{10\}' listing || failed "fc2.bias of 10" "$(cat listing)"
}

for ranks in 1 2 3; do
    rm -rf run
    on "$ranks" job.yaml run.dir=run
    expect 0
    [ ! -s err ] || failed "no message" "$(cat err)"
    last=$(tail -n 1 out)
    [[ $last =~ ^test\ accuracy\ (0\.9[0-9]{3}|1\.0000)$ ]] || failed "a last line 'test accuracy' of at least 0.9" "$last"
    grep -Eq "^ranks +$ranks on 1 host" out || failed "a header with $ranks ranks" "$(head -n 3 out)"
    grep -Eq '^data +data.h5, 600 training samples, 200 test samples' out || failed "the samples" "$(head -n 4 out)"
    grep -Eq '^model +mlp, 1514 parameters' out || failed "1514 parameters" "$(head -n 4 out)" # 36*32 + 32 + 32*10 + 10
    check_files
    check_params
    mv losses "losses.$ranks"
    mv run "run.$ranks"
    # as many samples, whichever way they are shared out
    for readers in 1 3; do
        on "$readers" eval "run.$ranks/params.h5"
        expect 0
        [ "$(tail -n 1 out)" = "$last" ] || failed "eval: $last" "$(cat out)"
        grep -qx 'test samples 200' out || failed "eval of 200 samples" "$(cat out)"
    done
done
on 2 eval run.1/params.h5 eval_batch=37
grep -qx 'test samples 200' out || failed "200 samples in batches of 37" "$(cat out)"

# losses.1 against another: within 1e-4
for other in 2 3; do
    what="losses at 1 and $other ranks"
    paste losses.1 "losses.$other" | awk '{ d = $2 - $4; if (d * d > 1e-8 * $2 * $2 + 1e-12) { print; exit 1 } }' >out ||
        failed "equal within 1e-4" "$(cat out)"
done

# what the run directory keeps as config.yaml starts the same run
mkdir again
ln -s ../data.h5 again/data.h5
cd again
on 2 ../run.2/config.yaml
expect 0
same_bytes run/params.h5 ../run.2/params.h5
same_bytes run/config.yaml ../run.2/config.yaml
cd ..

# what eval cannot load: 66
refused 66 'absent.h5: No such file' eval absent.h5
head -c 3000 run.1/params.h5 >short.h5
refused 66 'short.h5: truncated' eval short.h5
refused 66 'data.h5: attribute format is missing' eval data.h5
refused 66 'fc1.weight.*\[32,36\]' eval run.1/params.h5 model.hidden=8
refused 64 'usage: dptrain eval' eval
