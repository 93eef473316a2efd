"""Tables and witnesses, held to each other. Called by tests/wheel.rs."""

import numpy

import foolproof

run = foolproof.run(
    """name = "tables"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", first = 3, take = 5 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["2/255", "8/255"] }]
attacks = [{ name = "pgd", steps = 4 }]
"""
)
run = foolproof.read(run.folder, frames="polars")
assert run.summary["eps"].to_list() == ["2/255", "8/255"]
assert run.images.shape[0] == 10
# the export has all that is known of the same rows
assert run.outcomes["linf_255"].to_list() == run.images["linf_255"].to_list()
assert "confidence_adversarial" in run.outcomes.columns

for cell in run.summary["cell"]:
    witnesses, clean = run.witnesses(cell), run.clean(cell[:8])
    assert witnesses.shape == (5, 32, 32, 3) and witnesses.dtype == numpy.uint8
    assert run.examples(cell).tolist() == [3, 4, 5, 6, 7]
    change = numpy.abs(witnesses.astype(int) - clean).max(axis=(1, 2, 3))
    rows = run.images.filter(run.images["cell"] == cell)
    assert change.tolist() == rows["linf_255"].to_list(), (change, rows)
assert change.max() == 8

try:
    run.witnesses("nothing")
    raise AssertionError("a cell that is not there")
except foolproof.FoolproofError as error:
    assert "0 cells begin with `nothing`" in str(error), error
