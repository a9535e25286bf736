#!/bin/bash
# How fast the loader delivers, beside plain programs on the same files: pread of the same extents in the same order by
# as many threads, and H5Dread; how often chunks are read; images made into normalised floats.
#
#   launch/bench-data.sh [--rounds K] [--folder DIR] [--out FILE.md] [ID...]        (IDs: D1 to D5 of the ledger)
#
# Prints a table, and as the last line the medians in short; --out writes a page with the machine and how to read it
# (docs/benchmarks/data.md). Two minutes on 2 quiet cores; 1.2 GB of DIR (a new folder in $TMPDIR), which should be on a
# disk whose pages stay cached. The exit status is 1 where a bound is missed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$root/launch/env.sh"

rounds=11 folder='' out=''
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 && shift ;;
    --folder) folder=$2 && shift ;;
    --out) out=$2 && shift ;;
    -*) die 64 "unknown option $1" ;;
    *) break ;;
    esac
    shift
done
rate=${BUILD:-$root/build}/tests/data_rate
[ -x "$rate" ] || die 70 "no program $rate: build first"
[ "$(cores)" -ge 2 ] || die 77 "2 cores are needed, for 2 threads"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
[ -n "$folder" ] || folder=$scratch
status=0
"$rate" "$folder" "rounds=$rounds" "$@" >"$scratch/rows" || status=$?
[ "$status" -le 1 ] || die "$status" "$rate ended with $status"

table() {
    printf '| id | what | loader, GB/s | beside it, GB/s | ratio (quartiles) | by processor time | bound | verdict |\n'
    printf '|---|---|---|---|---|---|---|---|\n'
    cat "$scratch/rows"
}

page() {
    cat <<PAGE
# The loader beside plain reading

Made by \`launch/bench-data.sh --rounds $rounds${*:+ $*}\` on $(date -u +%Y-%m-%d). Machine: $(machine).

All files lie in the page cache. Both sides read the same extents of the same file in the same order, with as many
threads and buffers: batches of 256 rows of 12 kB (3072 values of f32), or of 16 images, 4 buffers, order \`lanes\` with
windows of 16 blocks. A round is four epochs of each side, one after the other; the ratio is the loader's rate over
the other's, the median of $rounds rounds with its quartiles. "By processor time" compares the processor time of all
threads instead of the clock's: less disturbed by what else runs. The loader also chooses samples, checks every value
for NaN and infinity, and hands batches to another thread; the plain program only reads.

GB/s are of delivered values. Chunks hold 32 rows; D4's figure is output by processor time, its images are 3 x 224 x 224.

PAGE
    table
}

table
[ -z "$out" ] || page "$@" >"$out"
awk -F' *[|] *' '{ v = $6 == "-" ? $4 : $6; sub(/ \(.*/, "", v); printf "%s%s %s", (NR > 1 ? ", " : ""), $2, v }
    END { print "" }' "$scratch/rows"
exit "$status"
