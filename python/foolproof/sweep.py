"""Sweeps and single attacks: files and arguments for the program."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .program import FoolproofError, call, heard
from .results import Run


def run(
    sweep: str | os.PathLike[str] | Mapping[str, Any],
    *,
    out: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    device: str | None = None,
    quiet: bool = True,
) -> Run:
    """Runs a sweep and returns what came out; what is stored already is not computed again.

    `sweep` is the path of a sweep file, its TOML text, or a dict of the same keys. `out` is the folder of all runs
    (`results`). `quiet=False` shows progress on `sys.stderr`. Raises `FoolproofError`, with `code` 2 where cells failed.
    """
    options: list[str | os.PathLike[str]] = []
    for name, value in [("--out", out), ("--threads", threads), ("--device", device)]:
        if value is not None:
            options += [name, os.fspath(value) if isinstance(value, os.PathLike) else str(value)]
    if quiet:
        options.append("--quiet")
    if isinstance(sweep, os.PathLike) or (isinstance(sweep, str) and "\n" not in sweep):
        return _reported(call("--config", sweep, *options).splitlines())
    text = sweep if isinstance(sweep, str) else toml(sweep)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sweep.toml")
        path.write_text(text, encoding="utf-8")
        return _reported(call("--config", path, *options).splitlines())


def attack(
    pictures: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | os.PathLike[str],
    quiet: bool = True,
    **options: Any,
) -> Run:
    """Attacks one picture or several: `foolproof attack PICTURE… --model MODEL`.

    Further options are those of the command line, with `_` for `-`: `attack="pgd", eps="8/255"`; `set` may be a dict.
    """
    if isinstance(pictures, (str, os.PathLike)):
        pictures = [pictures]
    arguments: list[str | os.PathLike[str]] = ["attack", *pictures, "--model", model]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            arguments.append(flag)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                arguments += [flag, f"{key}={item}"]
        elif value is not None and value is not False:
            arguments += [flag, str(value)]
    # not `--quiet`, as it then does not say where the run lies
    _, told = heard(*arguments, tell=lambda line: not quiet or line.startswith("warning"))
    return _reported(told)


def _reported(lines: Sequence[str]) -> Run:
    """The run whose page is among the paths that the program named."""
    for path in map(Path, map(str.rstrip, lines)):
        if path.name == "report.html":
            return Run(path.parent)
    raise FoolproofError("the program named no report.html:\n" + "\n".join(lines))


def toml(value: Mapping[str, Any]) -> str:
    """A dict as TOML, a line a key."""
    return "".join(f"{_key(key)} = {_value(item)}\n" for key, item in value.items())


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple, range)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    # a path, or a fraction: `Fraction(8, 255)` is "8/255". JSON's strings are TOML's, but for one character
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
