#!/usr/bin/env python3
"""Values from PyTorch, in f64, for tests/test_pool.c: pooling and resampling with their gradients.

    python3 tests/golden/make_pool.py > tests/golden/pool.h
"""
import functools

import torch
from torch.nn import functional as F

import arrays

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)


def numbers(*shape):
    return torch.round(torch.randn(*shape) * 100) / 100


emit = functools.partial(arrays.emit, digits=13)


def function(name, f, *shape):
    """x, out = f(x), and dx of L = sum(p * out) with p[i] = sin(i + 1)."""
    x = numbers(*shape).requires_grad_()
    y = f(x)
    p = torch.sin(torch.arange(1, y.numel() + 1)).reshape(y.shape)
    (p * y).sum().backward()
    emit(f"{name}_x", x)
    emit(f"{name}_out", y)
    emit(f"{name}_dx", x.grad)


print("/* Values from PyTorch: written by tests/golden/make_pool.py.")
print(f" * PyTorch {torch.__version__} */")
print("/* clang-format off */")
function("max1", lambda x: F.max_pool1d(x, 3, 2, 1, ceil_mode=True), 2, 1, 8)
function("max2", lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0), ceil_mode=True), 2, 1, 6, 4)
function("max3", lambda x: F.max_pool3d(x, 2), 1, 2, 2, 4, 4)
function("adaptive_max2", lambda x: F.adaptive_max_pool2d(x, (3, 2)), 2, 1, 5, 4)
function("avg1", lambda x: F.avg_pool1d(x, 3, 2, 1, ceil_mode=True), 2, 1, 8)
function("avg2", lambda x: F.avg_pool2d(x, (3, 2), (2, 2), (1, 1), ceil_mode=True, count_include_pad=False), 2, 1, 6, 4)
function("avg3", lambda x: F.avg_pool3d(x, 3, 2, 1), 1, 2, 3, 3, 4)
function("adaptive_avg2", lambda x: F.adaptive_avg_pool2d(x, (3, 2)), 2, 1, 5, 3)
function("adaptive_avg3", lambda x: F.adaptive_avg_pool3d(x, (2, 1, 3)), 1, 1, 3, 2, 5)
function("nearest1", lambda x: F.interpolate(x, 7), 2, 1, 4)
function("nearest2", lambda x: F.interpolate(x, (2, 6)), 2, 1, 3, 3)
function("nearest3", lambda x: F.interpolate(x, (4, 2, 3)), 1, 1, 2, 3, 2)
function("linear1", lambda x: F.interpolate(x, 7, mode="linear"), 2, 1, 4)
function("linear2", lambda x: F.interpolate(x, (3, 6), mode="bilinear"), 2, 1, 5, 3)
function("linear3", lambda x: F.interpolate(x, (4, 2, 3), mode="trilinear"), 1, 1, 2, 3, 2)
function("corners1", lambda x: F.interpolate(x, 7, mode="linear", align_corners=True), 2, 1, 4)
function("corners2", lambda x: F.interpolate(x, (3, 6), mode="bilinear", align_corners=True), 2, 1, 5, 3)
function("corners3", lambda x: F.interpolate(x, (4, 2, 1), mode="trilinear", align_corners=True), 1, 1, 2, 3, 2)
