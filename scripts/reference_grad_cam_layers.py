#!/usr/bin/env python3
"""Writes Grad-CAM maps of many layers of small random nets as PyTorch computes them in float64, for tests/explain.rs.

    python scripts/reference_grad_cam_layers.py tests/data/grad_cam_layers.json

Three nets: VGG-11 with and without batch norm at an eighth of its width, 32 pixels, and SqueezeNet 1.0 on 64 pixels; ten
classes. Their modules are named as torchvision names them. Weights and images come from integer hashes that the test makes
again to the bit (scripts/reference_vgg.py has the same). A is what a forward hook sees of the module of that name; all else
is as in scripts/reference_grad_cam.py. Needs torch and numpy, no network.
"""
from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

CLASSES, IMAGES, DIGITS = 10, 3, 9
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGE = 1 << 20
"""Seed of the first image; tensors count from 0."""
LAYERS = {
    "vgg11": [3, 6, 9, 10, 11, 14, 15, 18, 19],
    "vgg11_bn": [5, 10, 14, 19, 20, 21, 27],
    "squeezenet1_0": [2, 5, 6, 7, "8.squeeze", "9.squeeze_activation", "9.expand1x1", "10.expand3x3_activation", 11, 12],
}


def numbers(seed: int, n: int) -> np.ndarray:
    """n numbers in [-1, 1), multiples of 2^-23, which float32 holds exactly."""
    h = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(seed * 0x85EBCA77 & 0xFFFFFFFF)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    h ^= h >> np.uint32(15)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def fill(net: nn.Module) -> nn.Module:
    """The net with our numbers, in float64: the n-th tensor has seed n, counters of the training apart."""
    state = {k: v for k, v in net.state_dict().items() if "num_batches" not in k}
    norms = {k.removesuffix("running_mean") for k in state if k.endswith("running_mean")}
    for seed, (name, tensor) in enumerate(state.items()):
        v, part = numbers(seed, tensor.numel()), name.rsplit(".", 1)[1]
        if part == "running_var":
            v = v * np.float32(0.5) + np.float32(1)
        elif part == "weight" and name.removesuffix("weight") in norms:
            v = v * np.float32(0.25) + np.float32(1)
        elif part == "weight":
            v = v * np.float32(np.sqrt(6 / np.prod(tensor.shape[1:])))
        else:
            v = v * np.float32(0.125)
        state[name] = torch.from_numpy(v.reshape(tensor.shape))
    net.load_state_dict(state, strict=False)
    return net.double().eval().requires_grad_(False)


class Net(nn.Module):
    """torchvision's shape: features, classifier."""

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x)).flatten(1)


def vgg11(batch_norm: bool) -> Net:
    layers: list[nn.Module] = []
    channels = 3
    for step in (8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"):
        if step == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers.append(nn.Conv2d(channels, step, 3, padding=1))
            layers += [nn.BatchNorm2d(step), nn.ReLU()] if batch_norm else [nn.ReLU()]
            channels = step
    # the linear layer is called `classifier` in the file, as ours are
    net = Net(nn.Sequential(*layers), nn.Linear(64, CLASSES))
    net.forward = lambda x: net.classifier(net.features(x).flatten(1))
    return net


class Fire(nn.Module):
    """torchvision.models.squeezenet.Fire."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze, self.squeeze_activation = nn.Conv2d(inputs, squeeze, 1), nn.ReLU()
        self.expand1x1, self.expand1x1_activation = nn.Conv2d(squeeze, expand, 1), nn.ReLU()
        self.expand3x3, self.expand3x3_activation = nn.Conv2d(squeeze, expand, 3, padding=1), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat([self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))], 1)


def squeezenet() -> Net:
    pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)  # noqa: E731
    features = nn.Sequential(
        nn.Conv2d(3, 96, 7, 2), nn.ReLU(), pool(), Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), pool(),
        Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), pool(), Fire(512, 64, 256))
    return Net(features, nn.Sequential(nn.Dropout(), nn.Conv2d(512, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)))


def maps(net: nn.Module, side: int, wanted: list[str]) -> dict[str, object]:
    """By layer, the maps of the predicted class of each image, row by row."""
    seen: dict[str, torch.Tensor] = {}
    for name, module in net.named_modules():
        if name in wanted:
            # the net goes on from a value that asks for its gradient
            def keep(module: nn.Module, inputs: object, output: torch.Tensor, name: str = name) -> torch.Tensor:
                seen[name] = output.requires_grad_(True) if output.is_leaf else output
                return seen[name]
            module.register_forward_hook(keep)
    images = np.stack([numbers(IMAGE + k, 3 * side * side).reshape(3, side, side) for k in range(IMAGES)])
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    x = ((torch.from_numpy(images).double() / 2 + 0.5 - mean) / std).requires_grad_(True)
    logits = net(x)
    top = logits.topk(2)
    gradients = torch.autograd.grad(top.values[:, 0].sum(), [seen[name] for name in wanted])
    layers = {}
    for name, gradient in zip(wanted, gradients):
        alpha = gradient.mean((2, 3))
        found = torch.einsum("nk,nkij->nij", alpha, seen[name]).relu()
        layers[name] = {"side": found.shape[-1], "maps": [[float(f"{v:.{DIGITS}g}") for v in m.flatten().tolist()]
                                                          for m in found.detach()]}
    margins = (top.values[:, 0] - top.values[:, 1]).tolist()
    print(f"classes {top.indices[:, 0].tolist()}, least margin {min(margins):.3g}, all-zero maps "
          f"{sum(max(m) == 0 for layer in layers.values() for m in layer['maps'])}")
    return {"side": side, "classes": top.indices[:, 0].tolist(), "layers": layers}


def main() -> None:
    nets = {"vgg11": (vgg11(False), 32), "vgg11_bn": (vgg11(True), 32), "squeezenet1_0": (squeezenet(), 64)}
    found = {}
    for name, (net, side) in nets.items():
        wanted = [f"features.{layer}" for layer in LAYERS[name]]
        wanted += ["classifier.1", "classifier.2"] if name == "squeezenet1_0" else []
        found[name] = maps(fill(net), side, wanted)
    document = {"made_by": "scripts/reference_grad_cam_layers.py", "dtype": "float64",
                "versions": {m.__name__: str(m.__version__) for m in (torch, np)}, "nets": found}
    text = re.sub(r"\[([-+.,e\d\s]+)\]", lambda m: "[" + " ".join(m[1].split()) + "]", json.dumps(document, indent=1))
    Path(sys.argv[1]).write_text(text + "\n")


if __name__ == "__main__":
    main()
