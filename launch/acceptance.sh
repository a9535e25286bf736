#!/bin/bash
# Runs the timed rows of tests/acceptance.csv and prints, for each, id, bound, what was measured, and the verdict.
#
#   launch/acceptance.sh [--out FILE.md] [--record] [ID...]
#
# --out writes the same as a Markdown report, --record writes the figures into the ledger. A row is met by exit status 0
# of its command, skipped by 77; its last line is what was measured. The exit status is 1 if a row was missed.
# Leave the machine alone meanwhile: these are timings.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

ledger=tests/acceptance.csv out='' record='' only=' '
while [ $# -gt 0 ]; do
    case $1 in
    --out) out=$2 && shift ;;
    --record) record=yes ;;
    -*) die 64 "unknown option $1" ;;
    *) only+="$1 " ;;
    esac
    shift
done

bash launch/setup.sh --tests
bash launch/build.sh
. launch/env.sh
report=$(mktemp)
trap 'rm -f "$report" "$report".*' EXIT

# run_row ID BOUND COMMAND: prints its line of the table.
run_row() {
    local status=0 measured verdict=met
    say "$1: $3"
    bash -c "$3" </dev/null >"$report.output" || status=$?
    measured=$(tail -n 1 "$report.output")
    if [ "$status" -eq 77 ]; then
        verdict=skipped
    elif [ "$status" -ne 0 ]; then
        verdict=MISSED
        tail -n 20 "$report.output" >&2
        missed=1
    fi
    printf '| %s | %s | %s | %s |\n' "$1" "$2" "${measured:-nothing}" "$verdict"
    if [ -n "$record" ] && [ "$status" -ne 77 ]; then
        python3 launch/ledger.py record "$ledger" "$1" "$measured" "$(machine), $(date -u +%Y-%m-%d)"
    fi
}

missed=0 ran=0
python3 launch/ledger.py rows "$ledger" timed >"$report.rows"
{
    printf '# Acceptance, %s\n\nMachine: %s.\n\n' "$(date -u +%Y-%m-%d)" "$(machine)"
    printf '| id | bound | measured | verdict |\n|---|---|---|---|\n'
} >"$report"
while IFS=$'\t' read -r id bound command; do
    if [ "$only" != ' ' ] && [[ $only != *" $id "* ]]; then continue; fi
    run_row "$id" "$bound" "$command" >>"$report"
    tail -n 1 "$report"
    ran=$((ran + 1))
done <"$report.rows"

[ -z "$out" ] || cp "$report" "$out"
[ "$ran" -gt 0 ] || die 64 "no timed row${only:+ named$only}in $ledger"
exit "$missed"
