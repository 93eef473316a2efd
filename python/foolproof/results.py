"""What a run stored: tables as data frames, witnesses as arrays, the page's cards in a notebook."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from .program import FoolproofError, call, needed


def read(run: str | os.PathLike[str], *, frames: str | None = None) -> Run:
    """The run in a folder: `read("results/pgd")`.

    `frames` is `"pandas"` or `"polars"`; where it is not given, pandas if it is installed with pyarrow, else polars.
    """
    return Run(run, frames=frames)


class Run:
    """A run. Each of its tables is an attribute, read when it is asked for: `run.summary`, `run.images`,
    `run.worst_case`; `dir(run)` has them all. docs/results.md says what their columns mean."""

    def __init__(self, folder: str | os.PathLike[str], *, frames: str | None = None) -> None:
        self.folder = Path(folder)
        if not (self.folder / "cells").is_dir():
            raise FoolproofError(f"no run at {self.folder} (hint: the folder that holds `cells`, as results/pgd)")
        if frames not in (None, "pandas", "polars"):
            raise FoolproofError(f"unknown frames `{frames}` (hint: pandas or polars)")
        self._frames = frames

    def __repr__(self) -> str:
        return f"foolproof.Run({str(self.folder)!r})"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._tables()]

    def __getattr__(self, name: str) -> Any:
        path = self._tables().get(name) if not name.startswith("_") else None
        if path is None:
            raise AttributeError(f"{self!r} has no table `{name}` (hint: {', '.join(self._tables())})")
        self.__dict__[name] = frame = self._read_frame(path)
        return frame

    def _tables(self) -> dict[str, Path]:
        folder = self.__dict__.get("folder", Path())
        return {path.stem.replace("-", "_"): path for path in sorted(folder.glob("tables/*.parquet"))}

    @cached_property
    def outcomes(self) -> Any:
        """One row per image and cell with all that is known of both: the table of `export --format parquet`."""
        with tempfile.TemporaryDirectory() as to:
            call("export", self.folder, "--format", "parquet", "--to", to, "--quiet")
            return self._read_frame(next(Path(to).rglob("*.parquet")))

    @cached_property
    def cells(self) -> dict[str, dict[str, Any]]:
        """The full description of each stored cell, by its id. The order of the plan is that of `run.summary`."""
        paths = sorted(self.folder.glob("cells/*/cell.json"))
        return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}

    @property
    def figures(self) -> dict[str, Path]:
        """The figures as SVG files, by name. PNG, PDF and the points as CSV lie beside them."""
        return {path.stem: path for path in sorted(self.folder.glob("figures/*.svg"))}

    @property
    def page(self) -> Path:
        """The run on one page, for a browser."""
        return self.folder / "report.html"

    def witnesses(self, cell: str) -> Any:
        """The judged images of a cell, given by its id or the id's beginning: a numpy array N×height×width×3 of 8 bits (of
        f32 in [0,1] where the cell has `witness = "f32"`), in the order of `examples(cell)`."""
        return self._images(cell)["images"].transpose(0, 2, 3, 1)

    def examples(self, cell: str) -> Any:
        """The numbers in the dataset of the images of a cell, as in the column `example`."""
        return self._images(cell)["examples"]

    def clean(self, cell: str) -> Any:
        """The clean images of a cell, in the order of its witnesses."""
        digest = self.cells[self._id(cell)]["data"]["digest"]
        inputs = _tensors(self.folder / "inputs" / f"{digest}.safetensors")
        at = {int(example): k for k, example in enumerate(inputs["examples"])}
        rows = [at[int(example)] for example in self.examples(cell)]
        return inputs["images"][rows].transpose(0, 2, 3, 1)

    def verify(self) -> str:
        """Checks every claim again, from witnesses, weights and data alone; returns what the program says."""
        return call("verify", self.folder, "--quiet").strip()

    def _id(self, cell: str) -> str:
        found = [id for id in self.cells if id.startswith(cell)]
        if len(found) != 1:
            raise FoolproofError(f"{len(found)} cells begin with `{cell}` (hint: run.cells has their ids)")
        return found[0]

    def _images(self, cell: str) -> dict[str, Any]:
        return _tensors(self.folder / "cells" / self._id(cell) / "witnesses.safetensors")

    def _read_frame(self, path: Path) -> Any:
        has = {name for name in ("pandas", "pyarrow", "polars") if importlib.util.find_spec(name)}
        if (self._frames or ("polars" if "polars" in has and not has >= {"pandas", "pyarrow"} else "pandas")) == "pandas":
            needed("pyarrow", "pandas", "pyarrow")
            return needed("pandas", "pandas", "pyarrow").read_parquet(path)
        return needed("polars").read_parquet(path)

    def _repr_html_(self) -> str | None:
        """The cards of the page, in the page's style."""
        if not self.page.is_file():
            return None
        html = self.page.read_text(encoding="utf-8")
        style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
        cards = re.search(r'<section id="cards".*?</section>', html, re.DOTALL)
        if not style or not cards:
            return None
        # nested, the page's rules hold for the cards alone; what it says of its root is said of this element
        rules = style[1].replace(":root", "&")
        box = "background: var(--paper); color: var(--ink); padding: .1rem 1rem 1rem;"
        # the cells stand on the page
        text = cards[0].replace('href="#', f'href="{os.path.relpath(self.page).replace(os.sep, "/")}#')
        return f'<div class="foolproof"><style>.foolproof {{ {box}\n{rules} }}</style>{text}</div>'


def _tensors(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file: eight bytes with the length of the header, the header as JSON, the values."""
    numpy = needed("numpy")
    types = {"U8": "u1", "F32": "<f4", "I64": "<i8"}
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        values = numpy.frombuffer(data[first:last], dtype=types[entry["dtype"]])
        arrays[name] = values.reshape(entry["shape"])
    return arrays
