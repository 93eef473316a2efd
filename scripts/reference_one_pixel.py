#!/usr/bin/env python3
"""Runs torchattacks' one-pixel attack on vgg11-half-cifar10: success rates, queries, and queries a second on the CPU.

    scripts/reference_one_pixel.py DATA OUT.json [--images 200] [--large-images 50] [--popsize 400] [--steps 10]
                                   [--pixels 1 3 5] [--only defaults|large|forward] [--seed 0] [--threads 2]
                                   [--layout contiguous_format|channels_last]

Untargeted, on the first CIFAR-10 test images that the net gets right, one at a time, in two settings: `defaults`,
torchattacks' own (popsize 10, steps 10, inf_batch 128) on --images images, and `large`, --popsize and --steps on the
first --large-images of them, a whole population in one batch. `forward` times the bare net at batch 400. OUT.json is
written anew after every part. Success rates depend on the numpy generator's seed, hardly on --layout and --threads.

What the options of torchattacks 3.5.1 mean, with n = 5 x pixels parameters (row, column, red, green, blue):

* popsize is not the population: that has max(5, n x max(1, popsize div n)) members;
* steps is the number of generations, of `best1bin` with recombination 1 and a mutation factor drawn from 0.5 to 1;
* a query for every member of the first population and of each generation, and one for the best after each generation,
  which ends the attack when it fools the net: at most members x (steps + 1) + steps queries an image, and at least
  2 x members + 1, for the first population is not looked at;
* float colours: success counts here after rounding to 8 bits (`float_successes` counts it without rounding).

Queries are images passed through the net, counted by a hook. Timings say something on an otherwise idle machine only.
Needs torch, torchvision, torchattacks, scipy, safetensors and numpy.
"""
from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
import torchattacks
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from reference_nets import Net, cifar10_test, versions, vgg11_half

DEFAULTS = {"popsize": 10, "steps": 10, "inf_batch": 128}
FORWARD_BATCH, FORWARD_ROUNDS = 400, 15


class Counter:
    """Counts the images that pass through a net, and the seconds that they take."""

    def __init__(self, net: nn.Module) -> None:
        self.queries, self.seconds, self.began = 0, 0.0, 0.0
        net.register_forward_pre_hook(self.before)
        net.register_forward_hook(self.after)

    def before(self, _net: nn.Module, _inputs: Any) -> None:
        self.began = time.perf_counter()

    def after(self, _net: nn.Module, inputs: Any, _output: Any) -> None:
        self.seconds += time.perf_counter() - self.began
        self.queries += len(inputs[0])


def members(pixels: int, popsize: int) -> int:
    """torchattacks' population."""
    parameters = 5 * pixels
    return max(5, parameters * max(1, popsize // parameters))


def correct_images(net: Net, images: torch.Tensor, labels: torch.Tensor, count: int) -> list[int]:
    """Indices of the first images that the net gets right."""
    with torch.no_grad():
        predicted = torch.cat([net(batch).argmax(1) for batch in images.split(100)])
    found = torch.nonzero(predicted == labels).flatten()[:count].tolist()
    if len(found) < count:
        raise SystemExit(f"the net gets only {len(found)} of {len(images)} images right, {count} were asked for")
    return found


def attack(net: Net, images: torch.Tensor, labels: torch.Tensor, indices: list[int], pixels: int,
           settings: dict[str, int], seed: int) -> dict[str, Any]:
    """One setting on some images."""
    counter = Counter(net)
    method = torchattacks.OnePixel(net, pixels=pixels, **settings)
    np.random.seed(seed)  # the attack draws from numpy's global generator
    successes, float_successes, most_changed = [], 0, 0
    queries, seconds, seconds_in_net = [], 0.0, 0.0
    for index in indices:
        x, label = images[index : index + 1], labels[index : index + 1]
        counter.queries, counter.seconds = 0, 0.0
        began = time.perf_counter()
        found = method(x, label)
        seconds += time.perf_counter() - began
        seconds_in_net += counter.seconds
        queries.append(counter.queries)  # what follows is ours and does not count
        rounded = (found * 255).round() / 255
        most_changed = max(most_changed, int((rounded - x).abs().amax(1).gt(1e-6).sum()))
        with torch.no_grad():
            fooled, fooled_float = (bool(net(y).argmax(1) != label) for y in (rounded, found))
        float_successes += fooled_float
        if fooled:
            successes.append(index)
    population, total = members(pixels, settings["popsize"]), sum(queries)
    limit = population * (settings["steps"] + 1) + settings["steps"]
    if max(queries) > limit or min(queries) < 2 * population + 1 or most_changed > pixels:
        raise SystemExit(f"{min(queries)} to {max(queries)} queries, {most_changed} pixels: not as documented above")
    return {
        "pixels": pixels, **settings, "seed": seed, "members": population, "most_queries": limit,
        "images": len(indices), "successes": len(successes), "rate": len(successes) / len(indices),
        "float_successes": float_successes, "queries": total, "queries_per_image": total / len(indices),
        "median_queries_per_image": statistics.median(queries), "seconds": seconds,
        "queries_per_second": total / seconds, "share_of_time_in_net": seconds_in_net / seconds,
        "succeeded_on": successes, "queries_of_each": queries,
    }


def fused(net: Net) -> Net:
    """The net with every batch norm folded into its convolution."""
    layers, result = list(net.features), []
    while layers:
        layer = layers.pop(0)
        if isinstance(layer, nn.Conv2d):
            layer = fuse_conv_bn_eval(layer, layers.pop(0))
        result.append(layer)
    net.features = nn.Sequential(*result)
    return net.eval().requires_grad_(False)


def forward(data: Path, images: torch.Tensor) -> list[dict[str, Any]]:
    """Images a second of the bare net, in both memory formats, with and without batch norm folded: medians."""
    rows = []
    for name, make in (("batch norm", vgg11_half), ("folded", lambda folder: fused(vgg11_half(folder)))):
        for layout in (torch.contiguous_format, torch.channels_last):
            net = make(data).to(memory_format=layout)
            x = images[:FORWARD_BATCH].contiguous(memory_format=layout)
            times = []
            with torch.no_grad():
                for number in range(FORWARD_ROUNDS + 2):  # two to warm up
                    began = time.perf_counter()
                    net(x)
                    if number >= 2:
                        times.append(time.perf_counter() - began)
            rows.append({"net": name, "format": str(layout).removeprefix("torch."), "batch": FORWARD_BATCH,
                         "images_per_second": FORWARD_BATCH / statistics.median(times),
                         "best_images_per_second": FORWARD_BATCH / min(times)})
    return rows


def write(out: Path, document: dict[str, Any]) -> None:
    """JSON with every list of numbers on one line."""
    text = re.sub(r"\[([\d,\s]+)\]", lambda found: "[" + " ".join(found[1].split()) + "]",
                  json.dumps(document, indent=1))
    out.write_text(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT.json")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--large-images", type=int, default=50)
    parser.add_argument("--popsize", type=int, default=400)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--pixels", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--only", choices=["defaults", "large", "forward"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=["contiguous_format", "channels_last"], default="contiguous_format")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, labels = cifar10_test(options.data)
    indices = correct_images(vgg11_half(options.data), images, labels, max(options.images, options.large_images))
    document: dict[str, Any] = {
        "made_by": "scripts/reference_one_pixel.py", "versions": versions(torchattacks, scipy),
        "net": "vgg11-half-cifar10", "threads": options.threads, "layout": options.layout, "indices": indices,
        "forward": [], "attacks": [],
    }
    large = {"popsize": options.popsize, "steps": options.steps, "inf_batch": max(128, options.popsize)}
    print(f"images: the first {len(indices)} of {indices[-1] + 1} that the net gets right")
    if options.only in (None, "forward"):
        document["forward"] = forward(options.data, images)
        write(options.out, document)
        for row in document["forward"]:
            print(f"forward, {row['net']}, {row['format']}, batch {row['batch']}: "
                  f"{row['images_per_second']:,.0f} images/s (best {row['best_images_per_second']:,.0f})", flush=True)
    for name, settings, count in (("defaults", DEFAULTS, options.images), ("large", large, options.large_images)):
        for pixels in options.pixels if options.only in (None, name) else []:
            # a fresh net, without another attack's hooks
            net = vgg11_half(options.data).to(memory_format=getattr(torch, options.layout))
            row = attack(net, images, labels, indices[:count], pixels, settings, options.seed)
            document["attacks"].append({"setting": name, **row})
            write(options.out, document)
            print(f"{name}, {pixels} px, popsize {row['popsize']} (members {row['members']}), steps {row['steps']}: "
                  f"{row['successes']}/{row['images']} = {row['rate']:.1%}, "
                  f"{row['queries_per_image']:,.0f} queries/image (at most {row['most_queries']:,}), "
                  f"{row['seconds']:.1f} s, {row['queries_per_second']:,.0f} queries/s, "
                  f"{row['share_of_time_in_net']:.0%} of the time in the net", flush=True)


if __name__ == "__main__":
    main()
