#!/usr/bin/env python3
"""Reads the acceptance ledger, tests/acceptance.csv, for the scripts that check and run it.

  ledger.py check FILE TESTS          TESTS: a file with the name of a ctest test on each line
  ledger.py rows FILE KIND            id, bound and command of the rows of a kind, separated by tabs
  ledger.py record FILE ID MEASURED MACHINE

The kinds: `test`, a ctest test, `ctest --test-dir build -R '^name$'`; `quick`, a command that the ledger test runs
itself; `timed`, a command that only launch/acceptance.sh runs; `manual`, done by hand. A command passes by exit status
0; the last line of a timed one is what it measured. Every row has a command, or a reason why it has none.
"""
import csv
import re
import sys

COLUMNS = ["id", "asked", "bound", "kind", "command", "measured", "machine", "reason"]
KINDS = ("quick", "timed", "test", "manual")
CTEST = re.compile(r"ctest --test-dir build -R '([^']+)'")


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True))


def row_faults(row, tests):
    """What is wrong with one row, as texts."""
    if len(row) != len(COLUMNS):
        yield f"{len(row)} fields, not {len(COLUMNS)}"
        return
    r = dict(zip(COLUMNS, row))
    if not re.fullmatch(r"[A-Z]([0-9]+[a-z]?)?(-[a-z0-9]+)*", r["id"]):
        yield f"id {r['id']!r} is not a letter, a number and words like S11-conv"
    if not r["asked"] or not r["bound"]:
        yield "asked and bound must not be empty"
    if r["kind"] not in KINDS:
        yield f"kind {r['kind']!r} is none of {', '.join(KINDS)}"
    if not r["command"] and not r["reason"]:
        yield "neither a command nor a reason"
    if r["kind"] in ("quick", "timed") and not r["command"]:
        yield f"{r['kind']} without a command"
    if r["measured"] and not r["machine"]:
        yield "measured on no machine"
    if any("\t" in field or "\n" in field for field in row):
        yield "a tab or newline in a field"
    if r["kind"] == "test" and r["command"]:
        match = CTEST.fullmatch(r["command"])
        if not match:
            yield "command is not of the form ctest --test-dir build -R '^name$'"
        elif not any(re.search(match[1], test) for test in tests):
            yield f"no ctest test matches {match[1]}"


def check(path, tests_path):
    rows = read(path)
    if not rows or rows[0] != COLUMNS:
        sys.exit(f"{path}: the first line is not {','.join(COLUMNS)}")
    if len(rows) == 1:
        sys.exit(f"{path}: no rows")
    with open(tests_path, encoding="utf-8") as file:
        tests = file.read().split()
    faults, seen = [], set()
    for row in rows[1:]:
        name = row[0] if row else "(empty line)"
        faults += [f"{path}: {name}: {fault}" for fault in row_faults(row, tests)]
        if name in seen:
            faults.append(f"{path}: {name}: id used twice")
        seen.add(name)
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(rows) - 1} rows")


def rows_of_kind(path, kind):
    for row in read(path)[1:]:
        r = dict(zip(COLUMNS, row))
        if r["kind"] == kind and r["command"]:
            print(r["id"], r["bound"], r["command"], sep="\t")


def record(path, name, measured, machine):
    rows = read(path)
    for row in rows[1:]:
        if row[0] == name:
            row[COLUMNS.index("measured")], row[COLUMNS.index("machine")] = measured, machine
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


ACTIONS = {"check": (check, 2), "rows": (rows_of_kind, 2), "record": (record, 4)}

if __name__ == "__main__":
    action, count = ACTIONS.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if action is None or len(sys.argv) - 2 != count:
        sys.exit(__doc__)
    action(*sys.argv[2:])
