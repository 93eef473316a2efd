"""Logits of all eight VGGs of timm and of torchvision, and small weight files as PyTorch writes them, for tests/vgg.rs and
tests/pickle.rs.

    python scripts/reference_vgg.py tests/data

Writes `vgg_logits.json` and `weights/*.pth`. Weights and image come from integer hashes that the tests make again to the
bit, so none of the 140 million numbers is stored. Needs torch, torchvision, timm and numpy, 8 GiB of memory, no network.
"""
from __future__ import annotations

import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Callable

import numpy as np
import timm
import torch
import torchvision

NAMES = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
EVERY = 10
"""Every tenth logit is written."""
IMAGE = 1 << 20
"""Seed of the image; tensors count from 0."""


def numbers(seed: int, n: int) -> np.ndarray:
    """n numbers in [-1, 1), multiples of 2^-23, which float32 holds exactly."""
    h = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(seed * 0x85EBCA77 & 0xFFFFFFFF)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    h ^= h >> np.uint32(15)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def values(kind: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """A tensor: weights as He et al. 2015 draw them, so that logits stay near 1 in any depth."""
    v = numbers(seed, int(np.prod(shape)))
    fan_in = int(np.prod(shape[1:]))
    made = {
        "weight": lambda: v * np.float32(np.sqrt(6 / fan_in)),
        "bias": lambda: v * np.float32(0.125),
        "scale": lambda: v * np.float32(0.25) + np.float32(1),
        "variance": lambda: v * np.float32(0.5) + np.float32(1),
    }[kind]()
    return torch.from_numpy(made.reshape(shape))


def fill(state: dict[str, torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
    """The same state dict with our numbers; the n-th tensor has seed n, counters of the training apart."""
    filled: OrderedDict[str, torch.Tensor] = OrderedDict()
    names = [name for name in state if "num_batches" not in name]
    norms = {name.removesuffix("running_mean") for name in names if name.endswith("running_mean")}
    for seed, name in enumerate(names):
        part = name.rsplit(".", 1)[1]
        kind = {"weight": "weight", "running_var": "variance"}.get(part, "bias")
        if part == "weight" and name.removesuffix("weight") in norms:
            kind = "scale"
        filled[name] = values(kind, tuple(state[name].shape), seed)
    return filled


def logits(model: torch.nn.Module, side: int) -> torch.Tensor:
    """Of the one image, in double precision."""
    filled = fill(model.state_dict())
    missing, unexpected = model.load_state_dict(filled, strict=False)
    assert not unexpected and all("num_batches" in key for key in missing), (missing, unexpected)
    x = torch.from_numpy(numbers(IMAGE, 3 * side * side).reshape(1, 3, side, side)).double() / 2 + 0.5
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        return model.double().eval()((x - mean) / std)[0]


def reference() -> dict[str, object]:
    """Every tenth logit of each net; timm and torchvision must agree."""
    found: dict[str, list[float]] = {}
    for name in NAMES:
        ours = logits(timm.create_model(f"{name}.tv_in1k", pretrained=False), 224)
        other = logits(getattr(torchvision.models, name)(), 224)
        difference = float((ours - other).abs().max())
        print(f"{name}: largest logit {float(ours.abs().max()):.3f}, timm and torchvision differ by {difference:.1e}")
        assert difference < 1e-9
        found[name] = [round(float(v), 9) for v in ours[::EVERY]]
    versions = {module.__name__: str(module.__version__) for module in (torch, torchvision, timm, np)}
    return {"versions": versions, "every": EVERY, "side": 224, "mean": MEAN, "std": STD, "logits": found}


class Small(torch.nn.Module):
    """VGG-11 at 1/64 of its width for CIFAR-10."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[torch.nn.Module] = []
        channels = 3
        for step in (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"):
            if step == "M":
                layers.append(torch.nn.MaxPool2d(2))
            else:
                layers += [torch.nn.Conv2d(channels, step, 3, padding=1), torch.nn.ReLU()]
                channels = step
        self.features, self.classifier = torch.nn.Sequential(*layers), torch.nn.Linear(8, 10)


def pickles() -> dict[str, Callable[[Path], None]]:
    """What people save: file, and how."""
    small = Small()
    small.load_state_dict(fill(small.state_dict()))
    state = small.state_dict()
    last = OrderedDict((k, v.to(memory_format=torch.channels_last) if v.dim() == 4 else v) for k, v in state.items())
    whole = torch.cat([v.flatten() for v in state.values()])
    views, at = OrderedDict(), 0
    for k, v in state.items():
        views[k] = whole[at:at + v.numel()].view(v.shape)
        at += v.numel()
    parallel = {"epoch": 3, "net": {f"module.{k}": torch.nn.Parameter(v) for k, v in state.items()}, "acc": 93.1}
    trained = {"optimizer": {"state": {}, "lr": 0.1}, "state_dict": {**state, "features.1.num_batches_tracked":
                                                                     torch.tensor(7)}}
    return {
        "flat": lambda p: torch.save(state, p),
        "state_dict": lambda p: torch.save(trained, p),
        "parallel": lambda p: torch.save(parallel, p),
        "channels_last": lambda p: torch.save(last, p),
        "views": lambda p: torch.save(views, p),
        "half": lambda p: torch.save(OrderedDict((k, v.half()) for k, v in state.items()), p),
        "legacy": lambda p: torch.save(state, p, _use_new_zipfile_serialization=False),
        "module": lambda p: torch.save(small, p),
        "integers": lambda p: torch.save({"features.0.weight": torch.ones(1, 3, 3, 3, dtype=torch.int32)}, p),
    }


def main() -> None:
    data = Path(sys.argv[1])
    torch.set_num_threads(2)
    for name, save in pickles().items():
        save(data / "weights" / f"{name}.pth")
    (data / "vgg_logits.json").write_text(json.dumps(reference(), indent=1) + "\n")


if __name__ == "__main__":
    main()
