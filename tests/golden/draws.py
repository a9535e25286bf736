#!/usr/bin/env python3
"""Orders `weighted`, `balanced` and `buckets`, version 1, written again from their definitions (src/data/draws.h) on
Python's integers and fractions. Prints the table for tests/test_draws.c.

    python3 tests/golden/draws.py > tests/golden/draws.h
"""

from fractions import Fraction

from order import M32, permute, philox4x32_10, xxh64_short


def number(value):
    return value.to_bytes(8, "little")


def weighted(weights, seed, epoch, position):
    key = xxh64_short(b"weighted", seed)
    exact = [Fraction(w) for w in weights]
    e = -2000
    while not max(exact) < Fraction(2) ** e:
        e += 1
    b = 0
    while 2**b < len(weights):
        b += 1
    u = [int(w * Fraction(2) ** (127 - b - e)) for w in exact]
    s = 0
    while sum(u) >> s >= 2**64:
        s += 1
    last = sum(u) >> s
    word = philox4x32_10(
        [position & M32, position >> 32, epoch & M32, epoch >> 32], [key & M32, key >> 32]
    )
    wanted = (word[0] + (word[1] << 32)) * last >> 64
    total = 0
    for i, part in enumerate(u):
        total += part
        if total >> s > wanted:
            return i


def balanced(labels, classes, seed, epoch, position):
    key = xxh64_short(b"balanced", seed)
    g = epoch * len(labels) + position
    t, j = g // classes % 2**64, g % classes
    c = permute(classes, key, t, j)
    rows = [i for i, label in enumerate(labels) if label == c]
    n = len(rows)
    return rows[permute(n, xxh64_short(number(c), key), t // n, t % n)]


def buckets(lengths, batch, batches, seed, epoch):
    """All rows of an epoch."""
    key = xxh64_short(b"buckets", seed)
    n = len(lengths)
    shuffled = [permute(n, key, epoch, p) for p in range(n)]
    whole, out = n // batch * batch, []
    for w, first in enumerate(range(0, whole, batch * batches)):
        places = range(first, min(first + batch * batches, whole))
        ranked = sorted(places, key=lambda p: (lengths[shuffled[p]], p))
        m = len(places) // batch
        for j in range(m):
            k = permute(m, xxh64_short(number(w), key), epoch, j)
            out += [shuffled[p] for p in sorted(ranked[k * batch : (k + 1) * batch])]
    return out + shuffled[whole:]


# tables of rows: the test makes the same ones
def weights(kind, rows):
    if kind == 0:
        return [float(i * 37 % 11) for i in range(rows)]  # every eleventh is 0
    if kind == 1:
        return [2.0 ** (-(i * 5 % 1070)) for i in range(rows)]  # down to subnormal numbers
    if kind == 2:
        return [1.7e308 / (1 + i) for i in range(rows)]
    return [5e-324 * (i % 3) for i in range(rows)]


def label(i, classes):
    return i * i % classes if i >= classes else i


def length(i):
    return i * 7919 % 101 + i % 3 * 1000


epochs = (0, 1, 2**32 + 3)


def main():
    print("/* Orders of draws.h, version 1: written by tests/golden/draws.py. */")
    print("static const struct weighted_row {\n    int kind;")
    print("    uint64_t rows, seed, epoch, position, row;\n} weighted_rows[] = {")
    for kind, rows, seed in [(0, 100, 0), (0, 2, 5), (1, 1000, 1), (2, 33, 2), (3, 64, 2**64 - 1)]:
        for epoch in epochs:
            for p in sorted({0, 1, rows // 3, rows // 2, rows - 1}):
                row = weighted(weights(kind, rows), seed, epoch, p)
                print("    {%d, %du, %du, %du, %du, %du}," % (kind, rows, seed, epoch, p, row))
    print("};\nstatic const struct balanced_row {")
    print("    uint64_t rows, classes, seed, epoch, position, row;\n} balanced_rows[] = {")
    for rows, classes, seed in [(100, 7, 0), (10, 10, 1), (5, 1, 2), (1000, 97, 2**64 - 1)]:
        labels = [label(i, classes) for i in range(rows)]
        for epoch in epochs + (2**64 - 1,):
            for p in sorted({0, 1, rows // 3, rows // 2, rows - 2, rows - 1}):
                row = balanced(labels, classes, seed, epoch, p)
                print("    {%d, %d, %du, %du, %du, %du}," % (rows, classes, seed, epoch, p, row))
    print("};\nstatic const struct buckets_row {")
    print("    uint64_t rows, batch, batches, seed, epoch, position, row;\n} buckets_rows[] = {")
    for rows, batch, batches, seed in [(50, 4, 3, 0), (30, 7, 100, 1), (5, 8, 2, 2), (24, 4, 2, 3), (9, 1, 4, 4)]:
        for epoch in epochs:
            for p, row in enumerate(buckets([length(i) for i in range(rows)], batch, batches, seed, epoch)):
                print("    {%d, %d, %d, %d, %du, %d, %d}," % (rows, batch, batches, seed, epoch, p, row))
    print("};")


main()
