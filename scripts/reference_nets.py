"""The two reference nets and their pictures in PyTorch, for the other reference_*.py.

DATA is the folder of the project's data (its README.md describes it): `models/*.safetensors`, `cifar10/test.bin`,
`imagenet/`. Needs torch, torchvision, safetensors and numpy.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

VGG11_HALF = (32, "M", 64, "M", 128, 128, "M", 256, 256, "M", 256, 256, "M")


class Net(nn.Module):
    """A torchvision-style net on pixels in [0,1]: normalisation, `features`, `classifier`."""

    def __init__(self, features: nn.Module, classifier: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1), persistent=False)

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(self.normalise(x)))


def load(net: Net, file: Path, dtype: torch.dtype) -> Net:
    """The net with a file's weights, in `dtype`, for inference."""
    missing, unexpected = net.load_state_dict({k: v.double() for k, v in load_file(file).items()}, strict=False)
    if unexpected or any("num_batches_tracked" not in key for key in missing):
        raise SystemExit(f"{file}: missing {missing}, unexpected {unexpected}")
    return net.to(dtype).eval().requires_grad_(False)


def vgg11_half(data: Path, dtype: torch.dtype = torch.float32) -> Net:
    """The half-width VGG-11 with batch norm for CIFAR-10."""
    layers: list[nn.Module] = []
    width = 3
    for step in VGG11_HALF:
        if step == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(width, step, 3, padding=1), nn.BatchNorm2d(step), nn.ReLU()]
            width = step
    # the file calls the linear layer `classifier`; the flattening has no weights and goes to the end of `features`
    net = Net(nn.Sequential(*layers, nn.Flatten()), nn.Linear(width, 10), [0.4914, 0.4822, 0.4465],
              [0.2470, 0.2435, 0.2616])
    return load(net.double(), data / "models" / "vgg11-half-cifar10.safetensors", dtype)


def squeezenet(data: Path, dtype: torch.dtype = torch.float32) -> Net:
    """torchvision's SqueezeNet 1.0; its classifier is dropout, 1x1 convolution, ReLU, mean over all positions."""
    inner = torchvision.models.squeezenet1_0()
    net = Net(inner.features, nn.Sequential(*inner.classifier, nn.Flatten()), [123 / 255, 117 / 255, 104 / 255],
              [1 / 255] * 3)
    return load(net.double(), data / "models" / "squeezenet1_0-imagenet.safetensors", dtype)


def cifar10_test(data: Path, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in [0,1] and labels. A record is one label byte, then 3,072 pixel bytes, channel first."""
    records = np.fromfile(data / "cifar10" / "test.bin", dtype=np.uint8).reshape(-1, 3073)
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32)).to(dtype) / 255
    return images, torch.from_numpy(records[:, 0].astype(np.int64))


def versions(*modules: object) -> dict[str, str]:
    return {module.__name__: str(module.__version__) for module in (torch, torchvision, np, *modules)}
