"""A PyTorch model as a model file: its weights where the program knows the network, else exported; held to PyTorch's logits."""

from __future__ import annotations

import contextlib
import copy
import csv
import hashlib
import importlib.util
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import preprocessing
from .program import FoolproofError, call, heard, needed

#: How far logits may be off, as a share of the largest one (or of 1, if that is less).
TOLERANCE = 1e-4

#: Keys of a model file that this module knows better than the program, which sees weights alone.
OURS = {"side", "size", "resize", "interpolation", "mean", "std", "class_names"}


def from_torch(
    model: Any,
    example: Any,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    mean: Any = None,
    std: Any = None,
    classes: int | None = None,
    class_names: Sequence[str] | str | None = None,
    transforms: Any = None,
) -> Path:
    """Writes a model file for a `torch.nn.Module` that returns logits, and returns its path: `NAME.toml`, and beside it
    `NAME.pth`, the state dict, where the program knows the network by its tensors; else `NAME.onnx`.

    `example` is a batch of images in the model's size, before any normalisation: a tensor N×3×height×width in [0,1], an
    array of 8 bits N×height×width×3, or a list of PIL images. The program must give the logits that PyTorch gives for
    them, to 1e-4; else nothing is written and `FoolproofError` says how far they are off. A state dict with which they are
    off goes through ONNX, too.

    `model` takes normalised images. `mean` and `std` say how; or `transforms`, torchvision's `weights.transforms()` or a
    `Compose`; or timm's description of a model, which it carries. `mean="inside"`: the model takes pixels in [0,1].

    `class_names`: what the classes are called, in the order of the logits; or a set that the program knows, as "imagenet".
    """
    torch = needed("torch")
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    name = name or type(model).__name__.lower()
    if Path(name).name != name:
        raise ValueError(f"the name {name!r} is none of a file (hint: `folder` says where it goes)")
    levels = _levels(example)
    size = tuple(levels.shape[2:])
    how = preprocessing.find(model, mean, std, transforms)
    if how.crop not in (None, size):
        raise ValueError(f"the example is {size[0]}×{size[1]}, and pictures are cut to {how.crop[0]}×{how.crop[1]}")
    model = copy.deepcopy(model).cpu().float().eval()
    images = levels.float() / 255
    if how.std is not None:
        channels = (torch.tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (how.mean, how.std))
        images = (images - next(channels)) / next(channels)
    with torch.no_grad():
        logits = model(images)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        raise ValueError(f"the model returns {type(logits).__name__}, not logits N×classes (hint: a Module around it that does)")
    if logits.shape[1] < 2:
        raise ValueError("the model has one class, and an attack needs two (hint: logits of no and of yes)")
    if classes not in (None, logits.shape[1]):
        raise ValueError(f"{classes} classes, and the model has {logits.shape[1]}")
    if not (class_names is None or isinstance(class_names, str) or len(class_names) == logits.shape[1]):
        raise ValueError(f"{len(class_names)} names of classes, and the model has {logits.shape[1]}")
    lines = [f"side = {size[0]}" if size[0] == size[1] else f"size = [{size[0]}, {size[1]}]"]
    if class_names is not None:
        # a file counts from the current folder here, and from the model file there
        file = isinstance(class_names, str) and Path(class_names).is_file()
        names = str(Path(class_names).resolve()) if file else class_names if isinstance(class_names, str) else list(class_names)
        lines.append(f"class_names = {json.dumps(names, ensure_ascii=False)}")
    with tempfile.TemporaryDirectory() as temporary:
        toml = Path(temporary, f"{name}.toml")
        try:
            files = _weights(model, toml, [*lines, *how.lines(of_family=True)])
            _hold(toml, levels, logits)
        except FoolproofError as why:
            try:
                needed("onnx", "onnx", "onnxscript")
            except ImportError as missing:
                reason = str(why).replace(f"{temporary}{os.sep}", "")
                raise FoolproofError(f"no family of networks fits: {reason}; and to go through ONNX {missing}", why.code) from None
            files = _onnx(model, images[:1], toml, [f"classes = {logits.shape[1]}", *lines, *how.lines(of_family=False)])
            _hold(toml, levels, logits)
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in [*files, toml]:
            shutil.move(path, Path(folder, path.name))
        return Path(folder, toml.name)


def _weights(model: Any, toml: Path, lines: list[str]) -> list[Path]:
    """The state dict and, from what the program says of it, the model file; an error where it knows no such network."""
    weights = toml.with_suffix(".pth")
    needed("torch").save(model.state_dict(), weights)
    # what it assumes is said in the model file, and held to the logits
    heard("init", weights, "--yes", "--quiet", tell=lambda line: False)
    written = toml.read_text(encoding="utf-8").splitlines()
    kept = [line for line in written if line.split(" ")[0] not in OURS and not line.startswith("#")]
    toml.write_text("\n".join([*kept, *lines]) + "\n", encoding="utf-8")
    return [weights]


def _onnx(model: Any, image: Any, toml: Path, lines: list[str]) -> list[Path]:
    """The exported network and its model file."""
    onnx = toml.with_suffix(".onnx")
    _export(model, image, onnx)
    data = [path for path in [Path(f"{onnx}.data")] if path.exists()]
    lines = [f'weights = "{onnx.name}"', *lines]
    if not data:  # else the digest is one of both files together, which the program tells
        lines.append(f'sha256 = "{hashlib.sha256(onnx.read_bytes()).hexdigest()}"')
    toml.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [*data, onnx]


def _levels(example: Any) -> Any:
    """The example as a tensor of grey levels, N×3×height×width."""
    torch = needed("torch")
    if not isinstance(example, torch.Tensor):
        numpy = needed("numpy")
        arrays = [numpy.asarray(e.convert("RGB") if hasattr(e, "convert") else e) for e in example]
        if len({a.shape for a in arrays}) != 1:
            raise ValueError("the images of the example differ in size (hint: resize and cut them as the model wants)")
        example = torch.from_numpy(numpy.stack(arrays))
        if example.dim() == 4 and example.shape[3] == 3:
            example = example.permute(0, 3, 1, 2)
    example = example.detach().cpu()
    if example.dim() != 4 or example.shape[1] != 3 or len(example) == 0:
        raise ValueError(f"the example has the shape {tuple(example.shape)}, not N×3×height×width")
    if example.dtype == torch.uint8:
        return example
    if not example.is_floating_point() or not bool(((example >= 0) & (example <= 1)).all()):
        raise ValueError("the example has values outside [0,1] (hint: pixels, before normalisation)")
    return (example * 255).round().to(torch.uint8)


def _export(model: Any, image: Any, path: Path) -> None:
    """One image's network as one file, by PyTorch's newer exporter where its package is there, else by the older."""
    torch = needed("torch")
    dynamo = importlib.util.find_spec("onnxscript") is not None
    # a file of Protocol Buffers holds 2 GB
    large = sum(t.numel() * t.element_size() for t in model.state_dict().values()) > 1_900_000_000
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (image,), str(path), dynamo=dynamo, external_data=large, verbose=False)


def _hold(toml: Path, levels: Any, logits: Any) -> None:
    """Asks the program for the logits of the example's pictures, and compares."""
    torch, image = needed("torch"), needed("PIL.Image", "pillow")
    pictures = [toml.with_name(f"{k}.png") for k in range(len(levels))]
    for picture, pixels in zip(pictures, levels):
        image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(picture)
    ours = torch.full_like(logits, float("nan"))
    for row in csv.DictReader(io.StringIO(call("predict", *pictures, "--model", toml, "--all", "--quiet"))):
        ours[int(Path(row["picture"]).stem), int(row["class"])] = float(row["logit"])
    off, largest = float((ours - logits).abs().max()), float(logits.abs().max())
    # `not`, so that a number that is none is no agreement
    if not off <= TOLERANCE * max(1.0, largest):
        raise FoolproofError(
            f"the program's logits are {off:.2g} off PyTorch's, of which the largest is {largest:.3g} (hint: does the model "
            "do the same in each call, to each image by itself, and return logits without Softmax or LogSoftmax?)",
            3,
        )
