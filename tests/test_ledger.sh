#!/bin/bash
# Holds tests/acceptance.csv to its form and runs its rows marked quick.
#
#   test_ledger.sh SOURCE-FOLDER BUILD-FOLDER
#
# Fails on malformed CSV, an id used twice, a row with neither a command nor a reason, a row whose ctest test does not
# exist, and a quick command that fails. Quick commands run in the source folder, with this build's dptrain on the path.
set -euo pipefail
source_folder=$1 build=$2
ledger=$source_folder/tests/acceptance.csv
cd "$source_folder"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The reader itself must find each kind of fault: one planted fault a line.
must_refuse() {
    printf '%s\n' 'id,asked,bound,kind,command,measured,machine,reason' "$2" >"$scratch/bad.csv"
    if python3 launch/ledger.py check "$scratch/bad.csv" "$scratch/tests" >/dev/null 2>"$scratch/said"; then
        echo "the ledger's check let pass: $1"
        exit 1
    fi
    grep -q -- "$1" "$scratch/said" || { echo "not said: $1; but:" && cat "$scratch/said" && exit 1; }
}
ctest --test-dir "$build" -N | sed -n 's/^ *Test *#[0-9]*: //p' >"$scratch/tests"
must_refuse 'neither a command nor a reason' 'X1,a,b,test,,,,'
must_refuse 'fields, not' 'X1,a,b,test,,,why'
must_refuse 'used twice' $'X1,a,b,manual,,,,why\nX1,a,b,manual,,,,why'
must_refuse 'is none of' 'X1,a,b,often,,,,why'
must_refuse 'no ctest test matches' "X1,a,b,test,ctest --test-dir build -R '^no_such_test\$',,,"
must_refuse 'measured on no machine' 'X1,a,b,manual,,3,,why'

python3 launch/ledger.py check "$ledger" "$scratch/tests"

PATH=$build:$PATH
python3 launch/ledger.py rows "$ledger" quick >"$scratch/quick"
failed=0
while IFS=$'\t' read -r id _ command; do
    if timeout 120 bash -c "$command" >"$scratch/output" 2>&1 </dev/null; then
        echo "$id: ok"
    else
        echo "$id: FAILED ($?): $command"
        tail -n 20 "$scratch/output"
        failed=1
    fi
done <"$scratch/quick"
exit "$failed"
