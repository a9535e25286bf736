#!/usr/bin/env python3
"""Sample order `lanes`, version 1, and the digest of an epoch's ledger, written again from their definitions
(src/data/lanes.h, ledger.h) on plain Python integers and lists. Prints the tables for tests/test_lanes.c and
tests/test_epoch_ledger.c.

    python3 tests/golden/lanes.py > tests/golden/lanes.h
"""

from order import M64, permute, xxh64_short


def number(value):
    return value.to_bytes(8, "little")


def deal(files, lanes, key, epoch):
    """Of each lane the blocks, as (first sample, rows)."""
    blocks, first = [], 0
    for rows, block_rows in files:
        for at in range(0, rows, block_rows):
            blocks.append((first + at, min(block_rows, rows - at)))
        first += rows
    dealt = [[] for _ in range(lanes)]
    rest = len(blocks) % lanes
    for p in range(len(blocks)):
        last_round = p >= len(blocks) - rest
        lane = (p - (len(blocks) - rest)) * lanes // rest if last_round else p % lanes
        dealt[lane].append(blocks[permute(len(blocks), key, epoch, p)])
    return dealt


def row_of_lane(blocks, lane, window, key, epoch, t):
    w = 0
    while True:
        held = blocks[w * window : (w + 1) * window]
        rows = sum(n for _, n in held)
        if t < rows:
            break
        t -= rows
        w += 1
    u = permute(rows, xxh64_short(number(lane) + number(w), key), epoch, t)
    for first, n in held:
        if u < n:
            return first + u
        u -= n


def cut(lengths, a, b, c):
    """How many of the first c rows of lanes [a, b) each of them gives."""
    if b - a == 1:
        return [c]
    middle = (a + b) // 2
    n, left = sum(lengths[a:b]), sum(lengths[a:middle])
    of_left = (c * left + n // 2) // n if n else 0
    return cut(lengths, a, middle, of_left) + cut(lengths, middle, b, c - of_left)


def batch(files, lanes, window, seed, epoch, global_batch, step):
    """Rows of a batch, and the sample at each as a function, so that large ones need not be listed."""
    key = xxh64_short(b"lanes", seed)
    dealt = deal(files, lanes, key, epoch)
    lengths = [sum(n for _, n in of_lane) for of_lane in dealt]
    rows = sum(lengths)
    begin = step * global_batch
    first = cut(lengths, 0, lanes, begin)
    end = cut(lengths, 0, lanes, min(begin + global_batch, rows))

    def sample(row):
        for i in range(lanes):
            if row < end[i] - first[i]:
                return row_of_lane(dealt[i], i, window, key, epoch, first[i] + row)
            row -= end[i] - first[i]

    return sum(end) - sum(first), sample


shapes = [
    ([(30, 4)], 3, 2, 0),
    ([(1, 1)], 1, 1, 7),
    ([(17, 5), (0, 3), (23, 4)], 4, 3, 1),
    ([(100, 1)], 64, 16, 2**64 - 1),
    ([(2**33 + 7, 2**24)], 64, 4, 5),
    ([(2**40, 2**31), (2**62, 2**53)], 12, 16, 3),
]


def main():
    print("/* Order `lanes`, version 1, and ledgers: written by tests/golden/lanes.py. */")
    print("static const struct lanes_row {\n    int shape;")
    print("    uint64_t epoch, global_batch, step, row, sample;\n} lanes_rows[] = {")
    for s, (files, lanes, window, seed) in enumerate(shapes):
        total = sum(rows for rows, _ in files)
        for epoch in (0, 1, 2**32 + 3):
            global_batch = 12 if total < 1000 else 4096
            last = (total - 1) // global_batch
            for step in sorted({0, 1, last // 2, last} if total >= 1000 else set(range(last + 1))):
                rows, sample = batch(files, lanes, window, seed, epoch, global_batch, step)
                wanted = range(rows) if total < 50 else sorted({0, rows // 3, rows // 2, rows - 1})
                for row in wanted:
                    print("    {%d, %du, %du, %du, %du, %du}," % (s, epoch, global_batch, step, row, sample(row)))
    print("};")
    print("static const struct ledger_row {\n    uint64_t epoch, first, count, sum;\n} ledger_rows[] = {")
    for epoch, first, count in [(0, 0, 1), (0, 0, 100), (7, 0, 100), (7, 40, 60), (2**63, 2**40, 3)]:
        total = sum(xxh64_short(number(i), epoch) for i in range(first, first + count)) & M64
        print("    {%du, %du, %du, %du}," % (epoch, first, count, total))
    print("};")


main()
