#!/usr/bin/env python3
"""Times our CPU engine against PyTorch on the same weights and images, alternating in one run, and prints a table.

    scripts/bench_pytorch.py [step] [memory] [flat] [steady] [sweep] [--rounds 7] [--only TEXT] [--fold] [--out FILE]
    scripts/bench_pytorch.py gpu --worker FILE [--rounds 7] [--out FILE]

`step` times a gradient with respect to the images (forward, summed cross-entropy, backward) of every network of the table
STEPS. Networks are torchvision's and timm's, and those of scripts/reference_families.py that are in neither; weights are
random, the same on both sides. PyTorch computes batch norms as they stand, which we fold; with `--fold` it has them folded by
torch.fx, too. `gpu` times the CUDA engine (the worker of scripts/build_cuda.sh) against torch.compile in channels_last, with the
machine's own PyTorch if that has CUDA. Otherwise PyTorch, and torchattacks for `sweep`, are installed into a virtual
environment below target/; the project itself needs neither. On the CPU PyTorch runs in both memory formats, weights
without gradients, and its better one counts. Medians throughout.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "bench-venv"
PACKAGES = ["torch==2.15.0", "numpy", "safetensors", "torchvision", "timm", "tqdm", "requests", "scipy"]
ATTACKS = ["torchattacks==3.5.1"]  # without its dependencies: it pins an old requests
THREADS = 2

# Work, network, side, batch, instructions of ours, and what the project asks of the ratio: at least, and reach for.
STEPS = [
    ("gradient", "resnet18-cifar", 32, 128, "widest", 2.3, 3.0),
    ("gradient", "wrn-28-10", 32, 16, "widest", 2.6, 3.3),
    ("gradient", "preact-resnet18", 32, 128, "widest", 2.3, 3.0),
    ("gradient", "resnet50", 224, 8, "widest", 1.3, 1.8),
    ("gradient", "squeezenet", 227, 8, "widest", 1.5, 2.0),
    ("gradient", "vit-s16", 224, 8, "widest", 0.9, 1.2),
    ("gradient", "mobilenetv2", 224, 8, "widest", 1.5, 2.5),
    ("gradient", "vgg16", 32, 128, "widest", 3.5, 4.5),
    ("gradient", "vgg16", 32, 8, "widest", 2.5, 3.3),
    ("gradient", "vgg16", 32, 1, "widest", 1.5, 2.0),
    ("gradient", "vgg16", 224, 8, "widest", 3.5, 4.2),
    ("forward", "vgg16", 32, 128, "widest", 3.3, 4.0),
    ("forward", "vgg16", 224, 8, "widest", 3.3, 4.0),
    ("gradient", "vgg11-half", 32, 128, "widest", 2.5, 3.5),
    ("gradient", "vgg16", 32, 128, "avx2", 1.5, 2.0),
    ("gradient", "vgg16", 224, 8, "avx2", 1.5, 2.0),
]
# Network, side, images, and most MiB of our process: at least, and reach for.
MEMORY = [("vgg16", 224, 8, None, None), ("squeezenet", 227, 100, 800, 500)]
# Normalisation and classes of the networks in benches/nets.
MEAN, STD, CLASSES = 0.5, 0.25, 1000
# Convolutions of a VGG (Simonyan and Zisserman 2015, columns A and D); 0 is a pool.
VGG11 = [64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0]
VGG16 = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
# What the gpu part times: gradients of PGD-20, VGG16 at 224, batch 256; and the least agreement it asks for at each
# precision: relative error of logits, median cosine of gradients.
GPU_BATCH, GPU_STEPS = 256, 20
GPU_PRECISIONS = [("f32", 1e-3, 0.9999), ("tf32", 1e-2, 0.99), ("bf16", 5e-2, 0.9)]
# PGD-40, two restarts, five budgets, two models, 1,000 images: what torchattacks computes without sharing.
SWEEP_GRADIENTS = 40 * 2 * 5 * 2 * 1000


def enter_venv() -> None:
    """Makes the environment once, and again when packages change, and goes on inside it."""
    python = VENV / "bin" / "python"
    if Path(sys.prefix) == VENV:
        return
    complete, wanted = VENV / "complete", "\n".join(PACKAGES + ATTACKS)
    if not complete.exists() or complete.read_text() != wanted:
        venv.create(VENV, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *ATTACKS], check=True)
        complete.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])


def has_cuda() -> bool:
    """Whether this Python has a PyTorch with a GPU."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def load_tensors(file: Path) -> dict[str, Any]:
    """A safetensors file of f32, read with PyTorch alone: length of the header, header, numbers."""
    import torch

    data = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = torch.frombuffer(data, dtype=torch.float32, offset=start + begin, count=(end - begin) // 4)
            tensors[name] = values.reshape(entry["shape"]).clone()
    return tensors


def built(*arguments: str) -> Path:
    """Path of an executable that cargo has built."""
    command = ["cargo", "build", "--release", "--locked", "--message-format=json", *arguments]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    name = arguments[-1]  # cargo builds the program beside a bench, too
    found = [m["executable"] for m in map(json.loads, lines) if m.get("executable") and m["target"]["name"] == name]
    return Path(found[-1])


class Worker:
    """Our side: a process that sleeps between pieces of work."""

    def __init__(self, binary: Path, net: str, side: int, instructions: str = "widest", precision: str = "") -> None:
        options = [] if instructions == "widest" else ["--instructions", instructions]
        if precision:
            options += ["--device", "cuda", "--precision", precision]
        command = [str(binary), "--threads", str(THREADS), *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(f"load {net} {side}")

    def ask(self, line: str) -> str:
        assert self.process.stdin and self.process.stdout
        print(line, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"our worker died on `{line}`")
        return answer

    def time(self, work: str, batch: int, repeats: int = 1) -> float:
        time.sleep(0.05)  # until the other side's threads sleep
        return float(self.ask(f"{work} {batch} {repeats}"))

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def vgg(table: list[int], width: float, side: int) -> Any:
    """A VGG as torchvision names its tensors; at side 32 with one linear layer, else with ImageNet's three."""
    from torch import nn

    layers: list[Any] = []
    channels = 3
    for outputs in table:
        if outputs == 0:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, int(outputs * width), 3, padding=1), nn.ReLU(True)]
            channels = int(outputs * width)
    net = nn.Sequential()
    net.features, net.flatten = nn.Sequential(*layers), nn.Flatten()
    if side == 32:
        net.classifier = nn.Linear(channels, 10)
    else:
        between = [nn.ReLU(True), nn.Dropout()]
        net.classifier = nn.Sequential(nn.Linear(channels * (side // 32) ** 2, 4096), *between, nn.Linear(4096, 4096),
                                       *between, nn.Linear(4096, CLASSES))
    return net


def network(name: str, side: int) -> Any:
    """PyTorch's form of a network of benches/nets, its tensors under the same names."""
    if name.startswith("vgg"):
        return vgg(VGG16 if name == "vgg16" else VGG11, 1.0 if name == "vgg16" else 0.5, side)
    if name == "vit-s16":
        import timm

        return timm.create_model("vit_small_patch16_224", num_classes=CLASSES)
    import torch
    import torchvision

    of_torchvision = {"resnet50": "resnet50", "squeezenet": "squeezenet1_0", "mobilenetv2": "mobilenet_v2"}
    if name in of_torchvision:
        return getattr(torchvision.models, of_torchvision[name])(num_classes=CLASSES)
    sys.path.insert(0, str(ROOT / "scripts"))
    import reference_families as families

    makers: dict[str, Callable[[], Any]] = {
        "resnet18-cifar": lambda: families.cifar("resnet18"),
        "preact-resnet18": families.preact(True, "last"),
        "wrn-28-10": lambda: families.Wide(28, 10, False, torch.nn.functional.relu),
    }
    return makers[name]()


class Torch:
    """PyTorch's side: the same network in one memory format. `fold`: batch norms are folded into convolutions."""

    def __init__(self, name: str, side: int, weights: Path, channels_last: bool, fold: bool = False) -> None:
        import torch

        torch.set_num_threads(THREADS)
        self.torch = torch
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.name = "channels_last" if channels_last else "contiguous"
        self.dtype = torch.float32
        self.mean, self.std = (torch.full((1, 3, 1, 1), v) for v in (MEAN, STD))
        net = network(name, side)
        missing, unexpected = net.load_state_dict(load_tensors(weights), strict=False)
        if unexpected or not all(key.endswith("num_batches_tracked") for key in missing):
            raise SystemExit(f"{name}: tensors missing {missing}, without a place {unexpected}")
        net = net.eval().requires_grad_(False)
        if fold:
            from torch.fx.experimental.optimization import fuse

            net = fuse(net)
        self.net = net.to(memory_format=self.format)

    def to(self, device: Any) -> None:
        """Moves net and normalisation."""
        self.net, self.mean, self.std = (part.to(device) for part in (self.net, self.mean, self.std))

    def cast(self, dtype: Any) -> None:
        """Computes in another precision from here on; images and gradients stay f32."""
        self.net = self.net.to(dtype)
        self.dtype = dtype

    def __call__(self, x: Any) -> Any:
        return self.net(((x - self.mean) / self.std).to(self.dtype)).float()

    def gradient(self, x: Any) -> Any:
        x = x.detach().requires_grad_(True)
        target = self.torch.zeros(len(x), dtype=self.torch.long, device=x.device)
        loss = self.torch.nn.functional.cross_entropy(self(x), target, reduction="sum")
        return self.torch.autograd.grad(loss, x)[0]

    def time(self, work: str, batch: int, side: int, repeats: int = 1) -> float:
        """Seconds of one of several repetitions, after one that is not counted."""
        x = self.torch.rand(batch, 3, side, side).contiguous(memory_format=self.format)
        began = 0.0
        for number in range(repeats + 1):
            if number == 1:
                began = time.perf_counter()
            if work == "gradient":
                self.gradient(x)
            else:
                with self.torch.no_grad():
                    self(x)
        return (time.perf_counter() - began) / repeats


def check(worker: Worker, torch_net: Torch, folder: Path) -> str:
    """Both sides compute the same; returns how closely."""
    worker.ask(f"check {folder / 'check'}")
    ours = load_tensors(folder / "check")
    x = ours["images"].contiguous(memory_format=torch_net.format)
    logits, gradient = torch_net(x), torch_net.gradient(x)
    error = ((ours["logits"] - logits).norm() / logits.norm()).item()
    a, b = ours["gradient"].flatten(1), gradient.flatten(1)
    cosine = torch_net.torch.nn.functional.cosine_similarity(a, b).median().item()
    if error > 1e-3 or cosine < 0.9999:
        raise SystemExit(f"the nets differ: logits by {error:.1e}, gradients by cosine {cosine}")
    return f"logits agree to {error:.1e}, gradients to cosine {cosine:.7f}"


def step(binary: Path, rounds: int, only: str | None, fold: bool) -> list[dict[str, Any]]:
    """Every line of STEPS, our runs between PyTorch's."""
    rows = []
    for work, net, side, batch, instructions, least, reach in STEPS:
        name = f"{work} {net} {side} b{batch}" + ("" if instructions == "widest" else f" {instructions}")
        if only and only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            worker = Worker(binary, net, side, instructions)
            weights = Path(folder) / "weights"
            worker.ask(f"weights {weights}")
            sides = [Torch(net, side, weights, last, fold) for last in (False, True)]
            print(f"{name}: {check(worker, sides[1], Path(folder))}", file=sys.stderr, flush=True)
            ours: list[float] = []
            theirs: dict[str, list[float]] = {s.name: [] for s in sides}
            # each reading takes half a second or so, however small the batch
            repeats = max(1, round(0.4 / sides[1].time(work, batch, side)))
            for number in range(rounds + 1):  # one to warm up
                mine = worker.time(work, batch, repeats)
                others = [(s.name, s.time(work, batch, side, repeats)) for s in sides]
                if number >= 1:
                    ours.append(mine)
                    for key, seconds in others:
                        theirs[key].append(seconds)
            worker.close()
        mine = statistics.median(ours)
        medians = {key: statistics.median(seconds) for key, seconds in theirs.items()}
        other = min(medians.values())
        rows.append({
            "work": name, "ours_ms": mine * 1e3, **{f"pytorch_{key}_ms": s * 1e3 for key, s in medians.items()},
            "ours_per_s": batch / mine, "pytorch_per_s": batch / other, "ratio": other / mine, "asked": least,
            "reach": reach,
        })
    return rows


def memory(binary: Path) -> list[dict[str, Any]]:
    """Peak memory of one gradient step, in a process of its own each; our process's without its loading of weights."""
    rows = []
    for net, side, batch, most, reach in MEMORY:
        work = f"peak memory, {net} {side} b{batch}"
        with tempfile.TemporaryDirectory() as folder:
            worker = Worker(binary, net, side)
            worker.ask(f"weights {folder}/weights")
            worker.time("gradient", batch)
            rows.append({"work": work, "side": "ours", "MiB": int(worker.ask("peak")) / 1024, "asked": most, "reach": reach})
            worker.close()
            for last in (False, True):
                code = (
                    f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
                    f"import bench_pytorch as b; from pathlib import Path\n"
                    f"t = b.Torch({net!r}, {side}, Path({folder!r}) / 'weights', {last})\n"
                    f"t.time('gradient', {batch}, {side})\n"
                    "print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"
                )
                out = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
                rows.append({"work": work, "side": f"PyTorch {'channels_last' if last else 'contiguous'}",
                             "MiB": int(out) / 1024})
    return rows


def flat(binary: Path, rounds: int) -> list[dict[str, Any]]:
    """Cost of an image from batch 8 to 1,024."""
    rows = []
    for net in ("vgg16", "vgg11-half"):
        worker = Worker(binary, net, 32)
        for batch in (8, 16, 32, 64, 128, 256, 512, 1024):
            times = [worker.time("gradient", batch, max(1, 512 // batch)) for _ in range(rounds)]
            rows.append({"work": f"gradient {net} 32", "batch": batch,
                         "us_per_image": statistics.median(times) / batch * 1e6})
        worker.close()
    return rows


def steady(binary: Path) -> list[dict[str, Any]]:
    """Memory after 10 and after 1,000 gradient steps."""
    worker = Worker(binary, "vgg11-half", 32)
    rows = []
    for total in (10, 100, 1000):
        done = rows[-1]["steps"] if rows else 0
        worker.time("gradient", 64, total - done)
        rows.append({"work": "gradient vgg11-half 32 b64", "steps": total, "peak_MiB": int(worker.ask("peak")) / 1024})
    worker.close()
    return rows


def sweep(binary: Path, rounds: int) -> list[dict[str, Any]]:
    """The sweeps against torchattacks, whose cost is images × steps: it is measured on 128 images and scaled."""
    import torch
    import torchattacks

    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(binary, "vgg11-half", 32)
        worker.ask(f"weights {folder}/weights")
        worker.close()
        images, labels = torch.rand(128, 3, 32, 32), torch.zeros(128, dtype=torch.long)
        for last in (False, True):
            net = Torch("vgg11-half", 32, Path(folder) / "weights", last)
            module = torch.nn.Module()
            module.forward = net.__call__  # torchattacks asks for a module
            module.register_buffer("device_of_the_attack", torch.zeros(1))
            module.eval()
            attack = torchattacks.PGD(module, eps=8 / 255, alpha=2.5 * 8 / 255 / 40, steps=40, random_start=True)
            attack.set_device(torch.device("cpu"))
            x = images.contiguous(memory_format=net.format)
            times = []
            for number in range(max(rounds, 7) + 1):
                began = time.perf_counter()
                attack(x, labels)
                if number > 0:
                    times.append(time.perf_counter() - began)
            seconds.append(statistics.median(times))
    theirs = min(seconds) / (128 * 40) * SWEEP_GRADIENTS
    rows = [{"work": "PGD-40 ×2, 5 eps, 2 models, 1,000 images", "side": "torchattacks (128 images, scaled)",
             "seconds": theirs}]
    foolproof = built("--bin", "foolproof")
    for config, least, reach in (("pgd40-cifar10", 6.0, 15.0), ("pgd40-cifar10-within", 15.0, 40.0)):
        times = []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as out:
                command = [str(foolproof), "--config", f"sweeps/{config}.toml", "--out", out, "--quiet",
                           "--threads", str(THREADS)]
                began = time.perf_counter()
                subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                times.append(time.perf_counter() - began)
        ours = statistics.median(times)
        rows.append({"work": config, "side": "foolproof, judged, stored and reported", "seconds": ours,
                     "ratio": theirs / ours, "asked": least, "reach": reach})
    return rows


def gpu(binary: Path, rounds: int) -> list[dict[str, Any]]:
    """The CUDA engine against torch.compile in channels_last, alternating, at each precision."""
    import torch

    rows = []
    for precision, most_error, least_cosine in GPU_PRECISIONS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            worker = Worker(binary, "vgg16", 224, precision=precision)
            worker.ask(f"weights {folder / 'weights'}")
            net = Torch("vgg16", 224, folder / "weights", True)
            worker.ask(f"check {folder / 'check'}")
            ours = load_tensors(folder / "check")
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            net.to(torch.device("cuda"))
            x = ours["images"].cuda().contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                logits = net(x).cpu()
            gradient = net.gradient(x).cpu()
            error = ((ours["logits"] - logits).norm() / logits.norm()).item()
            cosine = torch.nn.functional.cosine_similarity(
                ours["gradient"].flatten(1), gradient.flatten(1)).median().item()
            if not (error <= most_error and cosine >= least_cosine):
                raise SystemExit(f"{precision}: logits differ by {error:.1e}, gradients by cosine {cosine}")

            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
            torch.backends.cudnn.benchmark = True
            net.cast(torch.bfloat16 if precision == "bf16" else torch.float32)
            x = torch.rand(GPU_BATCH, 3, 224, 224, device="cuda").contiguous(memory_format=torch.channels_last)
            net.net = torch.compile(net.net, mode="max-autotune-no-cudagraphs")
            mine: list[float] = []
            theirs: list[float] = []
            for number in range(rounds + 2):  # two to warm up
                ours_s = float(worker.ask(f"gradient {GPU_BATCH} {GPU_STEPS}"))
                torch.cuda.synchronize()
                began = time.perf_counter()
                for _ in range(GPU_STEPS):
                    net.gradient(x)
                torch.cuda.synchronize()
                if number >= 2:
                    mine.append(ours_s)
                    theirs.append((time.perf_counter() - began) / GPU_STEPS)
            worker.close()
        ours_s, theirs_s = statistics.median(mine), statistics.median(theirs)
        rows.append({
            "work": f"gradient vgg16 224 b{GPU_BATCH} {precision}", "ours_ms": ours_s * 1e3,
            "ours_per_s": GPU_BATCH / ours_s, "pytorch_ms": theirs_s * 1e3, "pytorch_per_s": GPU_BATCH / theirs_s,
            "ratio": theirs_s / ours_s, "logits_error": error, "cosine": cosine,
        })
        torch.cuda.empty_cache()
    return rows


def machine(binary: Path) -> str:
    """One line on what the figures were measured with."""
    import torch

    info = Path("/proc/cpuinfo").read_text()
    cpu = re.search(r"model name\s*: (.*)", info)
    family = re.search(r"cpu family\s*: (\d+)\nmodel\s*: (\d+)", info)
    widths = [w for w in ("avx2", "avx512f") if f" {w} " in info]
    worker = Worker(binary, "vgg11-half", 32)
    peak = float(worker.ask("flops")) / 1e9
    worker.close()
    if torch.cuda.is_available():
        widths.append(torch.cuda.get_device_name())
    name = f"{cpu[1]}, family {family[1]} model {family[2]}" if cpu and family else "unknown"
    return (f"{name}; {', '.join(widths)}; {THREADS} threads; peak of one core {peak:.0f} GFLOP/s (f32 FMA); "
            f"PyTorch {torch.__version__}")


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    keys = list(dict.fromkeys(k for row in rows for k in row))
    show: Callable[[Any], str] = lambda v: "" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v)
    lines = [keys, ["---"] * len(keys), *([show(row.get(k)) for k in keys] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = ["step", "memory", "flat", "steady", "sweep", "gpu"]
    parser.add_argument("what", nargs="*", default=["step"], choices=choices)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="lines of `step` whose name contains this")
    parser.add_argument("--fold", action="store_true", help="fold PyTorch's batch norms for `step`, too")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--worker", type=Path, help="built worker to time, instead of building one")
    options = parser.parse_args()
    if "gpu" not in options.what or not has_cuda():
        enter_venv()
    binary = options.worker or built("--bench", "worker")
    results: dict[str, Any] = {"machine": machine(binary)}
    print(results["machine"] + "\n", flush=True)
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "step": lambda: step(binary, options.rounds, options.only, options.fold),
        "memory": lambda: memory(binary),
        "flat": lambda: flat(binary, options.rounds),
        "steady": lambda: steady(binary),
        "sweep": lambda: sweep(binary, options.rounds),
        "gpu": lambda: gpu(binary, options.rounds),
    }
    for what in options.what:
        results[what] = parts[what]()
        print(table(results[what]) + "\n", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
