#!/usr/bin/env python3
"""The recipes `standard` and `fast-at` of `foolproof train` in PyTorch, written from the papers, to hold ours against.

    python scripts/reference_training.py --data DATA --recipe fast-at --epochs 30 --out FOLDER
    python scripts/reference_training.py --time          # milliseconds a step, for docs/performance.md

DATA has cifar10/train.bin. FOLDER gets NAME.safetensors and NAME.toml, a model that a sweep takes: both networks are then judged by
the same AutoAttack. Network: ResNet for CIFAR (3x3 stem, no pool) of 64*width channels, tensor names of torchvision.
"""

import argparse
import pathlib
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)) if changes else None
        )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self, width, classes=10):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.2470, 0.2435, 0.2616]).view(1, 3, 1, 1), persistent=False)
        channels = [int(64 * width * k) for k in (1, 2, 4, 8)]
        self.conv1 = nn.Conv2d(3, channels[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        before = channels[0]
        for stage, outputs in enumerate(channels, 1):
            stride = 1 if stage == 1 else 2
            setattr(self, f"layer{stage}", nn.Sequential(Block(before, outputs, stride), Block(outputs, outputs, 1)))
            before = outputs
        self.fc = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def augmented(images):
    """Crop of 4 and flip, each image's own."""
    n, side = len(images), images.shape[-1]
    padded = F.pad(images, (4, 4, 4, 4))
    down, across = torch.randint(0, 9, (n, 1)), torch.randint(0, 9, (n, 1))
    rows, columns = down + torch.arange(side), across + torch.arange(side)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def within(delta, x, eps):
    return torch.max(torch.min(delta.clamp(-eps, eps), 1 - x), -x)


def step_of(net, optimiser, x, y, recipe, eps, alpha):
    """One step of the optimiser; network in training mode for both passes (Wong et al. 2020)."""
    if recipe == "fast-at":
        delta = within(torch.empty_like(x).uniform_(-eps, eps), x, eps).requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(x + delta), y), delta)
        x = x + within(delta.detach() + alpha * gradient.sign(), x, eps)
    optimiser.zero_grad()
    loss = F.cross_entropy(net(x), y)
    loss.backward()
    optimiser.step()
    return loss.item()


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)


def train(options):
    raw = np.fromfile(options.data / "cifar10/train.bin", dtype=np.uint8).reshape(-1, 3073)[: options.take]
    labels = torch.from_numpy(raw[:, 0].astype(np.int64))
    images = torch.from_numpy(raw[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
    net = ResNet18(options.width).train().to(memory_format=torch.channels_last)
    optimiser, batch = sgd(net), 128
    steps = options.epochs * -(-len(images) // batch)
    done, begun = 0, time.time()
    for epoch in range(options.epochs):
        losses = []
        for places in torch.randperm(len(images)).split(batch):
            rate = 0.2 * (1 - abs(2 * done / steps - 1))
            optimiser.param_groups[0]["lr"] = rate
            x = augmented(images[places]).contiguous(memory_format=torch.channels_last)
            losses.append(step_of(net, optimiser, x, labels[places], options.recipe, 8 / 255, options.alpha / 255))
            done += 1
        print(f"epoch {epoch + 1}: loss {statistics.mean(losses):.3f}, {time.time() - begun:.0f} s", flush=True)
    from safetensors.torch import save_file

    options.out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.contiguous() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(weights, options.out / f"{options.name}.safetensors")
    (options.out / f"{options.name}.toml").write_text(
        f'family = "resnet18_cifar"\nwidth = {options.width}\nclasses = 10\nside = 32\n'
        "mean = [0.4914, 0.4822, 0.4465]\nstd = [0.2470, 0.2435, 0.2616]\n"
        f'weights = "{options.name}.safetensors"\n'
    )


def measure(options):
    """Median milliseconds of a step, with random images."""
    net = ResNet18(options.width).train().to(memory_format=torch.channels_last)
    optimiser = sgd(net)
    x = torch.rand(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (128,))
    for recipe in ("standard", "fast-at"):
        times = []
        for _ in range(12):
            begun = time.time()
            step_of(net, optimiser, x, y, recipe, 8 / 255, 10 / 255)
            times.append(1000 * (time.time() - begun))
        print(f"{recipe} {statistics.median(times[2:]):.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    parser.add_argument("--recipe", choices=["standard", "fast-at"], default="fast-at")
    parser.add_argument("--alpha", type=float, default=10.0, help="step of the attack, in grey levels")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--take", type=int, default=50_000, help="first images of the split")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="pytorch")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--time", action="store_true", help="only measure a step")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    measure(options) if options.time else train(options)


if __name__ == "__main__":
    main()
