#!/usr/bin/env python3
"""Writes Grad-CAM maps of the two reference nets as PyTorch computes them in float64.

    scripts/reference_grad_cam.py DATA OUT.json

Grad-CAM (Selvaraju et al. 2017) for the predicted class c: alpha_k = mean over i,j of d z_c / d A_k[i,j], and
map = ReLU(sum over k of alpha_k A_k). No normalisation, no resizing. Eight images each on

* vgg11-half-cifar10: the first eight CIFAR-10 test images, A behind the last convolution's ReLU, before the last pool;
* squeezenet1_0-imagenet: pictures of an integer formula (FORMULA), 227 x 227, seeds 0 to 7, so that no decoder matters;
  A is the output of `features`. As a check of the net, its top-1 on DATA/imagenet is written too.

Autograd's alpha is checked against the closed forms that these two nets happen to have. Needs torch, torchvision,
safetensors, numpy and pillow.
"""
from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image

from reference_nets import Net, cifar10_test, squeezenet, versions, vgg11_half

FORMULA = ("RGB(x,y) of seed s = [((7x+13y+29s) xor (x*y div 3)) mod 256, (x*x div 5 + 3y + s) mod 256, "
           "(11x xor 17y xor 101s) mod 256], integers")
SEEDS, SIDE = range(8), 227
DIGITS = 12


def picture(seed: int, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """FORMULA as [height, width, RGB] bytes."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    red = (7 * x + 13 * y + 29 * seed) ^ (x * y // 3)
    green = x * x // 5 + 3 * y + seed
    blue = (11 * x) ^ (17 * y) ^ (101 * seed)
    return (np.stack([red, green, blue], 2) % 256).astype(np.uint8)


def tensor(pictures: list[np.ndarray], dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(dtype) / 255


def shortened(values: torch.Tensor) -> list[float]:
    return [float(f"{v:.{DIGITS}g}") for v in values.flatten().tolist()]


def grad_cam(net: Net, layers: int, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Logits, alpha and map of every image's predicted class, A being the output of so many layers of `features`."""
    activations = net.features[:layers](net.normalise(x)).requires_grad_(True)
    # the nets' ReLUs work in place, and A must stay what it is
    logits = net.classifier(net.features[layers:](activations.clone()))
    chosen = logits.max(1).values.sum()  # one image's logit does not depend on another image
    alpha = torch.autograd.grad(chosen, activations)[0].mean((2, 3))
    activations = activations.detach()
    return logits.detach(), activations, alpha, torch.einsum("nk,nkij->nij", alpha, activations).relu()


def entries(found: tuple[torch.Tensor, ...], names: list[dict[str, Any]]) -> list[dict[str, Any]]:
    logits, _, _, maps = found
    rows = []
    for name, z, cam in zip(names, logits, maps):
        top = z.topk(2)
        rows.append({
            **name, "class": int(top.indices[0]), "logit": shortened(top.values)[0],
            "margin": shortened(top.values[0] - top.values[1])[0], "logits_first_5": shortened(z[:5]),
            "max": shortened(cam.max())[0], "map": shortened(cam),
        })
    return rows


def check_alpha(name: str, alpha: torch.Tensor, expected: torch.Tensor) -> None:
    error = ((alpha - expected).norm() / expected.norm()).item()
    if error > 1e-12:
        raise SystemExit(f"{name}: autograd's alpha is off its closed form by {error:.1e}")


def vgg_part(data: Path) -> dict[str, Any]:
    net = vgg11_half(data, torch.float64)
    images, labels = cifar10_test(data, torch.float64)
    layers = len(net.features) - 2  # without the last pool and the flattening
    found = logits, activations, alpha, _ = grad_cam(net, layers, images[:8])
    # each of the pool's windows is a whole map: one position of it gets the linear layer's weight
    check_alpha("vgg", alpha, net.classifier.weight[logits.argmax(1)] / activations[0, 0].numel())
    names = [{"index": i, "label": int(labels[i])} for i in range(8)]
    return {"layer": f"features.{layers - 1} (ReLU)", "shape": list(activations.shape[1:]),
            "images": entries(found, names)}


def squeezenet_part(data: Path) -> dict[str, Any]:
    net = squeezenet(data, torch.float64)
    pictures = [picture(seed) for seed in SEEDS]
    found = logits, activations, alpha, _ = grad_cam(net, len(net.features), tensor(pictures, torch.float64))
    # the logit is the mean of a 1x1 convolution's ReLU: its weight, times the share of positions that the ReLU passes
    convolution, predicted, positions = net.classifier[1], logits.argmax(1), activations[0, 0].numel()
    share = (convolution(activations) > 0).double().mean((2, 3)).gather(1, predicted[:, None])
    check_alpha("squeezenet", alpha, convolution.weight[predicted, :, 0, 0] * share / positions)
    names = [{"seed": s, "sha256": hashlib.sha256(p.tobytes()).hexdigest()} for s, p in zip(SEEDS, pictures)]
    correct, total = top_1(squeezenet(data), data / "imagenet")
    return {"layer": "features (last fire module)", "shape": list(activations.shape[1:]), "formula": FORMULA,
            "side": SIDE, "imagenet_correct": correct, "imagenet_pictures": total, "images": entries(found, names)}


def middle(image: Image.Image, size: int, crop: int) -> np.ndarray:
    """torchvision's Resize and CenterCrop: short side to `size`, long side truncated, offsets rounded half to even."""
    short = min(image.size)
    width, height = (size if side == short else size * side // short for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (round((side - crop) / 2) for side in image.size)
    return np.asarray(image.crop((left, top, left + crop, top + crop)))


def top_1(net: Net, folder: Path) -> tuple[int, int]:
    """Correct predictions on a folder's pictures, and how many there are."""
    with open(folder / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    correct = 0
    for row in rows:
        crop = middle(Image.open(folder / row["file"]).convert("RGB"), 256, SIDE)
        with torch.no_grad():
            correct += int(net(tensor([crop], torch.float32)).argmax()) == int(row["label"])
    return correct, len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT.json")
    options = parser.parse_args()
    torch.set_num_threads(2)
    nets = {"vgg11-half-cifar10": vgg_part(options.data), "squeezenet1_0-imagenet": squeezenet_part(options.data)}
    document = {"made_by": "scripts/reference_grad_cam.py", "versions": versions(PIL), "dtype": "float64",
                "digits": DIGITS, "map": "ReLU(sum_k alpha_k A_k), row-major, neither normalised nor resized",
                "nets": nets}
    # lists of numbers on one line each
    text = re.sub(r"\[([-+.,e\d\s]+)\]", lambda found: "[" + " ".join(found[1].split()) + "]",
                  json.dumps(document, indent=1))
    options.out.write_text(text + "\n")
    for name, part in nets.items():
        classes = [row["class"] for row in part["images"]]
        least = min(row["margin"] for row in part["images"])
        print(f"{name}: A {part['shape']}, classes {classes}, least margin {least:.3g}, "
              f"maxima {[float('%.4g' % row['max']) for row in part['images']]}")
    part = nets["squeezenet1_0-imagenet"]
    print(f"squeezenet1_0-imagenet: top-1 {part['imagenet_correct']} of {part['imagenet_pictures']}")


if __name__ == "__main__":
    main()
