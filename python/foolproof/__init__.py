"""How easily an image classifier is fooled, from Python: a thin cover of the program `foolproof`, which does all the work.

    import foolproof

    model = foolproof.from_torch(net, pictures, "models", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    run = foolproof.run({"name": "mine", "sweep": [{"models": [str(model)], ...}]})
    run.summary
"""

from .network import from_torch
from .program import FoolproofError, binary
from .results import Run, read
from .sweep import attack, run

__all__ = ["FoolproofError", "Run", "attack", "binary", "from_torch", "read", "run"]
