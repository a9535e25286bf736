#!/usr/bin/env python3
"""Values for tests/test_losses.c, test_optimizers.c and test_schedule.c, in f64: losses with their gradients, Adam,
Nesterov's SGD and learning rates from PyTorch 1.13; LARS, LAMB and the moving average written out in NumPy.

    /usr/bin/python3 tests/golden/make_training.py > tests/golden/training.h
"""
import textwrap

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim import lr_scheduler as S

torch.set_default_dtype(torch.float64)
ROWS, CLASSES, POSITIONS, IN, OUT, STEPS = 6, 4, 3, 100, 3, 5


def wave(n, a, b, scale=1.0):
    """The same numbers as wave() in the tests."""
    return scale * np.sin(a * np.arange(n) + b)


def emit(name, values):
    text = ", ".join(f"{v:.12g}" for v in np.asarray(values).reshape(-1))
    print(f"__attribute__((unused)) static const double {name}[] = {{")
    print(textwrap.fill(text, 116, initial_indent="    ", subsequent_indent="    ") + "};")


def losses():
    """Loss, then its gradient by z, which is added to every sample's x."""
    shape = (ROWS, CLASSES, POSITIONS)
    x = torch.tensor(wave(np.prod(shape), 1.3, 0.5, 2.0)).reshape(shape)
    label = torch.tensor([(7 * i + i // 5) % CLASSES for i in range(ROWS * POSITIONS)]).reshape(ROWS, POSITIONS)
    t = torch.tensor(0.5 + 0.5 * wave(np.prod(shape), 0.9, 0.0)).reshape(shape)
    weight = torch.tensor([0.5, 2.0, 1.0, 1.5])
    per_sample = {"reduction": "mean"}

    def dice(y):
        y = y.flatten(1)
        return (1 - (2 * (y * t.flatten(1)).sum(1) + 1) / (y.sum(1) + t.flatten(1).sum(1) + 1)).mean()

    for name, f in {
            "plain": lambda y: F.cross_entropy(y, label),
            "smooth": lambda y: F.cross_entropy(y, label, label_smoothing=0.2),
            "ignored": lambda y: F.cross_entropy(y, label, ignore_index=2),
            "weighed": lambda y: F.cross_entropy(y, label, weight=weight, label_smoothing=0.2, ignore_index=2),
            "l1": lambda y: F.l1_loss(y, t, **per_sample),
            "huber": lambda y: F.huber_loss(y, t, delta=0.7, **per_sample),
            "bce": lambda y: F.binary_cross_entropy_with_logits(y, t, **per_sample),
            "dice": lambda y: dice(0.5 + 0.2 * y)}.items():
        z = torch.zeros(CLASSES, POSITIONS, requires_grad=True)
        loss = f(x + z)
        loss.backward()
        emit(f"loss_{name}", [loss.item(), *z.grad.reshape(-1).tolist()])


def start():
    return (wave(OUT * IN, 2.1, 1.0, 0.2).reshape(OUT, IN), wave(OUT, 1.0, 0.0, 0.1),
            wave(ROWS * IN, 1.3, 0.5).reshape(ROWS, IN), wave(ROWS * OUT, 0.9, 0.0).reshape(ROWS, OUT))


def shown(w, b):
    """A few parameters, and a sum that depends on all."""
    w = w.reshape(-1)
    return [*w[:4], *w[-4:], (w * np.cos(np.arange(w.size))).sum(), *b]


def by_torch(name, make):
    w, b, x, t = (torch.tensor(v) for v in start())
    w.requires_grad_(), b.requires_grad_()
    o = make([{"params": [w], "weight_decay": 0.1}, {"params": [b], "weight_decay": 0}])
    for _ in range(STEPS):
        o.zero_grad()
        F.mse_loss(F.linear(x, w, b), t).backward()
        o.step()
    emit(name, shown(w.detach().numpy(), b.detach().numpy()))


def gradients(w, b, x, t):
    d = 2 * (x @ w.T + b - t) / t.size
    return d.T @ x, d.sum(0)


def lars(lr, trust, momentum, decay):
    """You et al. 2017, algorithm 1; the bias is not scaled and does not decay."""
    w, b, x, t = start()
    mw, mb = 0 * w, 0 * b
    for _ in range(STEPS):
        gw, gb = gradients(w, b, x, t)
        norm = np.linalg.norm
        ratio = trust * norm(w) / (norm(gw) + decay * norm(w))
        mw = momentum * mw + lr * ratio * (gw + decay * w)
        mb = momentum * mb + lr * gb
        w, b = w - mw, b - mb
    emit("lars", shown(w, b))


def lamb(lr, beta1, beta2, eps, decay):
    """You et al. 2020, algorithm 2 with phi(z) = z; the bias is not scaled and does not decay."""
    w, b, x, t = start()
    state = [[w, decay, 0 * w, 0 * w], [b, 0.0, 0 * b, 0 * b]]
    for step in range(1, STEPS + 1):
        grads = gradients(state[0][0], state[1][0], x, t)
        for s, g in zip(state, grads):
            s[2] = beta1 * s[2] + (1 - beta1) * g
            s[3] = beta2 * s[3] + (1 - beta2) * g * g
            u = s[2] / (1 - beta1**step) / (np.sqrt(s[3] / (1 - beta2**step)) + eps) + s[1] * s[0]
            ratio = np.linalg.norm(s[0]) / np.linalg.norm(u) if s[1] > 0 else 1.0
            s[0] = s[0] - lr * ratio * u
    emit("lamb", shown(state[0][0], state[1][0]))


def average(lr, decay):
    """Of plain SGD's parameters: a = k a + (1 - k) p, k = min(decay, (1 + t) / (10 + t))."""
    w, b, x, t = start()
    aw, ab = w, b
    for step in range(1, STEPS + 1):
        gw, gb = gradients(w, b, x, t)
        w, b = w - lr * gw, b - lr * gb
        k = min(decay, (1 + step) / (10 + step))
        aw, ab = k * aw + (1 - k) * w, k * ab + (1 - k) * b
    emit("average", [*shown(aw, ab), np.mean((x @ aw.T + ab - t)**2)])


def schedules():
    def rates(name, make, steps=24, lr=0.8):
        o = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        s = make(o)
        values = []
        for _ in range(steps):
            values.append(o.param_groups[0]["lr"])
            o.step()
            s.step()
        emit(f"rates_{name}", values)

    rates("cosine", lambda o: S.CosineAnnealingLR(o, 24, 0.1))
    rates("step", lambda o: S.StepLR(o, 5, 0.3))
    rates("multistep", lambda o: S.MultiStepLR(o, [3, 4, 17], 0.5))
    rates("linear", lambda o: S.LinearLR(o, 1, 0.125, 24))
    rates("polynomial", lambda o: S.PolynomialLR(o, 24, 2.5))
    rates("one_cycle", lambda o: S.OneCycleLR(o, 0.8, 24, pct_start=0.3, div_factor=20, final_div_factor=50))
    seen = [3.0, 2.0, 2.5, 1.9999, 2.1, 1.0, 1.1, 1.2, 1.3, 0.99995, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9]
    o = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    s = S.ReduceLROnPlateau(o, factor=0.5, patience=2, threshold=1e-4, min_lr=0.15)
    after = []
    for v in seen:
        s.step(v)
        after.append(o.param_groups[0]["lr"])
    emit("plateau_seen", seen)
    emit("rates_plateau", after)


print("/* Made by make_training.py: do not edit. */\n// clang-format off")
losses()
by_torch("nesterov", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True))
by_torch("adam", lambda p: torch.optim.Adam(p, lr=0.05))
lars(lr=2.0, trust=0.02, momentum=0.9, decay=0.1)
lamb(lr=0.05, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.1)
average(lr=0.05, decay=0.4)
schedules()
print("// clang-format on")
