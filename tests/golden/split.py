#!/usr/bin/env python3
"""Split, version 1, written again from its definition (src/data/split.h) on plain Python integers. Prints the tables for
tests/test_split.c.

    python3 tests/golden/split.py > tests/golden/split.h
"""

from fractions import Fraction

from order import M32, philox4x32_10, xxh64_short

GROUP = 4096


def count(samples, fraction):
    return (Fraction(fraction) * samples + Fraction(1, 2)).__floor__()


def take(samples, wanted, seed, group):
    """The samples of one group that are taken."""
    key = xxh64_short(b"split", seed)
    begin, end = GROUP * group, min(GROUP * group + GROUP, samples)
    n, t = end - begin, end * wanted // samples - begin * wanted // samples
    taken = []
    for i in range(n):
        word = philox4x32_10([i // 4, group & M32, group >> 32, 0], [key & M32, key >> 32])[i % 4]
        if word * (n - i) // 2**32 < t - len(taken):
            taken.append(begin + i)
    assert len(taken) == t
    return taken


def main():
    print("/* Split, version 1: written by tests/golden/split.py. */")
    print("static const struct split_count {\n    uint64_t samples;\n    double fraction;\n    uint64_t count;")
    print("} split_counts[] = {")
    for samples in (2, 3, 7, 10, 1000, 60000, 2**31 + 1, 10**12 + 39, 2**63 - 1):
        for fraction in (0.5, 0.1, 0.25, 1 / 3, 0.2, 0.9, 1e-3, 2**-40 * 1.5, 0.999999999999):
            taken = count(samples, fraction)
            if 1 <= taken < samples:
                print("    {%du, %s, %du}," % (samples, fraction.hex(), taken))
    print("};")
    print("/* Of group `group` the samples taken: how many, the sum of their numbers, the first and the last. */")
    print("static const struct split_group {\n    uint64_t samples, count, seed, group, taken, sum, first, last;")
    print("} split_groups[] = {")
    shapes = [(10, 3, 0), (2, 1, 7), (4096, 1000, 1), (4097, 4096, 2**64 - 1), (60000, 6000, 42), (100001, 33333, 3)]
    for samples, wanted, seed in shapes:
        groups = (samples + GROUP - 1) // GROUP
        for group in sorted({0, groups // 2, groups - 1}):
            t = take(samples, wanted, seed, group)
            ends = (t[0], t[-1]) if t else (0, 0)
            row = (samples, wanted, seed, group, len(t), sum(t), *ends)
            print("    {%s}," % ", ".join("%du" % number for number in row))
    print("};")
    print("static const uint64_t split_all[] = {%s}; /* 12 of 40, seed 9 */" % ", ".join(map(str, take(40, 12, 9, 0))))


if __name__ == "__main__":
    main()
