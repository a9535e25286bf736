#!/usr/bin/env python3
"""Sample order `exact`, version 1, written again from its definition (src/data/sampler.h) on plain Python integers:
XXH64, Philox4x32-10, the cycle-walking Feistel network. Prints the table of expected values for tests/test_sampler.c.

    python3 tests/golden/order.py > tests/golden/order.h
"""

M64 = (1 << 64) - 1
M32 = (1 << 32) - 1


def xxh64_short(data, seed):
    """XXH64 of less than 32 bytes."""
    p1, p2, p3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
    p4, p5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5

    def rotate(x, n):
        return (x << n | x >> (64 - n)) & M64

    assert len(data) < 32
    h = (seed + p5 + len(data)) & M64
    at = 0
    while len(data) - at >= 8:
        k = rotate(int.from_bytes(data[at : at + 8], "little") * p2 & M64, 31) * p1 & M64
        h = (rotate(h ^ k, 27) * p1 + p4) & M64
        at += 8
    if len(data) - at >= 4:
        h ^= int.from_bytes(data[at : at + 4], "little") * p1 & M64
        h = (rotate(h, 23) * p2 + p3) & M64
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ (byte * p5 & M64), 11) * p1 & M64
    h = (h ^ h >> 33) * p2 & M64
    h = (h ^ h >> 29) * p3 & M64
    return h ^ h >> 32


def philox4x32_10(counter, key):
    """Salmon et al., SC 2011."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & M32, (a >> 32) ^ c[3] ^ k[1], a & M32]
        k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
    return c


def exact(rows, seed, epoch, position):
    return permute(rows, xxh64_short(b"order", seed), epoch, position)


def permute(rows, key, epoch, position):
    bits = max(6, (rows - 1).bit_length())
    low_bits, high_bits = (bits + 1) // 2, bits // 2

    def f(half, i):
        return philox4x32_10([half, i, epoch & M32, epoch >> 32], [key & M32, key >> 32])[0]

    x = position
    while True:
        low, high = x % 2**low_bits, x // 2**low_bits
        for i in range(8):
            if i % 2 == 0:
                high ^= f(low, i) % 2**high_bits
            else:
                low ^= f(high, i) % 2**low_bits
        x = high * 2**low_bits + low
        if x < rows:
            return x


def main():
    # published values: the Random123 and xxHash test vectors
    assert philox4x32_10([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox4x32_10([M32] * 4, [M32] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    assert xxh64_short(b"", 0) == 0xEF46DB3751D8E999 and xxh64_short(b"a", 0) == 0xD24EC4F1A98C6E5B
    all_rows = [1, 2, 3, 10, 63, 64, 65, 100, 127, 129, 1000, 4096, 60000, 10**6 + 3, 2**31, 2**32 - 1]
    all_rows += [2**32, 2**32 + 1, 2**33 + 5, 10**12 + 39, 2**63, 2**63 + 1, 2**64 - 1]
    print("/* Order `exact`, version 1: written by tests/golden/order.py. */")
    print("static const struct order_row {\n    uint64_t rows, seed, epoch, position, sample;\n} order_rows[] = {")
    for n, rows in enumerate(all_rows):
        for seed, epoch in [(0, 0), (1, 0), (0, 1), (12345, 7), (M64 - n, 2**32 + n), (3, M64)]:
            for position in sorted({0, 1 % rows, rows // 3, rows - 1}):
                sample = exact(rows, seed, epoch, position)
                print("    {%du, %du, %du, %du, %du}," % (rows, seed, epoch, position, sample))
    print("};")


if __name__ == "__main__":
    main()
