#!/usr/bin/env python3
"""Loss and norms of gradients of residual nets in PyTorch, in f64, for tests/test_resnet.c. Parameters and inputs come
from a hash of (number of the array, number of the element), which the test computes too.

    python3 tests/golden/make_resnet.py > tests/golden/resnet.h
"""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
INPUT = 1000  # number of the input among the arrays


def uniform(array, shape):
    """In [-1, 1), rounded to f32."""
    i = np.arange(int(np.prod(shape)), dtype=np.uint64)
    u = (i * np.uint64(2654435761) + np.uint64(array * 40503 + 12345)) & np.uint64(0xFFFFFFFF)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        u = ((u ^ (u >> np.uint64(shift))) * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    u ^= u >> np.uint64(15)
    return (u.astype(np.float64) / 2**31 - 1).reshape(shape)


class Block(nn.Module):
    def __init__(self, i, width, stride, deep):
        super().__init__()
        o = 4 * width if deep else width
        self.deep = deep
        sizes = ((i, width, 1, 1), (width, width, 3, stride), (width, o, 1, 1)) if deep else \
            ((i, width, 3, stride), (width, width, 3, 1))
        for n, (a, b, k, s) in enumerate(sizes, 1):
            setattr(self, f"conv{n}", nn.Conv2d(a, b, k, s, k // 2, bias=False))
            setattr(self, f"bn{n}", nn.BatchNorm2d(b))
        self.downsample = None if stride == 1 and i == o else nn.Sequential(
            nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.deep:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, counts, deep, small, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False) if small else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        i = 64
        for stage, count in enumerate(counts):
            width, blocks = 64 << stage, []
            for n in range(count):
                blocks.append(Block(i, width, 2 if stage and n == 0 else 1, deep))
                i = 4 * width if deep else width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(i, classes)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


def fill(number, p):
    value = uniform(number, tuple(p.shape))
    if p.ndim == 1:
        value = 0.2 * value + (1 if number % 3 == 1 else 0)  # of batch norm: weight near 1; its bias, fc's bias
    else:
        value = value * np.float32(np.sqrt(3.0 / np.prod(p.shape[1:])))
    p.data = torch.from_numpy(value.astype(np.float32).astype(np.float64))


def net(name, counts, deep, small, rows, size):
    model = ResNet(counts, deep, small, 10)
    for number, p in enumerate(model.parameters()):
        fill(number, p)
    x = torch.from_numpy(uniform(INPUT, (rows, 3, size, size)).astype(np.float32).astype(np.float64))
    loss = F.cross_entropy(model(x), torch.arange(rows) % 10)
    loss.backward()
    norm = sum(float((p.grad**2).sum()) for p in model.parameters())**0.5
    first = float(model.conv1.weight.grad.norm())
    print(f"static const resnet_golden {name}_golden = {{{loss.item():.9g}, {norm:.9g}, {first:.9g}}};")


if __name__ == "__main__":
    print("/* Made by make_resnet.py with PyTorch 1.13: loss, norm of all gradients, of conv1.weight's. */")
    net("resnet18", (2, 2, 2, 2), False, True, 4, 16)
    net("resnet34", (3, 4, 6, 3), False, True, 4, 16)
    net("resnet50", (3, 4, 6, 3), True, False, 4, 64)
