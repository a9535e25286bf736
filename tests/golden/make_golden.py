#!/usr/bin/env python3
"""Values from PyTorch, in f64, for tests/test_golden.c: functions with their gradients, and parameters after some steps
of training. Written with PyTorch 1.13 (Debian's python3-torch).

    python3 tests/golden/make_golden.py > tests/golden/golden.h
"""
import functools
import sys

import torch
from torch import nn
from torch.nn import functional as F

import arrays

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)


def numbers(*shape, scale=1.0):
    """Random numbers of three decimals, so that f32 programs start from the same ones nearly and the file is short."""
    return torch.round(torch.randn(*shape) * scale * 1000) / 1000


emit = functools.partial(arrays.emit, digits=15)
function = functools.partial(arrays.function, numbers=numbers, digits=15)


def functions():
    x = torch.cat([torch.linspace(-6, 6, 40), torch.tensor([-0.3, 0.3, 1e-3, -1e-3])])
    function("relu", torch.relu, input=x)
    function("tanh", torch.tanh, input=x)
    function("gelu", F.gelu, input=x)
    function("softmax", lambda x: F.softmax(x, dim=-1), x=numbers(3, 6, scale=3))
    target = torch.tensor([4, 0, 5])
    function("cross_entropy", lambda x, t: F.cross_entropy(x, t, reduction="none"), x=numbers(3, 6, scale=3), t=target)
    function("mse", lambda y, t: F.mse_loss(y, t, reduction="none").mean(1), y=numbers(3, 4), t=numbers(3, 4))
    function("linear", F.linear, input=numbers(3, 4), weight=numbers(2, 4), bias=numbers(2))
    function("conv", lambda x, w, b: F.conv2d(x, w, b, padding=1), x=numbers(3, 2, 5, 4), w=numbers(3, 2, 3, 3),
             b=numbers(3))
    function("strided", lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=2, dilation=2, groups=2),
             x=numbers(3, 4, 6, 5), w=numbers(4, 2, 3, 3), b=numbers(4))
    function("pool", lambda x: F.max_pool2d(x, 3, 2, 1), x=numbers(3, 2, 5, 6))


def train(name, model, loss_of, optimizer, steps, clip=None):
    """Parameters and buffers before and after; names with _ for the dots."""
    for p in model.parameters():
        p.data = numbers(*p.shape, scale=0.5)
    for k, v in model.named_parameters():
        emit(f"{name}_{k.replace('.', '_')}_before", v)
    opt = optimizer(model.parameters())
    for step in range(steps):
        opt.zero_grad()
        loss = loss_of()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip if clip else float("inf"))
        if step == 0:
            emit(f"{name}_loss", loss)
            emit(f"{name}_norm", norm)
        opt.step()
    for k, v in list(model.named_parameters()) + list(model.named_buffers()):
        if v.is_floating_point():
            emit(f"{name}_{k.replace('.', '_')}_after", v)


def cnn(name, **options):
    model = nn.Module()
    model.conv, model.bn, model.fc = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(27, 4)
    x, t = numbers(5, 2, 6, 6), torch.tensor([0, 3, 1, 2, 3])
    emit(f"{name}_x", x)
    emit(f"{name}_t", t)

    def loss_of():
        h = F.max_pool2d(torch.relu(model.bn(model.conv(x))), 2)
        return F.cross_entropy(model.fc(h.flatten(1)), t)

    train(name, model, loss_of, lambda p: torch.optim.SGD(p, lr=0.05, **options), 5)


def mlp(name, act, optimizer, clip=None):
    model = nn.Module()
    model.fc1, model.fc2, model.fc3 = nn.Linear(3, 6), nn.Linear(6, 5), nn.Linear(5, 2)
    x, t = numbers(7, 3), numbers(7, 2)
    emit(f"{name}_x", x)
    emit(f"{name}_t", t)

    def loss_of():
        return F.mse_loss(model.fc3(act(model.fc2(act(model.fc1(x))))), t)

    train(name, model, loss_of, optimizer, 6, clip)


print("/* Values from PyTorch: written by tests/golden/make_golden.py.")
print(f" * PyTorch {torch.__version__}, Python {sys.version.split()[0]} */")
print("/* clang-format off */")
functions()
cnn("sgd", momentum=0.9)
cnn("nesterov", momentum=0.9, nesterov=True, weight_decay=0.01)
mlp("adamw", F.gelu, lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1))
# by SGD: Adam's steps don't depend on a factor of the gradient
mlp("clipped", torch.tanh, lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.5), clip=0.25)
