"""How a network wants its pictures: read off torchvision's and timm's own descriptions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preprocessing:
    """`mean` and `std` of three channels, or `mean = "inside"`; and how pictures are cut, as far as that is known."""

    mean: Sequence[float] | str
    std: Sequence[float] | None = None
    crop: tuple[int, int] | None = None
    resize: int | None = None
    interpolation: str | None = None

    def lines(self, of_family: bool) -> Iterator[str]:
        """Lines of a model file: of a network that the program builds itself, or of one in a file."""
        if self.resize is not None:
            yield f"resize = {self.resize}"
        if self.interpolation is not None:
            yield f'interpolation = "{self.interpolation}"'
        if isinstance(self.mean, str) or self.std is None:
            yield from ["mean = [0.0, 0.0, 0.0]", "std = [1.0, 1.0, 1.0]"] if of_family else ['mean = "inside"']
        else:
            yield f"mean = {[float(m) for m in self.mean]}"
            yield f"std = {[float(s) for s in self.std]}"


def find(model: Any, mean: Any, std: Any, transforms: Any) -> Preprocessing:
    """What is given, else what `transforms` say, else what timm keeps with the model."""
    if mean is not None and transforms is not None:
        raise ValueError("mean and transforms: one of them, or neither for timm's models")
    if isinstance(mean, str):
        if mean != "inside" or std is not None:
            raise ValueError('mean: three numbers with std, or "inside" alone, where the model normalises images itself')
        return Preprocessing("inside")
    if (mean is None) != (std is None):
        raise ValueError("mean and std: both, or neither")
    if mean is not None:
        return Preprocessing(_three(mean), _three(std))
    if transforms is not None:
        return _of_compose(transforms) if hasattr(transforms, "transforms") else _of_preset(transforms)
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if config is None:
        raise ValueError(
            "how are images normalised? (hint: mean=… and std=…, or transforms=weights.transforms(), or "
            'mean="inside" where the model does it itself)'
        )
    return _of_timm(config if isinstance(config, dict) else vars(config))


def _of_preset(preset: Any) -> Preprocessing:
    """torchvision's `weights.transforms()`."""
    try:
        mean, std = preset.mean, preset.std
    except AttributeError:
        raise ValueError(f"transforms {preset!r} has no mean and std (hint: mean=… and std=…)") from None
    crop = getattr(preset, "crop_size", None)
    resize = getattr(preset, "resize_size", None)
    interpolation = _interpolation(getattr(preset, "interpolation", None))
    return Preprocessing(_three(mean), _three(std), _pair(crop), _one(resize), interpolation)


def _of_compose(compose: Any) -> Preprocessing:
    """A list of transforms: what of it normalises, resizes and cuts, by the names of torchvision's classes."""
    steps = {type(step).__name__: step for step in compose.transforms}
    if "Normalize" not in steps:
        raise ValueError('transforms do not normalise (hint: mean="inside" where the model takes pixels in [0,1])')
    normalise, resize, crop = steps["Normalize"], steps.get("Resize"), steps.get("CenterCrop")
    return Preprocessing(
        _three(normalise.mean),
        _three(normalise.std),
        _pair(crop.size) if crop else None,
        _one(resize.size) if resize else None,
        _interpolation(resize.interpolation) if resize else None,
    )


def _of_timm(config: dict[str, Any]) -> Preprocessing:
    """timm's `pretrained_cfg`."""
    if config.get("mean") is None or config.get("std") is None:
        raise ValueError("timm's description of the model has no mean and std (hint: mean=… and std=…)")
    crop, share = _pair((config.get("input_size") or ())[-2:]), config.get("crop_pct")
    # timm's own rounding
    resize = math.floor(min(crop) / share) if crop and share else None
    return Preprocessing(_three(config["mean"]), _three(config["std"]), crop, resize, _interpolation(config.get("interpolation")))


def _three(values: Any) -> list[float]:
    numbers = [float(v) for v in values]
    if len(numbers) != 3:
        raise ValueError(f"{len(numbers)} channels in {numbers}: mean and std have three numbers, R, G and B")
    return numbers


def _pair(size: Any) -> tuple[int, int] | None:
    """Height and width, where a crop has one number, two, or none."""
    numbers = [size] if isinstance(size, int) else list(size or ())
    return (numbers[0], numbers[-1]) if numbers else None


def _one(size: Any) -> int | None:
    """The short side that a resize makes."""
    numbers = [size] if isinstance(size, int) else list(size or ())
    if len(set(numbers)) > 1:
        raise ValueError(f"Resize to {numbers} changes the shape of pictures (hint: mean=… and std=…, without transforms)")
    return numbers[0] if numbers else None


def _interpolation(mode: Any) -> str | None:
    name = getattr(mode, "value", mode)
    if name not in (None, "bilinear", "bicubic"):
        raise ValueError(f"interpolation {name} is not known here (hint: mean=… and std=…, without transforms)")
    return None if name is None else str(name)
