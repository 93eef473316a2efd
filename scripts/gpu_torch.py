#!/usr/bin/env python3
"""Times PyTorch on what the CUDA engine is timed on, a JSON line a measurement, each written at once.

    scripts/gpu_torch.py [--net vgg16,resnet50,wrn-28-10] [--precision f32,tf32,bf16] [--mode eager,compile]
        [--work gradient,pgd,forward] [--batch 256,64] [--budget SECONDS] [--device cuda] [--tiny] [--say]
    scripts/gpu_torch.py --worker FILE [--rounds 5] [the same options]

The nets are VGG16 and ResNet-50 at 224 and WRN-28-10 at 32 with random weights, as in benches/nets; the gradient is that of
the summed cross-entropy of class 0 with respect to the images, weights take none. `eager` runs with cudnn.benchmark in both memory formats (the better
counts), `compile` is torch.compile in its default mode over normalisation, net, loss and gradient; `way` says which of
three ways of taking the gradient could be compiled. `pgd` is one attack of 20 steps with step and projection on the
device. With `--worker` the worker of scripts/build_cuda.sh and PyTorch take turns, and medians and ratios are printed.
What fails becomes a line with `error`; what the budget left out is named in the last line.
"""
from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import signal
import statistics
import subprocess
import sys
import time
import warnings
from typing import Any, Callable, Iterator

STARTED = time.perf_counter()  # importing PyTorch from a cold disk takes a while

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

VGG16 = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
# sides of images
NETS = {"vgg16": 224, "resnet50": 224, "wrn-28-10": 32}
# vgg11 at a quarter of its width
TINY = [16, 0, 32, 0, 64, 64, 0, 128, 128, 0, 128, 128, 0]
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
PGD_STEPS, EPS = 20, 4 / 255
MOST_S = 75.0  # of one measurement, compiling included


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends what takes longer by a TimeoutError."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds:.0f} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def vgg(tiny: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels, side = 3, 32 if tiny else 224
    for outputs in TINY if tiny else VGG16:
        if outputs:
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(True)]
            channels = outputs
        else:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    layers.append(nn.Flatten())
    inputs, widths = channels * side * side, [10] if tiny else [4096, 4096, 1000]
    for i, outputs in enumerate(widths):
        layers.append(nn.Linear(inputs, outputs))
        if i + 1 < len(widths):
            layers.append(nn.ReLU(True))
        inputs = outputs
    return nn.Sequential(*layers)


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class Bottleneck(nn.Module):
    """He et al. 2015, figure 5; the stride stands at the 3x3 convolution, as in torchvision."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        norm, outputs = nn.BatchNorm2d, 4 * width
        self.way = nn.Sequential(
            conv(inputs, width, 1), norm(width), nn.ReLU(True), conv(width, width, 3, stride), norm(width), nn.ReLU(True),
            conv(width, outputs, 1), norm(outputs))
        self.past = nn.Sequential(conv(inputs, outputs, 1, stride), norm(outputs)) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.way(x) + self.past(x))


def resnet50() -> nn.Sequential:
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(blocks):
            layers.append(Bottleneck(inputs, width, 2 if i == 0 and width > 64 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


class Wide(nn.Module):
    """Zagoruyko and Komodakis 2016, basic-wide; the projection reads what is normalised, as in TRADES's code."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(True))
        self.way = nn.Sequential(conv(inputs, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU(True), conv(width, width, 3))
        self.past = conv(inputs, width, 1, stride) if inputs != width else None

    def forward(self, x: Tensor) -> Tensor:
        before = self.before(x)
        return self.way(before) + (self.past(before) if self.past else x)


def wrn() -> nn.Sequential:
    layers: list[nn.Module] = [conv(3, 16, 3)]
    inputs = 16
    for width in (160, 320, 640):
        for i in range(4):
            layers.append(Wide(inputs, width, 2 if i == 0 and width > 160 else 1))
            inputs = width
    end = [nn.BatchNorm2d(inputs), nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)]
    return nn.Sequential(*layers, *end)


def random_net(name: str, tiny: bool) -> nn.Module:
    """Uniform weights of He et al. 2015, as in benches/nets."""
    torch.manual_seed(0)
    net = vgg(tiny) if name == "vgg16" else resnet50() if name == "resnet50" else wrn()
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            bound = math.sqrt(6 / layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, 0.01 if isinstance(layer, nn.Conv2d) else 0.0)
    return net.eval().requires_grad_(False)


class Side:
    """A net in one precision and memory format, and what is measured of it."""

    def __init__(self, net: str, precision: str, form: str, device: torch.device, tiny: bool) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.benchmark = True
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.format = FORMATS[form]
        with device:
            self.net = random_net(net, tiny).to(dtype=self.dtype, memory_format=self.format)
        self.mean, self.std = torch.zeros(1, 3, 1, 1, device=device), torch.ones(1, 3, 1, 1, device=device)
        self.device, self.side = device, 32 if tiny else NETS[net]
        self.compiled: tuple[str, Callable[[Tensor, Tensor], Tensor]] | None = None

    def images(self, batch: int) -> tuple[Tensor, Tensor]:
        x = torch.rand(batch, 3, self.side, self.side, device=self.device)
        return x.contiguous(memory_format=self.format), torch.zeros(batch, dtype=torch.long, device=self.device)

    def logits(self, x: Tensor) -> Tensor:
        return self.net(((x - self.mean) / self.std).to(self.dtype)).float()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.logits(x), y, reduction="sum")

    def inside(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.autograd.grad(self.loss(x, y), x)[0]

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        return self.inside(x.detach().requires_grad_(True), y)

    def compiled_gradient(self, x: Tensor, y: Tensor) -> tuple[str, Callable[[Tensor, Tensor], Tensor]]:
        """The whole gradient in one graph if PyTorch can, else forward and loss, and autograd around them."""
        if self.compiled:
            return self.compiled
        inside = torch.compile(self.inside, fullgraph=True, dynamic=False)
        functional = torch.compile(torch.func.grad(self.loss), fullgraph=True, dynamic=False)
        around = torch.compile(self.loss, fullgraph=True, dynamic=False)

        def outside(x: Tensor, y: Tensor) -> Tensor:
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(around(x, y), x)[0]

        ways = [
            ("autograd.grad inside", lambda x, y: inside(x.detach().requires_grad_(True), y)),
            ("func.grad inside", functional),
            ("autograd.grad outside", outside),
        ]
        problem: Exception | None = None
        for way, function in ways:
            try:
                if function(x, y).shape != x.shape:
                    raise RuntimeError("no gradient of the images")
                self.compiled = (way, function)
                return self.compiled
            except TimeoutError:
                raise
            except Exception as why:  # the next way
                problem = why
        raise RuntimeError(f"no way to compile: {problem}")

    def pgd(self, gradient: Callable[[Tensor, Tensor], Tensor], project: Callable[..., Tensor], x: Tensor,
            y: Tensor) -> Tensor:
        best = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
        for _ in range(PGD_STEPS):
            best = project(best, gradient(best, y), x)
        return best


def project(x: Tensor, gradient: Tensor, center: Tensor) -> Tensor:
    """A step of PGD and its projection."""
    x = x + 2.5 * EPS / PGD_STEPS * gradient.sign()
    return torch.minimum(torch.maximum(x, center - EPS), center + EPS).clamp(0, 1)


class Bench:
    """Measures until the budget is spent."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.began, self.left_out = options, time.perf_counter(), []
        self.device = torch.device(options.device)
        self.sides: dict[tuple[str, str, str], Side] = {}

    def tell(self, row: dict[str, Any]) -> None:
        print(json.dumps(row), flush=True)
        if not self.options.say:
            return
        name = " ".join(str(row[k]) for k in ("net", "work", "precision", "mode", "format") if k in row)
        if "batch" in row:
            name += f" b{row['batch']}"
        numbers = [
            f"{row[k] * 1e3:.4g} ms {k.removesuffix('_s')}".removesuffix(" seconds")
            for k in ("seconds", "ours_s", "torch_s") if k in row
        ]
        numbers += [f"{row[k]:.4g} {unit}" for k, unit in [
            ("images_per_s", "images/s"), ("ratio", "times as fast as PyTorch"), ("peak_MiB", "MiB"),
            ("warm_up_s", "s warm-up"),
        ] if row.get(k) is not None]
        numbers += [str(row[k])[:160].replace("\n", " ") for k in ("way", "error") if k in row]
        numbers += [f"{row['off_eager']:.0e} off eager"] if "off_eager" in row else []
        if "torch" in row:
            name = f"PyTorch {row['torch']}, cuDNN {row['cudnn']}, {row['device']}, imported in {row['import_s']} s"
        if "left_out" in row:
            name = f"left out: {len(row['left_out'])}, from {row['left_out'][0]}"
        print("=> " + ": ".join(filter(None, [name, ", ".join(numbers)])), file=sys.stderr, flush=True)

    def left(self) -> float:
        return self.options.budget - (time.perf_counter() - self.began)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak(self) -> float | None:
        return torch.cuda.max_memory_allocated() / 2**20 if self.device.type == "cuda" else None

    def side(self, net: str, precision: str, form: str) -> Side:
        """One at a time: what another has compiled is forgotten with it."""
        if (net, precision, form) not in self.sides:
            self.sides.clear()
            torch.compiler.reset()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.sides[net, precision, form] = Side(net, precision, form, self.device, self.options.tiny)
        return self.sides[net, precision, form]

    def block(self, run: Callable[[], Any], calls: int) -> float:
        """Seconds a call."""
        self.synchronize()
        began = time.perf_counter()
        for _ in range(calls):
            run()
        self.synchronize()
        return (time.perf_counter() - began) / calls

    def measure(self, row: dict[str, Any], prepare: Callable[[], tuple[Callable[[], Any], dict[str, Any]]]) -> None:
        """Warm-up, then the median of blocks; an error is a line, too."""
        if self.left() <= 0:
            self.left_out.append(" ".join(str(v) for v in row.values()))
            return

        try:
            with at_most(min(MOST_S, self.left() + 10)):
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                began = time.perf_counter()
                run, more = prepare()
                attack = row["work"] == "pgd"
                if not attack:
                    self.block(run, 1)
                once = self.block(run, 1)
                warm_up = time.perf_counter() - began
                calls = 1 if self.options.tiny else max(1, round(0.25 / once))
                times = [once] if attack else []
                while len(times) < (3 if attack else 7) and (sum(times) * calls < 2.5 or len(times) < (1 if attack else 3)):
                    times.append(self.block(run, calls))
                seconds = statistics.median(times)
                row |= {"seconds": seconds, "images_per_s": row["batch"] / seconds, "warm_up_s": round(warm_up, 2),
                        "peak_MiB": self.peak(), "n": len(times), "calls": calls, **more}
        except Exception as problem:
            row["error"] = f"{type(problem).__name__}: {problem}"[:600]
        self.tell(row)

    def work(self, work: str, net: str, precision: str, mode: str, form: str, batch: int) -> None:
        """One line."""
        def prepare() -> tuple[Callable[[], Any], dict[str, Any]]:
            side = self.side(net, precision, form)
            x, y = side.images(batch)
            if work == "forward":
                forward = torch.compile(side.logits, fullgraph=True, dynamic=False) if mode == "compile" else side.logits

                def without_gradient() -> Tensor:
                    with torch.no_grad():
                        return forward(x)

                return without_gradient, {}
            way, gradient = side.compiled_gradient(x, y) if mode == "compile" else ("", side.gradient)
            more: dict[str, Any] = {"way": way} if way else {}
            if work == "gradient":
                if way:
                    eager = side.gradient(x, y)
                    more |= {"off_eager": ((gradient(x, y) - eager).norm() / eager.norm()).item()}
                    if self.device.type == "cuda":
                        torch.cuda.reset_peak_memory_stats()
                return lambda: gradient(x, y), more
            step = torch.compile(project, fullgraph=True, dynamic=False) if mode == "compile" else project
            step(x.clone(), gradient(x, y), x)
            return lambda: side.pgd(gradient, step, x, y), more

        row = {"net": net, "work": work, "precision": precision, "mode": mode, "format": form, "batch": batch}
        self.measure(row, prepare)

    def alone(self) -> None:
        """What matters most first: gradients and attacks of the first batch, eager before compiled, then the rest."""
        o = self.options
        first, rest = o.batch[:1], o.batch[1:]
        works = [w for w in o.work if w != "forward"]
        rounds = [(m, works, first) for m in o.mode] + [
            (m, [w for w in o.work if w == "forward"], first) for m in o.mode] + [
            (m, [w for w in o.work if w != "pgd"], rest) for m in o.mode]
        for net, (mode, works, batches) in itertools.product(o.net, rounds):
            for precision in o.precision:
                for form in ("channels_last",) if mode == "compile" or not works else FORMATS:
                    for batch, work in itertools.product(batches, works):
                        # the attack follows the better format of most nets
                        if not (work == "pgd" and form == "contiguous"):
                            self.work(work, net, precision, mode, form, batch)

    def against(self, worker: str) -> None:
        """Gradients of ours and PyTorch's in turns."""
        o = self.options
        for net, precision in itertools.product(o.net, o.precision):
            on_cuda = (o.worker_device or o.device) == "cuda"
            on = ["--device", "cuda", "--precision", precision] if on_cuda else []
            ours = subprocess.Popen([worker, *on], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

            def ask(line: str, ours: subprocess.Popen[str] = ours) -> str:
                assert ours.stdin and ours.stdout
                print(line, file=ours.stdin, flush=True)
                answer = ours.stdout.readline().strip()
                if not answer:
                    raise RuntimeError(f"our worker ended at `{line}`")
                return answer

            try:
                with at_most(20):
                    ask(f"load {'vgg11-half' if o.tiny and net == 'vgg16' else net} {32 if o.tiny else NETS[net]}")
                for mode in o.mode:
                    with at_most(min(MOST_S, self.left() + 10)):
                        self.turns(ask, net, precision, mode, o.batch[0])
            except Exception as problem:
                self.tell({"net": net, "work": "turns", "precision": precision, "error": f"{type(problem).__name__}: {problem}"[:600]})
            finally:
                ours.kill()
                ours.wait()

    def turns(self, ask: Callable[[str], str], net: str, precision: str, mode: str, batch: int) -> None:
        row: dict[str, Any] = {"net": net, "work": "turns", "precision": precision, "mode": mode,
                               "format": "channels_last", "batch": batch}
        if self.left() <= 0:
            self.left_out.append(" ".join(str(v) for v in row.values()))
            return
        side = self.side(net, precision, "channels_last")
        x, y = side.images(batch)
        way, gradient = side.compiled_gradient(x, y) if mode == "compile" else ("", side.gradient)
        mine: list[float] = []
        theirs: list[float] = []
        calls = max(1, round(0.4 / self.block(lambda: gradient(x, y), 2)))
        if self.options.tiny:
            calls = 1
        for number in range(self.options.rounds + 1):  # one to warm up
            ours_s = float(ask(f"gradient {batch} {calls}"))
            torch_s = self.block(lambda: gradient(x, y), calls)
            if number >= 1:
                mine.append(ours_s)
                theirs.append(torch_s)
            if self.left() <= 0 and number >= 1:
                break
        ours_s, torch_s = statistics.median(mine), statistics.median(theirs)
        row |= {"ours_s": ours_s, "torch_s": torch_s, "ratio": torch_s / ours_s, "rounds": len(mine), "calls": calls,
                "ours_all": mine, "torch_all": theirs, "way": way or "eager"}
        self.tell(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names: Callable[[str], list[str]] = lambda text: text.split(",")
    parser.add_argument("--net", type=names, default=["vgg16"])
    parser.add_argument("--precision", type=names, default=["f32", "tf32", "bf16"])
    parser.add_argument("--mode", type=names, default=["eager", "compile"])
    parser.add_argument("--work", type=names, default=["gradient", "pgd", "forward"])
    parser.add_argument("--batch", type=lambda text: [int(n) for n in text.split(",")], default=None)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=math.inf, metavar="SECONDS")
    parser.add_argument("--tiny", action="store_true", help="a quarter of vgg11 at 32, batch 8, to try the script")
    parser.add_argument("--say", action="store_true", help="also a line for people on stderr, marked =>")
    parser.add_argument("--worker", help="our side, to take turns with")
    parser.add_argument("--worker-device", default="", help="cpu or cuda, where it is not PyTorch's")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.batch = options.batch or ([8, 4] if options.tiny else [256, 64])
    warnings.filterwarnings("ignore")
    bench = Bench(options)
    on_cuda = options.device == "cuda"
    bench.tell({
        "torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
        "import_s": round(time.perf_counter() - STARTED, 2),
    })
    if options.worker:
        bench.against(options.worker)
    else:
        bench.alone()
    if bench.left_out:
        bench.tell({"left_out": bench.left_out})


if __name__ == "__main__":
    main()
