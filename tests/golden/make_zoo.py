#!/usr/bin/env python3
"""Models of the zoo in PyTorch, in f64, for tests/test_zoo_values.c: number of parameters, and the loss before and after
one step of SGD from parameters, inputs and targets that a formula gives (fill below; fill_values there). Modules are named
so that parameters have the zoo's names. Written with PyTorch 1.13 (Debian's python3-torch).

    python3 tests/golden/make_zoo.py > tests/golden/zoo.h
"""
import math
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
BATCH, LR = 2, 0.001


def fill(model):
    """Element i of a parameter: digits of a sine that look random, h from its name; weights over the square root of their
    fan-in, those of norms around 1, biases small."""
    for name, p in model.named_parameters():
        h = sum(name.encode()) % 97 / 7
        wave = torch.sin(torch.arange(p.numel()) * 12.9898 + h) * 43758.5453
        wave = (2 * (wave - torch.floor(wave)) - 1).reshape(p.shape)
        if p.dim() > 1:
            wave = wave * math.sqrt(6 / (p.numel() / p.shape[0]))
        elif name.endswith("weight"):
            wave = 1 + 0.1 * wave
        else:
            wave = 0.1 * wave
        p.data.copy_(wave)


class Net(nn.Module):
    """Named layers one behind the other."""

    def __init__(self, layers):
        super().__init__()
        self.row = []
        for name, layer in layers:
            if name:
                put(self, name, layer)
            self.row.append(layer)

    def forward(self, x):
        for layer in self.row:
            x = layer(x)
        return x


def put(root, name, layer):
    """Adds a module under a name with dots."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    root.add_module(last, layer)


def mlp(*width, activation=nn.ReLU):
    layers = [(None, nn.Flatten())]
    for i, (a, b) in enumerate(zip(width, width[1:])):
        layers += [(f"fc{i + 1}", nn.Linear(a, b)), (None, activation())]
    return Net(layers[:-1])


def cnn():
    return Net([("conv1", nn.Conv2d(1, 32, 3, padding=1)), (None, nn.ReLU()), (None, nn.MaxPool2d(2)),
                ("conv2", nn.Conv2d(32, 64, 3, padding=1)), (None, nn.ReLU()), (None, nn.MaxPool2d(2)),
                (None, nn.Flatten()), ("fc1", nn.Linear(256, 128)), (None, nn.ReLU()), ("fc2", nn.Linear(128, 10))])


class Residual(nn.Module):
    """A block of a residual net: convolutions of these kernels, each with batch norm."""

    def __init__(self, i, sizes, kernels, stride):
        super().__init__()
        strides = [1] * len(kernels)
        strides[kernels.index(3)] = stride
        self.n, c = len(kernels), i
        for k, (o, kernel) in enumerate(zip(sizes, kernels)):
            self.add_module(f"conv{k + 1}", nn.Conv2d(c, o, kernel, strides[k], kernel // 2, bias=False))
            self.add_module(f"bn{k + 1}", nn.BatchNorm2d(o))
            c = o
        self.downsample = nn.Sequential() if stride == 1 and i == c else nn.Sequential(
            nn.Conv2d(i, c, 1, stride, bias=False), nn.BatchNorm2d(c))

    def forward(self, x):
        y = x
        for k in range(self.n):
            y = getattr(self, f"bn{k + 1}")(getattr(self, f"conv{k + 1}")(F.relu(y) if k else y))
        return F.relu(y + self.downsample(x))


def resnet(blocks, bottleneck, small, classes):
    stem = nn.Conv2d(3, 64, 3, 1, 1, bias=False) if small else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    layers = [("conv1", stem), ("bn1", nn.BatchNorm2d(64)), (None, nn.ReLU())]
    layers += [] if small else [(None, nn.MaxPool2d(3, 2, 1))]
    i = 64
    for stage, n in enumerate(blocks):
        w = 64 << stage
        sizes, kernels = ((w, w, 4 * w), (1, 3, 1)) if bottleneck else ((w, w), (3, 3))
        for b in range(n):
            layers.append((f"layer{stage + 1}.{b}", Residual(i, sizes, kernels, 2 if stage and b == 0 else 1)))
            i = sizes[-1]
    return Net(layers + [(None, nn.AdaptiveAvgPool2d(1)), (None, nn.Flatten()), ("fc", nn.Linear(i, classes))])


def vgg(stages, norm, width, classes):
    """torchvision's, with fully connected layers of another width."""
    layers, i, place = [], 3, 0
    for stage, n in enumerate(stages):
        o = min(64 << stage, 512)
        for _ in range(n):
            layers.append((f"features.{place}", nn.Conv2d(i, o, 3, padding=1)))
            if norm:
                layers.append((f"features.{place + 1}", nn.BatchNorm2d(o)))
            layers.append((None, nn.ReLU()))
            i, place = o, place + 2 + norm
        layers.append((None, nn.MaxPool2d(2)))
        place += 1
    layers += [(None, nn.AdaptiveAvgPool2d(7)), (None, nn.Flatten()), ("classifier.0", nn.Linear(512 * 49, width)),
               (None, nn.ReLU()), ("classifier.3", nn.Linear(width, width)), (None, nn.ReLU()),
               ("classifier.6", nn.Linear(width, classes))]
    return Net(layers)


class ResMLP(nn.Module):
    def __init__(self, inputs, width, depth, outputs):
        super().__init__()
        self.stem, self.head = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList()
        for _ in range(depth):
            self.blocks.append(nn.ModuleDict({"fc1": nn.Linear(width, width), "fc2": nn.Linear(width, width)}))

    def forward(self, x):
        x = self.stem(x.flatten(1))
        for b in self.blocks:
            x = x + b["fc2"](F.relu(b["fc1"](x)))
        return self.head(F.relu(x))


def autoencoder(inputs, widths):
    layers, shape = [(None, nn.Flatten())], inputs
    down = [math.prod(shape), *widths]
    for part, w in (("encoder", down), ("decoder", down[::-1])):
        for i, (a, b) in enumerate(zip(w, w[1:])):
            layers += [(f"{part}.fc{i + 1}", nn.Linear(a, b))] + ([(None, nn.ReLU())] if i + 2 < len(w) else [])
    return Net(layers + [(None, nn.Unflatten(1, shape))])


def conv_autoencoder(channels, width, depth):
    layers, i = [], channels
    for k in range(depth):
        layers += [(f"encoder.conv{k + 1}", nn.Conv2d(i, width << k, 3, 2, 1)), (None, nn.ReLU())]
        i = width << k
    for k in range(depth):
        o = width << (depth - 2 - k) if k + 1 < depth else channels
        layers += [(f"decoder.transpose{k + 1}", nn.ConvTranspose2d(i, o, 2, 2)), (None, nn.ReLU())]
        i = o
    return Net(layers[:-1])


def cosmo(size, width, depth):
    layers, i = [], 4
    for k in range(depth):
        o = width << k
        layers += [(f"conv{k + 1}", nn.Conv3d(i, o, 3, padding=1)), (None, nn.LeakyReLU(0.3)), (None, nn.MaxPool3d(2))]
        i = o
    layers += [(None, nn.Flatten()), ("fc1", nn.Linear(i * (size >> depth) ** 3, 128)), (None, nn.LeakyReLU(0.3)),
               ("fc2", nn.Linear(128, 64)), (None, nn.LeakyReLU(0.3)), ("fc3", nn.Linear(64, 4))]
    return Net(layers)


class UNet(nn.Module):
    def __init__(self, spatial, channels, width, depth, classes, norm):
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[spatial - 2]
        back = (nn.ConvTranspose2d, nn.ConvTranspose3d)[spatial - 2]
        bn = (nn.BatchNorm2d, nn.BatchNorm3d)[spatial - 2]
        self.pool, self.depth, self.norm = (nn.MaxPool2d, nn.MaxPool3d)[spatial - 2](2), depth, norm

        def block(name, i, o):
            for k in (1, 2):
                put(self, f"{name}.conv{k}", conv(i if k == 1 else o, o, 3, padding=1, bias=not norm))
                if norm:
                    put(self, f"{name}.bn{k}", bn(o))

        i = channels
        for d in range(depth):
            block(f"down{d + 1}", i, width << d)
            i = width << d
        block("bottom", i, width << depth)
        for d in reversed(range(depth)):
            block(f"up{d + 1}", 2 * (width << d), width << d)
            put(self, f"up{d + 1}.transpose", back(width << (d + 1), width << d, 2, 2))
        self.head = conv(width, classes, 1)

    def convs(self, name, x):
        m = getattr(self, name)
        for k in (1, 2):
            x = getattr(m, f"conv{k}")(x)
            x = F.relu(getattr(m, f"bn{k}")(x) if self.norm else x)
        return x

    def forward(self, x):
        skips = []
        for d in range(self.depth):
            skips.append(self.convs(f"down{d + 1}", x))
            x = self.pool(skips[-1])
        x = self.convs("bottom", x)
        for d in reversed(range(self.depth)):
            x = getattr(self, f"up{d + 1}").transpose(x)
            x = self.convs(f"up{d + 1}", torch.cat([skips[d], x], 1))
        return self.head(x)


def count(model):
    return sum(p.numel() for p in model.parameters())


def losses(model, shape, classes):
    """classes 0: values; else of each position."""
    fill(model)
    x = torch.sin(0.7 * torch.arange(BATCH * math.prod(shape))).reshape(BATCH, *shape)
    found = []
    for _ in range(2):
        y = model(x)
        if classes:
            t = torch.arange(y.numel() // classes).reshape(BATCH, *y.shape[2:]) * 7 % classes
            loss = F.cross_entropy(y, t)
        else:
            loss = F.mse_loss(y, torch.cos(0.3 * torch.arange(y.numel())).reshape(y.shape))
        found.append(loss.item())
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= LR * p.grad
    return found


ROWS = OrderedDict(
    mlp=(lambda: mlp(12, 16, 8, 5), (12,), 5),
    cnn=(cnn, (1, 8, 8), 10),
    surrogate=(lambda: mlp(8, 64, 64, 64, 3), (8,), 0),
    resnet18=(lambda: resnet((2, 2, 2, 2), False, True, 10), (3, 16, 16), 10),
    resnet50=(lambda: resnet((3, 4, 6, 3), True, True, 10), (3, 16, 16), 10),
    vgg11=(lambda: vgg((1, 1, 2, 2, 2), 1, 16, 10), (3, 32, 32), 10),
    vgg16=(lambda: vgg((2, 2, 3, 3, 3), 0, 16, 10), (3, 32, 32), 10),
    resmlp=(lambda: ResMLP(6, 8, 2, 3), (6,), 0),
    autoencoder=(lambda: autoencoder((1, 4, 4), (8, 3)), (1, 4, 4), 0),
    conv_autoencoder=(lambda: conv_autoencoder(1, 4, 2), (1, 8, 4), 0),
    cosmo=(lambda: cosmo(8, 4, 2), (4, 8, 8, 8), 0),
    cosmoflow=(lambda: cosmo(16, 2, 4), (4, 16, 16, 16), 0),
    unet=(lambda: UNet(2, 3, 4, 2, 3, True), (3, 16, 8), 3),
    unet3d=(lambda: UNet(3, 1, 2, 2, 2, False), (1, 8, 4, 8), 0),
)

PUBLISHED = {  # of the models as they come
    "resnet18 (ImageNet)": resnet((2, 2, 2, 2), False, False, 1000),
    "vgg16 (ImageNet)": vgg((2, 2, 3, 3, 3), 0, 4096, 1000),
    "unet": UNet(2, 3, 64, 4, 1, True),
}

if __name__ == "__main__":
    print(f"/* Models in PyTorch: written by tests/golden/make_zoo.py.\n * PyTorch {torch.__version__}")
    for name, model in PUBLISHED.items():
        print(f" * {name}: {count(model)} parameters")
    print(" * name, parameters, loss, loss after one step */\n/* clang-format off */")
    print("static const zoo_golden golden[] = {")
    for name, (make, shape, classes) in ROWS.items():
        model = make()
        a, b = losses(model, shape, classes)
        print(f'    {{"{name}", {count(model)}, {a:.9g}, {b:.9g}}},')
    print("};\n/* clang-format on */")
