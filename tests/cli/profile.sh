#!/bin/bash
# profile=N: a trace a rank that parses, with every operation of N steps in it, and a table on rank 0; training itself is
# not changed by it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export XDG_CACHE_HOME=$scratch/cache
common=(model=mlp steps=20 batch=64 eval_every=0 data.threads=1)
on 2 "${common[@]}" run.dir=profiled profile=3
expect 0
on 2 "${common[@]}" run.dir=plain
expect 0
for rank in 0 1; do
    [ -s "profiled/trace.$rank.json" ] || failed "profiled/trace.$rank.json" "$(ls profiled)"
done
[ ! -e plain/trace.0.json ] || failed "no trace without profile=" "$(ls plain)"
python3 - profiled/trace.0.json profiled/trace.1.json <<'PY' || failed "traces with 3 steps" "see above"
import collections, json, sys
for rank, path in enumerate(sys.argv[1:]):
    events = [e for e in json.load(open(path))["traceEvents"] if e["ph"] == "X"]
    assert all(e["pid"] == rank and e["dur"] >= 0 for e in events), path
    kinds = collections.Counter(e["cat"] for e in events)
    assert kinds["step"] == 3 and kinds["loader"] == 3 and kinds["sgd"] == 3 and kinds["bucket_start"] == 3, kinds
    steps = [e for e in events if e["cat"] == "step"]
    for e in events:
        if e["tid"] == 2:  # operations lie inside steps
            assert any(s["ts"] <= e["ts"] and e["ts"] + e["dur"] <= s["ts"] + s["dur"] + 1 for s in steps), e
PY
grep -Eq '^linear +9 ' profiled/profile.txt || failed "9 calls of linear" "$(cat profiled/profile.txt)"
grep -Eq '^ceilings: copy [0-9.]+ GB/s, product [0-9.]+ GFLOP/s' profiled/profile.txt ||
    failed "measured ceilings" "$(tail -n 1 profiled/profile.txt)"
# the same training: losses to the last digit
cut -d, -f1-4 profiled/metrics.jsonl | grep '"loss"' >profiled.losses || true
cut -d, -f1-4 plain/metrics.jsonl | grep '"loss"' >plain.losses || true
cmp -s profiled.losses plain.losses || failed "the losses of a run without profile" "$(diff profiled.losses plain.losses)"
