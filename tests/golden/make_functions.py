#!/usr/bin/env python3
"""Values from PyTorch, in f64, for tests/test_functions.c: functions of one number with their slopes, at 0, small,
large and infinite numbers and NaN; and where transpose, concat, slice, pad, gather, max, min and where put elements.
Written with PyTorch 1.13.

    python3 tests/golden/make_functions.py > tests/golden/functions.h
"""
import math
import textwrap

import torch
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
INF = math.inf
X = torch.tensor([0.0, -0.0, 0.375, -0.375, 1.0, -1.0, 2.0, 3.5, -3.5, 2.0**-12, -2.0**-12, 20.5, -20.5, 80.0, -80.0,
                  400.5, -400.5, 1048576.0, INF, -INF, math.nan])


def word(v):
    if math.isnan(v):
        return "NAN"
    if math.isinf(v):
        return "INFINITY" if v > 0 else "-INFINITY"
    return "-0.0" if v == 0 and math.copysign(1, v) < 0 else f"{v:.16g}"


def emit(name, tensor):
    values = ", ".join(word(v) for v in tensor.detach().reshape(-1).tolist())
    print(f"static const double {name}[] = {{")
    print(textwrap.fill(values, 116, initial_indent="    ", subsequent_indent="    ") + "};")


def function(name, f):
    x = X.clone().requires_grad_()
    y = f(x)
    y.sum().backward()
    emit(f"{name}_y", y)
    emit(f"{name}_slope", x.grad)


def sigmoid(x):
    """Without PyTorch's s (1 - s) as slope, which is 0 for large x."""
    y = 1 / (1 + torch.exp(-x.detach()))
    slope = y / (1 + torch.exp(x.detach()))
    return y + (x - x.detach()).nan_to_num() * slope


def power(exponent):
    """By pow(3): of a number as exponent PyTorch makes a root."""
    return lambda x: torch.pow(x, torch.full_like(x, exponent))


def places():
    x = torch.arange(24.0).reshape(2, 3, 4)
    index = torch.tensor([2, 0, 2])
    emit("transpose_y", x.permute(0, 2, 1))
    emit("concat_y", torch.cat([x, x[:, :1], x[:, 1:]], 1))
    emit("slice_y", x[:, :, 1:4:2])
    emit("pad_y", F.pad(x, (1, 2), value=-0.5))
    emit("gather_y", x[:, index])
    mixed = torch.sin(x)
    emit("max_y", mixed.amax((1,)))
    emit("min_y", mixed.amin((1, 2)))
    emit("where_y", torch.where(mixed > 0.25, x, -x))


def main():
    print("/* Values from PyTorch: written by tests/golden/make_functions.py. */\n/* clang-format off */")
    print("#include <math.h>")
    emit("function_x", X)
    for name, f in {"exp": torch.exp, "ln": torch.log, "sin": torch.sin, "cos": torch.cos, "abs": torch.abs,
                    "sigmoid": sigmoid, "silu": F.silu, "softplus": lambda x: F.softplus(x, threshold=100),
                    "leaky": lambda x: F.leaky_relu(x, 0.125), "clamp": lambda x: x.clamp(-1.0, 2.0),
                    "power_2": power(2), "power_3": power(3), "power_half": power(0.5), "power_less_1": power(-1),
                    "power_less_2": power(-2), "power_1_75": power(1.75)}.items():
        function(name, f)
    places()


main()
