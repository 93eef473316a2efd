"""Runs docs/tour.ipynb from nothing; what it prints as text is what it shows. Called by tests/wheel.rs."""

import copy
from pathlib import Path

import nbclient
import nbformat

page = Path(__file__).parents[2] / "docs" / "tour.ipynb"
shown = nbformat.read(page, as_version=4)
run = copy.deepcopy(shown)
# the kernel of this Python, whatever others are installed
run.metadata.kernelspec.name = "python3"
nbclient.NotebookClient(run, timeout=300, resources={"metadata": {"path": "."}}).execute()


def told(notebook):
    """Names of the outputs' types, and what was printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("text") or sorted(set(output["data"]) - {"image/jpeg"}) for output in outputs]


assert told(run) == told(shown), (told(run), told(shown))
assert page.stat().st_size < 300_000
