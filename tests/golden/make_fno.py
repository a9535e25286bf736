#!/usr/bin/env python3
"""Values from PyTorch, in f64, for tests/test_spectral.c: a Fourier neural operator as its authors wrote it (Li et al.
2021, FNO1d and FNO2d without padding), with parameters and samples by a formula, and Fourier transforms.

    python3 tests/golden/make_fno.py > tests/golden/fno.h
"""
import functools

import torch
from torch import nn
from torch.nn import functional as F

import arrays

torch.set_default_dtype(torch.float64)


emit = functools.partial(arrays.emit, digits=12)


def wave(number, *shape, scale=1.0):
    """Element i of array `number`: scale * sin(0.7 (i + 1) + number)."""
    n = 1
    for s in shape:
        n *= s
    return (scale * torch.sin(0.7 * torch.arange(1, n + 1) + number)).reshape(shape)


class Spectral(nn.Module):
    def __init__(self, width, modes, dims):
        super().__init__()
        self.modes, self.dims = modes, dims
        shape = (width, width) + (modes,) * dims + (2,)
        self.weights1 = nn.Parameter(torch.zeros(shape))
        if dims == 2:
            self.weights2 = nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        m, mix = self.modes, "bixy,ioxy->boxy"
        if self.dims == 1:
            f = torch.fft.rfft(x)
            out = torch.zeros_like(f)
            out[:, :, :m] = torch.einsum("bix,iox->box", f[:, :, :m], torch.view_as_complex(self.weights1))
            return torch.fft.irfft(out, n=x.size(-1))
        f = torch.fft.rfft2(x)
        out = torch.zeros_like(f)
        out[:, :, :m, :m] = torch.einsum(mix, f[:, :, :m, :m], torch.view_as_complex(self.weights1))
        out[:, :, -m:, :m] = torch.einsum(mix, f[:, :, -m:, :m], torch.view_as_complex(self.weights2))
        return torch.fft.irfft2(out, s=x.shape[-2:])


class FNO(nn.Module):
    def __init__(self, width, modes, dims, depth=4):
        super().__init__()
        self.dims, self.depth = dims, depth
        self.fc0 = nn.Linear(1 + dims, width)
        for i in range(depth):
            setattr(self, f"conv{i}", Spectral(width, modes, dims))
            setattr(self, f"w{i}", (nn.Conv1d if dims == 1 else nn.Conv2d)(width, width, 1))
        self.fc1 = nn.Linear(width, 128)
        self.fc2 = nn.Linear(128, 1)

    def forward(self, x):
        size = x.shape[2:]
        grid = torch.meshgrid(*[torch.linspace(0, 1, s) for s in size], indexing="ij")
        x = torch.cat([x] + [g.expand(x.size(0), 1, *size) for g in grid], 1)
        last = lambda x: x.movedim(1, -1)
        first = lambda x: x.movedim(-1, 1)
        x = first(self.fc0(last(x)))
        for i in range(self.depth):
            x = getattr(self, f"conv{i}")(x) + getattr(self, f"w{i}")(x)
            if i < self.depth - 1:
                x = F.gelu(x)
        return first(self.fc2(F.gelu(self.fc1(last(x)))))


def model(name, dims, size, modes, batch=2, width=3):
    net = FNO(width, modes, dims)
    for k, (_, p) in enumerate(net.named_parameters()):
        p.data = wave(k, *p.shape, scale=0.8)
    x, y = wave(100, batch, 1, *size), wave(200, batch, 1, *size)
    out = net(x)
    loss = ((out - y) ** 2).mean()
    loss.backward()
    print(f"static const double {name}_loss = {loss.item():.15g};")
    emit(f"{name}_out", out)
    print(f"static const char *const {name}_names[] = {{")
    print(",\n".join(f'    "{n}"' for n, _ in net.named_parameters()) + "};")
    # of each gradient, enough to tell a wrong one: its norm, and its product with a wave
    emit(f"{name}_norms", torch.stack([p.grad.norm() for p in net.parameters()]))
    emit(f"{name}_products", torch.stack([(p.grad * wave(300, *p.shape)).sum() for p in net.parameters()]))


def transforms():
    """Spectra that belong to no real values too: what the inverse ignores of them."""
    for dims, shape in ((1, (2, 6)), (2, (3, 5)), (2, (4, 4)), (3, (2, 3, 4))):
        name = "fft" + "x".join(str(s) for s in shape)
        emit(name, torch.view_as_real(torch.fft.rfftn(wave(1, *shape), dim=list(range(-dims, 0)))))
        spectrum = wave(2, *shape[:-1], shape[-1] // 2 + 1, 2)
        y = torch.view_as_complex(spectrum)
        if dims > 1:
            y = torch.fft.ifftn(y, dim=list(range(-dims, -1)))
        y[..., 0].imag = 0
        if shape[-1] % 2 == 0:
            y[..., -1].imag = 0
        emit("i" + name, torch.fft.irfft(y, n=shape[-1]))


print("/* Values from PyTorch: written by tests/golden/make_fno.py.")
print(f" * PyTorch {torch.__version__} */")
print("/* clang-format off */")
transforms()
model("fno1", 1, (8,), 3)
model("fno2", 2, (4, 6), 2)
