"""Logits and image gradients of every family in PyTorch, and the names of all tensors, for tests/families.rs.

    python scripts/reference_families.py tests/data/families.json [family …]

With families only their cases are computed again, and the others stay as the file has them.

Networks are torchvision's and timm's; those that are in neither (the CIFAR ResNets of pytorch-cifar, the PreActResNets of
Wong and of Rice, the Wide ResNets of TRADES and of DeepMind) are written down here from their definitions. Weights come from
integer hashes of the tensors' names that the test makes again to the bit, so none of them is stored. Needs torch, torchvision,
timm and numpy, 8 GiB of memory, no network.
"""
from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Callable

import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from reference_vgg import numbers

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGES = 2
CLASSES = 10
ENTRIES = 24
"""Entries of a gradient that are written, evenly over the image."""
IMAGE, LOSS = 1 << 20, 1 << 21
"""Seeds of the images and of the loss."""


def seed_of(name: str) -> int:
    """FNV-1a of a tensor's name, 32 bits."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def values(name: str, shape: tuple[int, ...], gain: float) -> Tensor:
    """A tensor: weights as He et al. 2015 draw them, norms about `gain`, so that logits are of order 1 in any depth."""
    v = numbers(seed_of(name), int(np.prod(shape)))
    part = name.rsplit(".", 1)[-1]
    if part == "running_var":
        v = v * np.float32(0.5) + np.float32(1)
    elif part in ("gamma", "layer_scale") or (part == "weight" and len(shape) == 1):
        v = v * np.float32(0.25 * gain) + np.float32(gain)
    elif part == "weight":
        v = v * np.float32(np.sqrt(6 / int(np.prod(shape[1:]))))
    else:
        v = v * np.float32(0.125)
    return torch.from_numpy(v.reshape(shape))


class Residual(nn.Module):
    """A block of pytorch-cifar: two 3×3 convolutions, or a bottleneck, with batch norm behind each."""

    def __init__(self, inputs: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        sizes = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
        outputs, width = (4 if bottleneck else 1) * channels, inputs
        for i, (size, step) in enumerate(sizes, 1):
            after = outputs if i == len(sizes) else channels
            setattr(self, f"conv{i}", nn.Conv2d(width, after, size, step, size // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(after))
            width = after
        self.parts = len(sizes)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.parts + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.parts else y
        return F.relu(y + self.shortcut(x))


class PreActivated(nn.Module):
    """A block with batch norm and ReLU before each convolution; what its shortcut reads differs from author to author."""

    def __init__(self, inputs: int, channels: int, stride: int, activated: bool) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.activated = activated
        if stride != 1 or inputs != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, channels, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        before = F.relu(self.bn1(x))
        beside = x if not hasattr(self, "shortcut") else self.shortcut(before if self.activated else x)
        return self.conv2(F.relu(self.bn2(self.conv1(before)))) + beside


class Stages(nn.Module):
    """conv1, layer1 to layer4, linear: what both kinds of blocks are put into. At side 32 the map is averaged from 4×4."""

    def __init__(self, block: Callable[[int, int, int], nn.Module], blocks: tuple[int, ...], grow: int, norms: str,
                 first: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, first, 3, 1, 1, bias=False)
        self.norms, inputs = norms, first
        if norms == "first":
            self.bn1 = nn.BatchNorm2d(first)
        for stage, count in enumerate(blocks):
            channels, layers = first << stage, []
            for i in range(count):
                layers.append(block(inputs, channels, 2 if stage > 0 and i == 0 else 1))
                inputs = grow * channels
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        if norms == "last":
            self.bn = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = F.relu(self.bn1(x)) if self.norms == "first" else x
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = F.relu(self.bn(x)) if self.norms == "last" else x
        return self.linear(x.mean((2, 3)))


class WideBlock(nn.Module):
    """A block of a Wide ResNet under either form's names."""

    def __init__(self, inputs: int, channels: int, stride: int, deepmind: bool, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        names = ("batchnorm_0", "conv_0", "batchnorm_1", "conv_1", "shortcut")
        self.names = names if deepmind else ("bn1", "conv1", "bn2", "conv2", "convShortcut")
        padding = 0 if deepmind else 1
        parts = [nn.BatchNorm2d(inputs), nn.Conv2d(inputs, channels, 3, stride, padding, bias=False),
                 nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 3, 1, 1, bias=False)]
        if inputs != channels:
            parts.append(nn.Conv2d(inputs, channels, 1, stride, bias=False))
        for name, part in zip(self.names, parts):
            setattr(self, name, part)
        self.function, self.changes = function, inputs != channels
        # DeepMind's follows TensorFlow's padding: at stride 2 on an even side, on the right and below only
        self.pad = ((1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)) if deepmind else (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        norm0, conv0, norm1, conv1 = (getattr(self, name) for name in self.names[:4])
        before = self.function(norm0(x))
        beside = getattr(self, self.names[4])(before) if self.changes else x
        return conv1(self.function(norm1(conv0(F.pad(before, self.pad))))) + beside


class Group(nn.Module):
    """Blocks under the name that a form has for them."""

    def __init__(self, name: str, blocks: list[nn.Module]) -> None:
        super().__init__()
        setattr(self, name, nn.Sequential(*blocks))
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.name)(x)


class Wide(nn.Module):
    """A Wide ResNet in TRADES's or in DeepMind's form. At side 32 the map is averaged from 8×8."""

    def __init__(self, depth: int, width: int, deepmind: bool, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        channels, count = [16] + [k * width for k in (16, 32, 64)], (depth - 4) // 6
        groups = []
        for stage in range(3):
            inputs, outputs = channels[stage:stage + 2]
            blocks = [WideBlock(inputs if i == 0 else outputs, outputs, 2 if stage > 0 and i == 0 else 1, deepmind, function)
                      for i in range(count)]
            groups.append(Group("block" if deepmind else "layer", blocks))
        stem, norm, head = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(channels[3]), nn.Linear(channels[3], CLASSES)
        if deepmind:
            self.init_conv, self.layer, self.batchnorm, self.logits = stem, nn.Sequential(*groups), norm, head
        else:
            self.conv1, self.bn1, self.fc = stem, norm, head
            self.block1, self.block2, self.block3 = groups
        self.deepmind, self.function = deepmind, function

    def forward(self, x: Tensor) -> Tensor:
        if self.deepmind:
            return self.logits(self.function(self.batchnorm(self.layer(self.init_conv(x)))).mean((2, 3)))
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.function(self.bn1(x)).mean((2, 3)))


def cifar(name: str) -> nn.Module:
    """A ResNet of torchvision with a first convolution of 3×3 and no pool."""
    model = getattr(torchvision.models, name)(num_classes=CLASSES)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return model


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DenseNet's tensors as torchvision's files name them: `norm.1` for `norm1`."""
    parts = [(part + k, f"{part}.{k}") for part in ("norm", "conv") for k in "12"]
    def renamed(name: str) -> str:
        for new, old in parts:
            name = name.replace(f".{new}.", f".{old}.") if "denselayer" in name else name
        return name
    return {renamed(name): tensor for name, tensor in state.items()}


class Case:
    """A network to compare: a family, the lines of its model file that are its own, and how PyTorch makes it."""

    def __init__(self, family: str, side: int, make: Callable[..., nn.Module], gain: float = 0.5, **own: object) -> None:
        self.family, self.side, self.make, self.gain, self.own = family, side, make, gain, own


def of_torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(num_classes=CLASSES)


def of_timm(name: str, **more: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, pretrained=False, num_classes=CLASSES, **more)


def stages(depth: int, first: int = 64) -> Callable[[], nn.Module]:
    blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]
    grow = 4 if depth == 50 else 1
    return lambda: Stages(lambda i, c, s: Residual(i, c, s, depth == 50), blocks, grow, "first", first)


def preact(activated: bool, norms: str) -> Callable[[], nn.Module]:
    return lambda: Stages(lambda i, c, s: PreActivated(i, c, s, activated), (2, 2, 2, 2), 1, norms)


def cases() -> list[Case]:
    """Every family, small images where it is large."""
    made = []
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"):
        made.append(Case(name, 64, of_torchvision(name), keys="torchvision"))
    made.append(Case("resnet50", 65, of_timm("resnet50"), keys="timm"))
    for depth in (18, 34, 50):
        made.append(Case(f"resnet{depth}_cifar", 32 if depth == 18 else 16, lambda d=depth: cifar(f"resnet{d}"), keys="torchvision"))
        made.append(Case(f"resnet{depth}_cifar", 32 if depth == 18 else 16, stages(depth), keys="pytorch-cifar"))
    made.append(Case("resnet18_cifar", 32, stages(18, 16), keys="pytorch-cifar", width=0.25))
    made.append(Case("preact_resnet18", 32, preact(True, "last")))
    made.append(Case("preact_resnet18", 32, preact(False, "last"), shortcut="input"))
    made.append(Case("preact_resnet18", 32, preact(False, "none"), shortcut="input"))
    for depth, width in ((28, 10), (34, 10), (34, 20), (70, 16)):
        side, name = (16 if width == 10 else 8), f"wide_resnet{depth}_{width}"
        made.append(Case(name, side, lambda d=depth, w=width: Wide(d, w, False, F.relu)))
        made.append(Case(f"dm_{name}", side, lambda d=depth, w=width: Wide(d, w, True, F.silu)))
    made.append(Case("dm_wide_resnet28_10", 16, lambda: Wide(28, 10, True, F.relu), activation="relu"))
    made.append(Case("densenet121", 64, of_torchvision("densenet121"), 0.7, keys="torchvision"))
    made.append(Case("densenet121", 64, of_timm("densenet121"), 0.7, keys="timm"))
    made.append(Case("mobilenet_v2", 64, of_torchvision("mobilenet_v2"), 0.7))
    made.append(Case("mobilenetv2_100", 65, of_timm("mobilenetv2_100"), 0.7))
    for size in ("tiny", "small", "base"):
        for kind in ("vit", "deit"):
            name = f"{kind}_{size}_patch16_224"
            made.append(Case(name, 64, of_timm(name, img_size=64)))
        name = f"convnext_{size}"
        made.append(Case(name, 64, of_timm(name), keys="timm"))
        made.append(Case(name, 64, of_torchvision(name), keys="torchvision"))
    return made


def further() -> list[Case]:
    """Names that the cases leave out, of which only the tensors are compared."""
    made = []
    for name in ("wide_resnet101_2", "resnext101_32x8d", "densenet161", "densenet169", "densenet201"):
        made += [Case(name, 0, of_torchvision(name), keys="torchvision"), Case(name, 0, of_timm(name), keys="timm")]
    for name in ("resnet18", "resnet34", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"):
        made.append(Case(name, 0, of_timm(name), keys="timm"))
    for depth in (101, 152):
        made.append(Case(f"resnet{depth}_cifar", 0, lambda d=depth: cifar(f"resnet{d}"), keys="torchvision"))
    for depth in (11, 13, 16, 19):
        for norm in ("", "_bn"):
            name = f"vgg{depth}{norm}"
            made += [Case(name, 0, of_torchvision(name), keys="torchvision"), Case(name, 0, of_timm(name), keys="timm")]
    return made + [Case("squeezenet1_0", 0, of_torchvision("squeezenet1_0"))]


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 of the sorted lines `name [sizes]`."""
    lines = sorted(f"{name} {list(tensor.shape)}\n" for name, tensor in state.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def gradient_of(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of images in [0,1], and the gradient with respect to the images of a fixed combination of the logits."""
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    x = x.clone().requires_grad_()
    logits = model((x - mean) / std)
    loss = (logits * torch.from_numpy(numbers(LOSS, CLASSES)).double()).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    return logits.detach(), gradient.flatten(1)


def is_smooth(model: nn.Module, x: Tensor, gradient: Tensor) -> bool:
    """Whether no ReLU and no pool of it is so near its kink that rounding to 24 bits decides the gradient."""
    generator = torch.Generator().manual_seed(0)
    nudged = x + 4e-7 * torch.randn((4, *x.shape[1:]), dtype=torch.float64, generator=generator)
    return bool((gradient_of(model, nudged)[1] - gradient).abs().max() < 5e-5 * gradient.abs().max())


def compute(case: Case) -> dict[str, object]:
    """Logits and gradients of images, in double precision, one image at a time."""
    model = case.make()
    state = tensors(model)
    filled = {name: values(name, tuple(tensor.shape), case.gain).double() for name, tensor in state.items()}
    model = model.double().eval().requires_grad_(False)
    missing, unexpected = model.load_state_dict(filled, strict=False)
    assert not unexpected and all("num_batches" in key for key in missing), (missing, unexpected)
    every = 3 * case.side**2 // ENTRIES
    number = lambda v: float(f"{float(v):.8g}")
    images: list[dict[str, object]] = []
    seed = IMAGE
    while len(images) < IMAGES:
        pixels = torch.from_numpy(numbers(seed, 3 * case.side**2).reshape(1, 3, case.side, case.side)).double() / 2 + 0.5
        logits, gradient = gradient_of(model, pixels)
        if is_smooth(model, pixels, gradient):
            images.append({
                "seed": seed, "logits": [number(z) for z in logits[0]], "gradient": [number(g) for g in gradient[0, ::every]],
                "norm": number(gradient.norm()), "largest": number(gradient.abs().max()),
            })
        seed += 1
    print(f"{case.family} {case.own}: {seed - IMAGE} images, logits to {float(logits.abs().max()):.2g}", flush=True)
    return {
        "family": case.family, "own": case.own, "side": case.side, "gain": case.gain, "tensors": len(state),
        "names": digest(state), "every": every, "images": images,
    }


def main() -> None:
    torch.set_num_threads(2)
    path, wanted = Path(sys.argv[1]), sys.argv[2:]
    all_cases = cases()
    there = json.loads(path.read_text())["cases"] if wanted else [None] * len(all_cases)
    assert [c.family for c in all_cases] == [t["family"] for t in there if t] or not wanted, "the cases of the file are others"
    found = [old if wanted and case.family not in wanted else compute(case) for case, old in zip(all_cases, there)]
    with torch.device("meta"):
        named = [{"family": c.family, "own": c.own, "names": digest(tensors(c.make()))} for c in further()]
    old = digest(old_names(tensors(torchvision.models.densenet121(num_classes=CLASSES))))
    versions = {module.__name__: str(module.__version__) for module in (torch, torchvision, timm, np)}
    result = {"versions": versions, "classes": CLASSES, "mean": MEAN, "std": STD, "densenet121 of older files": old, "cases": found, "named": named}
    text = json.dumps(result, indent=1)
    # arrays of numbers on one line
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", text)
    path.write_text(text + "\n")


if __name__ == "__main__":
    main()
