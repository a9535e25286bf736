#!/usr/bin/env python3
"""Convolutions in one and three dimensions and transposed ones, from PyTorch, in f64, for tests/test_golden.c.

    python3 tests/golden/make_conv.py > tests/golden/conv.h
"""
import functools
import sys

import torch
from torch.nn import functional as F

import arrays

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)


def numbers(*shape):
    """Tenths, so that products of two are short."""
    return torch.round(torch.randn(*shape) * 10) / 10


emit = functools.partial(arrays.emit, digits=9)


def function(name, f, x, w, b):
    """x, w, b, out = f(x, w, b), the weights p of L = sum(p * out), and dL of each input."""
    leaves = {"x": x.requires_grad_(), "w": w.requires_grad_(), "b": b.requires_grad_()}
    y = f(x, w, b)
    p = numbers(*y.shape)
    (p * y).sum().backward()
    emit(f"{name}_out", y)
    emit(f"{name}_p", p)
    for k, v in leaves.items():
        emit(f"{name}_{k}", v)
        emit(f"{name}_d{k}", v.grad)


print("/* Values from PyTorch: written by tests/golden/make_conv.py.")
print(f" * PyTorch {torch.__version__}, Python {sys.version.split()[0]} */")
print("/* clang-format off */")
function("conv1d", lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=2, dilation=2, groups=2),
         numbers(2, 4, 9), numbers(6, 2, 3), numbers(6))
function("conv3d", lambda x, w, b: F.conv3d(x, w, b, stride=(1, 2, 1), padding=(1, 0, 1)),
         numbers(2, 2, 2, 5, 3), numbers(3, 2, 2, 3, 3), numbers(3))
function("deconv1d", lambda x, w, b: F.conv_transpose1d(x, w, b, stride=3, padding=1, output_padding=2, dilation=2),
         numbers(2, 2, 4), numbers(2, 3, 3), numbers(3))
function("deconv2d", lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, groups=2, output_padding=(1, 0)),
         numbers(2, 4, 3, 2), numbers(4, 2, 3, 2), numbers(4))
function("deconv3d", lambda x, w, b: F.conv_transpose3d(x, w, b, stride=2),
         numbers(2, 2, 2, 1, 2), numbers(2, 3, 2, 2, 2), numbers(3))
