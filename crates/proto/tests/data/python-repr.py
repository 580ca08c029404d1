"""Writes python-repr.tsv: doubles by their bits, each with the text that Python's repr gives.

Run it with any CPython 3.1 or later: python3 python-repr.py > python-repr.tsv
"""

import random
import struct


def bits(value):
    return struct.unpack(">Q", struct.pack(">d", value))[0]


def double(pattern):
    return struct.unpack(">d", struct.pack(">Q", pattern))[0]


cases = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 0.1, 0.2, 0.3, 1 / 3, 2 / 3, 100.0, 12345.678, 3.141592653589793]
# The borders of the layout: plain from 1e-4 up to 1e16.
for edge in (1e-3, 1e-4, 1e-5, 1e15, 1e16, 1e17, 9999999999999998.0, 123456789012345680.0, 0.00012345, 0.000012345):
    near = bits(edge)
    cases += [double(near + step) for step in (-2, -1, 0, 1, 2)]
# Exact ties and near-ties between two shortest candidates; 5e-324 and 9007199254740993 are the classic ones.
cases += [5e-324, 9007199254740993.0, 2.0**-44, 2.0**-1074 * 3, 9.5e-323, 2.2250738585072014e-308, 2.2250738585072011e-308]
cases += [2.0**power for power in range(-1074, 1024, 37)]
cases += [float(10**power) for power in range(0, 40)] + [10.0**-power for power in range(1, 40)]
cases += [10.0**power for power in range(-320, 309, 29)]
# Integers beyond 2**53, where ties between decimal candidates are common.
cases += [float(2**53 + step) for step in range(0, 20, 2)] + [float(2**60 + 256 * step) for step in range(10)]
# Extremes of the format.
cases += [double(1), double(2), double((1 << 52) - 1), double(1 << 52), double(0x7FEFFFFFFFFFFFFF), double(0x7FEFFFFFFFFFFFFE)]
cases += [1.5e300, 1e100, 1e22, 1e23, 8.41e21, 9.409340012568248e18, 2.989102097996e-312, 4.35, 0.5, 1e-7]
random.seed(20261122)
while len(cases) < 700:
    value = double(random.getrandbits(63))
    if value == value and value not in (float("inf"),):
        cases.append(value)

print("# bits of the double, then repr(float) of CPython; made by python-repr.py")
seen = set()
for value in cases:
    for signed in (value, -value):
        if bits(signed) not in seen:
            seen.add(bits(signed))
            print(f"{bits(signed):016x}\t{signed!r}")
