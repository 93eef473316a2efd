"""The program: where it lies, and how it is called."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

_NAME = "foolproof.exe" if os.name == "nt" else "foolproof"


class FoolproofError(Exception):
    """The program ended with an error: its message, and its exit code in `code` (docs/cli.md says what each means)."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def binary() -> Path:
    """The program: what `FOOLPROOF_BINARY` names, else what was installed with this module, else the one on the `PATH`."""
    named = os.environ.get("FOOLPROOF_BINARY")
    if named:
        return Path(named)
    for path in _installed():
        if path.is_file():
            return path
    found = shutil.which("foolproof")
    if found:
        return Path(found)
    raise FoolproofError("no program `foolproof` (hint: pip install foolproof, or let FOOLPROOF_BINARY name it)")


def _installed() -> Iterator[Path]:
    """Where an installer may have put the program."""
    try:
        files = importlib.metadata.files("foolproof") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    yield from (Path(str(file.locate())) for file in files if file.name == _NAME)
    yield Path(sysconfig.get_path("scripts"), _NAME)


def call(*arguments: str | os.PathLike[str]) -> str:
    """Runs the program and returns its standard output. What it tells people goes to `sys.stderr`, line by line."""
    return heard(*arguments, tell=lambda line: True)[0]


def heard(*arguments: str | os.PathLike[str], tell: Callable[[str], bool]) -> tuple[str, list[str]]:
    """Runs the program and returns its standard output, and the lines that it tells people; those that are to be told go
    to `sys.stderr`."""
    command: Sequence[str] = [str(binary()), *(os.fspath(argument) for argument in arguments)]
    told: list[str] = []
    error = False
    # a file, so that a long output cannot stop a program whose other pipe is read
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
        except OSError as why:
            raise FoolproofError(f"cannot start {command[0]}: {why}") from why
        try:
            assert process.stderr is not None
            for line in process.stderr:
                told.append(line)
                error = error or line.startswith("error: ")
                if not error and tell(line):
                    sys.stderr.write(line)
            code = process.wait()
        except BaseException:
            # an interrupted cell of a notebook; what is stored stays whole
            process.terminate()
            process.wait()
            raise
        out.seek(0)
        text = out.read().decode("utf-8", errors="replace")
    if code != 0:
        at = next((i for i, line in enumerate(told) if line.startswith("error: ")), 0)
        message = "".join(told[at:]).removeprefix("error: ").strip()
        raise FoolproofError(message or f"foolproof ended with exit code {code}", code)
    return text, told


def needed(module: str, *packages: str) -> ModuleType:
    """A module of another package, or an error that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        names = " ".join(packages or (module,))
        raise ImportError(f"this needs {module} (hint: pip install {names})") from error
