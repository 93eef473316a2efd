"""What an environment with the wheel and nothing else can do. Called by tests/wheel.rs, in a folder of its own."""

from fractions import Fraction

import foolproof

SWEEP = {
    "name": "installed",
    "sweep": [
        {
            "models": ["vgg11-half-cifar10"],
            "data": {"name": "cifar10-sample", "take": 4},
            "goals": ["untargeted"],
            "threats": [{"norm": "linf", "eps": [Fraction(8, 255)]}],
            "attacks": [{"name": "noise"}, {"name": "pgd", "steps": 4, "random_start": False}],
        }
    ],
}

run = foolproof.run(SWEEP)
assert sorted(cell["attack"]["name"] for cell in run.cells.values()) == ["noise", "pgd"], run.cells
assert "2 cells, 8 witnesses" in run.verify(), run.verify()
assert run.figures["robust-accuracy"].is_file()
assert "summary" in dir(run)

cards = run._repr_html_()
assert "At a glance" in cards and "vgg11-half-cifar10" in cards and cards.count("data:image/png") >= 2
assert "<script" not in cards and ":root" not in cards
assert 'href="results/installed/report.html#cell-' in cards

try:
    foolproof.run({**SWEEP, "sweeep": []})
    raise AssertionError("an unknown key passed")
except foolproof.FoolproofError as error:
    assert error.code == 1 and "did you mean `sweep`" in str(error), error

try:
    print(run.summary)
    raise AssertionError("a table without data frames")
except ImportError as error:
    assert "pip install pandas pyarrow" in str(error), error
