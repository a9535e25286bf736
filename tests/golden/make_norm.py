#!/usr/bin/env python3
"""Values from PyTorch, in f64, for tests/test_norm_golden.c: layer, RMS, group, instance and batch norm and embedding,
each with the gradients of sum(p * out). Written with PyTorch 1.13 (Debian's python3-torch).

    python3 tests/golden/make_norm.py > tests/golden/norm.h
"""
import functools

import torch
from torch.nn import functional as F

import arrays

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)


def numbers(*shape, scale=1.0, shift=0.0):
    return torch.round((torch.randn(*shape) * scale + shift) * 100) / 100


emit = functools.partial(arrays.emit, digits=12)
function = functools.partial(arrays.function, numbers=numbers, digits=12)


def rms(x, w):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w


def batch(name, shape, stats):
    """Two training forwards of batch norm: the running statistics after them, and the second one's result."""
    mean, var = torch.zeros(shape[1]), torch.ones(shape[1])
    first = numbers(*shape, scale=2.0, shift=1.0)
    emit(f"{name}_first", first)
    w, b = numbers(shape[1], shift=1.0), numbers(shape[1])
    F.batch_norm(first, mean, var, w, b, training=True, momentum=0.1)
    function(name, lambda x, w, b: F.batch_norm(x, mean, var, w, b, training=True, momentum=0.1),
             x=numbers(*shape, scale=0.5), w=w, b=b)
    if stats:
        emit(f"{name}_mean", mean)
        emit(f"{name}_var", var)


print("/* norm.h: values from PyTorch: see make_norm.py, which writes this file. */")
function("layer", lambda x, w, b: F.layer_norm(x, [2, 5], w, b), x=numbers(3, 2, 5, shift=3.0), w=numbers(2, 5),
         b=numbers(2, 5))
function("rms", rms, x=numbers(3, 2, 7), w=numbers(7))
function("group", lambda x, w, b: F.group_norm(x, 3, w, b), x=numbers(2, 6, 2, 2, shift=-2.0), w=numbers(6),
         b=numbers(6))
function("instance", lambda x, w, b: F.instance_norm(x, weight=w, bias=b), x=numbers(2, 3, 5), w=numbers(3),
         b=numbers(3))
function("embedding", lambda id, w: F.embedding(id, w), id=torch.tensor([[2, 0, 2], [4, 2, 0]]), w=numbers(5, 3))
batch("flat", (5, 3), True)
batch("planes", (3, 2, 2, 2), True)
