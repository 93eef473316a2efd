#!/usr/bin/env python3
"""Runs each attack that we share with other libraries in both, and writes docs/conformance.md: who finds what, and why.

    scripts/conformance.py [--only TEXT] [--long] [--ours] [--render] [--data FOLDER] [--autoattack FOLDER] [--python PATH]

Networks are the two that are embedded, images CIFAR-10's test images 0 to 99, taken from FOOLPROOF_DATA or --data. Each row
of the page compares one attack of one library with ours in float witnesses: with the same parameters, and with each side's
defaults. Where the two differ, a third number shows the cause: a parameter of ours, or a patch of theirs, with which they meet.
What the libraries find is kept below target/conformance/ by version and parameters, so a second run computes only what is
missing; a row that was not run here keeps its line of the page. `--render` computes nothing and writes the page from what is kept, `--ours` runs ours alone, after a change of the program. `--only` takes rows whose `attack library network
norm` contains the text; `--long` adds those that take minutes. The libraries are installed into a virtual environment below
target/, or `--python` names one that has them. The authors' AutoAttack is on no package index: `--autoattack` names a checkout
of fra31/auto-attack; without it, its rows say that they were not run.
"""
from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import types
import venv
import warnings
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Iterator

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "target" / "conformance"
VENV = KEPT / "venv"
PAGE = ROOT / "docs" / "conformance.md"
PACKAGES = ["torch==2.15.0", "numpy", "scipy", "tqdm", "requests", "scikit-learn", "eagerpy", "GitPython", "six",
            "multiprocess", "packaging"]
# Without their dependencies, some of which are pinned to old versions that clash: these need no more than PACKAGES here.
LIBRARIES = ["foolbox==3.3.4", "torchattacks==3.5.1", "adversarial-robustness-toolbox==1.20.1", "adv-lib==0.2.8"]
AUTHORS = "a392200"  # commit of fra31/auto-attack, the newest there is (2023)
VERSIONS = {library.split("==")[0]: library.split("==")[1] for library in LIBRARIES} | {"auto-attack": AUTHORS}
SHORT = {"adversarial-robustness-toolbox": "ART"}
IMAGES = 100
# Budgets that leave some images standing on each network.
NETS = {
    "vgg11-half-cifar10-robust": {"linf": "8/255", "l2": "0.5", "l1": "12"},
    "vgg11-half-cifar10": {"linf": "1/255", "l2": "0.15", "l1": "3"},
}
# The standard network with logits 16 times as large: the same classes, and surer of them.
SURE = "vgg11-half-cifar10-times-16"
SURE_OF = "vgg11-half-cifar10"
SEEDS = [0, 1]
# A distance counts as another if it is further off than this share: the last bits of 100 steps in f32 are chance.
NEAR = 0.01
# Runs of a library whose network sees pixels changed at random by so large a share: no further than sums in another order lead.
NUDGES = 4
NUDGE = 1e-6


@dataclass(frozen=True)
class Theirs:
    """A run of a library: the attack's name there, its parameters, and what we changed in it."""

    library: str
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    patches: tuple[str, ...] = ()

    def key(self, net: str, norm: str, eps: str | None, seed: int) -> str:
        parts = [self.library, VERSIONS[self.library], self.name, self.params, self.patches, net, norm, eps, seed]
        return json.dumps(parts, sort_keys=True, default=str)


@dataclass(frozen=True)
class Row:
    """One line of the page. `eps`: None where the least distance is asked for. `ours`: the attack as in a sweep file."""

    table: str
    net: str
    norm: str
    eps: str | None
    setting: str
    theirs: Theirs
    ours: dict[str, Any]
    cause: str = ""
    meets: Theirs | dict[str, Any] | None = None
    text: str = ""
    to: str = ""
    rest: str = "not explained"
    seeds: int = 1
    long: bool = False

    def meets_ours(self) -> bool:
        """Whether the third number is to meet ours: one of theirs does, unless said otherwise."""
        return self.to != "theirs" and isinstance(self.meets, Theirs)

    def title(self) -> str:
        return f"{self.table} {SHORT.get(self.theirs.library, self.theirs.library)} {self.net} {self.norm}"


# What lies behind the differences: a title, and one sentence or two. Rows name them, and the page lists those that it needs.
CAUSES = {
    "last": ("last iterate", "The library returns its last iterate, fooled or not. Here any iterate counts: the first that is fooled is kept."),
    "unseen": ("the last iterate is not looked at", "The library keeps any iterate that it looked at, but never looks at the one that its "
               "last step leads to."),
    "f32": ("rounding of the loss", "Where the network is sure, the label's probability rounds to 1 in f32 and the gradient of the "
            "cross-entropy loses the label's share, or becomes 0. Ours is computed from the log-odds, which do not round."),
    "steps": ("other steps by default", "Another number of steps or queries, or steps of another length, by default."),
    "start": ("random start", "Each side draws its own random numbers. Both vary with the seed, and alike."),
    "ten": ("10 steps for 100", "torchattacks runs APGD, APGD-T and FAB for 10 steps by default, and its AutoAttack does not pass the "
            "authors' 100."),
    "schedule": ("Square's schedule", "torchattacks shrinks Square's windows by the share of the queries that are spent, as the paper, "
                 "AutoAttack by their number."),
    "set": ("another set of attacks", "ART's AutoAttack is APGD on cross-entropy and on DLR, five starts each, then DeepFool and Square."),
    "bits": ("last bits", "The same steps, in sums of another order. An attack that turns back at every boundary makes much of little: the "
             "library in f64 is as far from itself in f32."),
    "round": ("8 bits", "One side rounds the iterates to 8 bits by default, the other does not."),
    "l1": ("another step in L1", "Ours moves the largest hundredth of the entries and projects onto ball and box at once. foolbox's sparse "
           "descent moves 31 entries for our 30, leaves out those at the box's faces, and clips to the box after it has projected "
           "onto the ball; its PGD moves all entries by the gradient over its L1 length, and shrinks the change to the ball."),
    "signs": ("signs of gradients", "foolbox adds up the signs of gradients, where Dong et al. (2018) add up gradients over their size."),
    "ahead": ("look ahead", "torchattacks has the copies at several scales only together with Nesterov's look ahead."),
    "diverse": ("resized images", "torchattacks' TI-FGSM also resizes and pads the images at random."),
    "overshoot": ("several DeepFools", "foolbox (and ours, by default) adds up the steps and lengthens their sum by 2 %; adversarial-library "
                  "and torchattacks lengthen every step and go on from the clipped image; ART lengthens the end alone, by 1e-6 of it; "
                  "and torchattacks and ART step to the boundary itself, without 1e-4 beyond it."),
    "ball": ("the ball of FMN", "Ours makes the first ball a ten-thousandth larger, so that rounding does not hold a point at the boundary, "
             "and projects onto ball and box at once in L1. adversarial-library clips to the box after the ball in L1, and in L2 also "
             "lengthens changes that are shorter than the radius. foolbox does not project at all in L2, where it divides a norm by "
             "itself, and keeps one component more than asked in L0."),
    "adam": ("Adam's epsilon", "Adam divides by √v + 1e-8, a length of gradients; ours takes 1e-8 of their root mean square, so that networks whose "
             "logits are small are attacked alike. Values near the ends of the box, whose gradient behind a tanh is tiny, feel it."),
    "unfound": ("black images", "foolbox's C&W returns a black image where it found none, and the network has most of those wrong."),
    "zero": ("three turns of C&W", "torchattacks multiplies the logits with a mask before it takes the largest, so that a 0 takes part: "
             "other logits count as at least 0, and so does the label's. It ends for all images once their summed cost has risen. And "
             "values of 0 and 1 stay there, being at infinity behind the tanh."),
}


def rows() -> Iterator[Row]:
    """Every line of the page, by attack."""
    for net, budgets in NETS.items():
        for row in (*gradient_rows(net, budgets), *auto_rows(net, budgets), *minimal_rows(net)):
            # of the second network the short ones alone, if not asked for all: causes are the same
            is_second = net != next(iter(NETS)) and row.table not in ("fgsm", "ddn", "deepfool", "mi-fgsm")
            yield replace(row, long=row.long or is_second)
    yield from sure_rows()


def sure_rows() -> Iterator[Row]:
    """A network that is surer than f32 can say."""
    eps = "1/255"
    linf = float(Fraction(eps))
    steps = {"eps": linf, "alpha": linf / 4, "steps": 10}
    bim = {"name": "pgd", "steps": 10, "step_size": "eps/4", "random_start": False}
    for table, library, name, params, ours in [
        ("fgsm", "torchattacks", "FGSM", {"eps": linf}, {"name": "fgsm"}),
        ("fgsm", "foolbox", "LinfFastGradientAttack", {}, {"name": "fgsm"}),
        ("pgd", "torchattacks", "BIM", steps, bim),
        ("mi-fgsm", "torchattacks", "MIFGSM", steps, {"name": "mi-fgsm", "steps": 10, "step_size": "eps/4"}),
    ]:
        setting = "same" if table == "fgsm" else "same: 10 steps of eps/4"
        patches, words = (("any", "log-odds"), "theirs with any iterate, from log-odds") if table == "pgd" else (("log-odds",), "theirs from log-odds")
        yield Row(table, SURE, "linf", eps, setting, Theirs(library, name, params), ours, "f32",
                  meets=Theirs(library, name, params, patches), text=words)


def gradient_rows(net: str, budgets: dict[str, str]) -> Iterator[Row]:
    """FGSM, BIM, PGD and MI-FGSM."""
    linf, l2 = (float(Fraction(budgets[norm])) for norm in ("linf", "l2"))
    at = {"linf": linf, "l2": l2}

    def row(table: str, norm: str, setting: str, theirs: Theirs, ours: dict[str, Any], cause: str = "", **more: Any) -> Row:
        return Row(table, net, norm, budgets[norm], setting, theirs, ours, cause, **more)

    def patched(theirs: Theirs, *patches: str) -> Theirs:
        return Theirs(theirs.library, theirs.name, theirs.params, patches)

    # one step
    one = [("torchattacks", "linf", "FGSM", {"eps": linf}), ("foolbox", "linf", "LinfFastGradientAttack", {}),
           ("adversarial-robustness-toolbox", "linf", "FastGradientMethod", {"eps": linf, "norm": "inf"}),
           ("foolbox", "l2", "L2FastGradientAttack", {}),
           ("adversarial-robustness-toolbox", "l2", "FastGradientMethod", {"eps": l2, "norm": 2})]
    for library, norm, name, params in one:
        theirs = Theirs(library, name, params)
        yield row("fgsm", norm, "same = default", theirs, {"name": "fgsm"}, "f32", meets=patched(theirs, "log-odds"), text="theirs from log-odds")

    # several steps from the clean image
    steps, alpha = 10, linf / 4
    bim = {"name": "pgd", "steps": steps, "step_size": "eps/4", "random_start": False}
    for library, name, params in [
        ("torchattacks", "BIM", {"eps": linf, "alpha": alpha, "steps": steps}),
        ("torchattacks", "PGD", {"eps": linf, "alpha": alpha, "steps": steps, "random_start": False}),
        ("foolbox", "LinfBasicIterativeAttack", {"rel_stepsize": 0.25, "steps": steps}),
        ("adversarial-robustness-toolbox", "ProjectedGradientDescent",
         {"eps": linf, "eps_step": alpha, "max_iter": steps, "norm": "inf"}),
    ]:
        theirs = Theirs(library, name, params)
        yield row("pgd", "linf", f"same: {steps} steps of eps/4, no random start", theirs, bim, "last",
                  meets=patched(theirs, "any"), text="theirs with any iterate")
    seen = Theirs("adv-lib", "pgd_linf", {"ε": linf, "steps": steps, "absolute_step_size": alpha, "random_init": False})
    yield row("pgd", "linf", f"same: {steps} steps of eps/4, no random start", seen, bim, "unseen",
              meets={**bim, "steps": steps - 1}, text=f"ours with {steps - 1} steps")
    steps = 40
    long = {"name": "pgd", "steps": steps, "step_size": "eps/10", "random_start": False}
    for library, name, params in [
        ("torchattacks", "PGDL2", {"eps": l2, "alpha": l2 / 10, "steps": steps, "random_start": False}),
        ("foolbox", "L2ProjectedGradientDescentAttack", {"rel_stepsize": 0.1, "steps": steps, "random_start": False}),
        ("adversarial-robustness-toolbox", "ProjectedGradientDescent",
         {"eps": l2, "eps_step": l2 / 10, "max_iter": steps, "norm": 2}),
    ]:
        theirs = Theirs(library, name, params)
        yield row("pgd", "l2", f"same: {steps} steps of eps/10, no random start", theirs, long, "last",
                  meets=patched(theirs, "any"), text="theirs with any iterate")

    many = {"rel_stepsize": 0.1, "steps": steps, "random_start": False}
    for name, patches in [("SparseL1DescentAttack", ("l1-step", "l1-joint", "any")),
                          ("L1ProjectedGradientDescentAttack", ("l1-step", "l1-joint", "any"))]:
        theirs = Theirs("foolbox", name, many)
        yield row("pgd", "l1", f"same: {steps} steps of eps/10, no random start", theirs, long, "l1",
                  meets=patched(theirs, *patches), text="theirs with our step and projection, any iterate")

    # each one's defaults: the budget alone is given
    own = {"name": "pgd"}
    defaults = [
        ("torchattacks", "linf", "PGD", {"eps": linf}, {"steps": 10, "step_size": "2/255"}, "10 steps of 2/255, random start"),
        ("foolbox", "linf", "LinfProjectedGradientDescentAttack", {}, {"steps": 40, "step_size": "eps/30"},
         "40 steps of eps/30, random start"),
        ("adv-lib", "linf", "pgd_linf", {"ε": linf}, {"steps": 39, "step_size": "eps/30"}, "40 steps of eps/30, random start"),
        ("adversarial-robustness-toolbox", "linf", "ProjectedGradientDescent", {"eps": linf, "norm": "inf"},
         {"steps": 100, "step_size": "0.1", "random_start": False}, "100 steps of 0.1, no random start"),
        ("torchattacks", "l2", "PGDL2", {"eps": l2}, {"steps": 10, "step_size": "0.2"}, "10 steps of 0.2, random start"),
        ("foolbox", "l2", "L2ProjectedGradientDescentAttack", {}, {"steps": 50, "step_size": "eps/40"},
         "50 steps of eps/40, random start"),
        ("adversarial-robustness-toolbox", "l2", "ProjectedGradientDescent", {"eps": l2, "norm": 2},
         {"steps": 100, "step_size": "0.1", "random_start": False}, "100 steps of 0.1, no random start"),
    ]
    for library, norm, name, params, mine, words in defaults:
        theirs, certain = Theirs(library, name, params), "no random" in words
        yield row("pgd", norm, f"defaults: {words}; ours 40 of eps/16", theirs, own, "steps", meets={"name": "pgd", **mine},
                  text="ours with theirs", seeds=1 if certain else 2, rest="the rest in the row below" if certain else "not explained")
        if certain:
            yield row("pgd", norm, f"same: {words}", theirs, {"name": "pgd", **mine}, "last", meets=patched(theirs, "any"),
                      text="theirs with any iterate")

    # attacks that are made to be carried over: the last iterate counts on both sides
    steps = 10
    momentum = {"name": "mi-fgsm", "steps": steps, "step_size": "eps/4"}
    for library, name, params in [
        ("torchattacks", "MIFGSM", {"eps": linf, "alpha": alpha, "steps": steps}),
        ("adversarial-robustness-toolbox", "MomentumIterativeMethod",
         {"eps": linf, "eps_step": alpha, "max_iter": steps, "norm": "inf"}),
    ]:
        theirs = Theirs(library, name, params)
        yield row("mi-fgsm", "linf", f"same: {steps} steps of eps/4, decay 1", theirs, momentum, "f32",
                  meets=patched(theirs, "log-odds"), text="theirs from log-odds")
    signs = Theirs("foolbox", "LinfMomentumIterativeFastGradientMethod", {"rel_stepsize": 0.25, "steps": steps})
    yield row("mi-fgsm", "linf", f"same: {steps} steps of eps/4, decay 1", signs, momentum, "signs",
              meets=patched(signs, "mean"), text="theirs, gradients divided by their mean size")
    fixed = Theirs("torchattacks", "MIFGSM", {"eps": linf})
    yield row("mi-fgsm", "linf", "defaults: theirs 10 steps of 2/255, ours 10 of eps/10", fixed, {"name": "mi-fgsm"}, "steps",
              meets={"name": "mi-fgsm", "step_size": "2/255"}, text='ours with `step_size = "2/255"`')
    ahead = Theirs("torchattacks", "NIFGSM", {"eps": linf, "alpha": alpha, "steps": steps})
    yield row("ni-fgsm", "linf", f"same: {steps} steps of eps/4, decay 1", ahead, {**momentum, "name": "ni-fgsm"}, "f32",
              meets=patched(ahead, "log-odds"), text="theirs from log-odds")
    scaled = {"eps": linf, "alpha": alpha, "steps": steps}
    yield row("si-fgsm", "linf", f"same: {steps} steps of eps/4, 5 scales, decay 0",
              Theirs("torchattacks", "SINIFGSM", {**scaled, "decay": 0.0}), {**momentum, "name": "si-fgsm", "decay": 0})
    yield row("si-fgsm", "linf", f"same: {steps} steps of eps/4, 5 scales, decay 1", Theirs("torchattacks", "SINIFGSM", scaled),
              {**momentum, "name": "si-fgsm"}, "ahead", meets=Theirs("torchattacks", "SINIFGSM", scaled, ("not-ahead",)),
              text="theirs without the look ahead")
    smooth = {"eps": linf, "alpha": alpha, "steps": steps, "decay": 1.0}
    yield row("ti-fgsm", "linf", f"same: {steps} steps of eps/4, kernel 15, decay 1",
              Theirs("torchattacks", "TIFGSM", smooth), {**momentum, "name": "ti-fgsm"}, "diverse",
              meets=Theirs("torchattacks", "TIFGSM", {**smooth, "diversity_prob": 0.0}), text="theirs with `diversity_prob = 0`")
    near = {"eps": linf, "alpha": alpha, "steps": steps, "N": 20}
    yield row("vmi-fgsm", "linf", f"same: {steps} steps of eps/4, 20 neighbours", Theirs("torchattacks", "VMIFGSM", near),
              {**momentum, "name": "vmi-fgsm"}, "start", seeds=2)


def auto_rows(net: str, budgets: dict[str, str]) -> Iterator[Row]:
    """AutoAttack and its parts."""
    title = {"linf": "Linf", "l2": "L2", "l1": "L1"}
    number = {"linf": float("inf"), "l2": 2, "l1": 1}

    def row(table: str, norm: str, setting: str, theirs: Theirs, ours: dict[str, Any], cause: str = "", **more: Any) -> Row:
        return Row(table, net, norm, budgets[norm], setting, theirs, ours, cause, **more)

    for norm in ("linf", "l2"):
        eps = float(Fraction(budgets[norm]))
        for loss in ("ce", "dlr"):
            ours = {"name": "apgd", "loss": loss}
            authors = Theirs("auto-attack", "APGDAttack", {"norm": title[norm], "eps": eps, "n_iter": 100, "loss": loss})
            yield row("apgd", norm, f"{loss}, same = default: 100 steps", authors, ours, "start", seeds=2)
            small = Theirs("torchattacks", "APGD", {"norm": title[norm], "eps": eps, "loss": loss})
            same = Theirs("torchattacks", "APGD", {"norm": title[norm], "eps": eps, "loss": loss, "steps": 100})
            yield row("apgd", norm, f"{loss}, same: 100 steps", same, ours, "start", seeds=2, long=loss == "dlr")
            yield row("apgd", norm, f"{loss}, defaults: theirs 10 steps, ours 100", small, ours, "ten",
                      meets={**ours, "steps": 10}, text="ours with `steps = 10`", seeds=2)
            kept = Theirs("adv-lib", "apgd", {"eps": eps, "norm": number[norm], "loss_function": loss})
            yield row("apgd", norm, f"{loss}, same: 100 steps", kept, ours, "start", seeds=2, long=loss == "ce")
        art = {"norm": "inf" if norm == "linf" else 2, "eps": eps, "eps_step": 2 * eps, "nb_random_init": 1,
               "loss_type": "cross_entropy"}
        theirs = Theirs("adversarial-robustness-toolbox", "AutoProjectedGradientDescent", art)
        yield row("apgd", norm, "ce, same: 100 steps, first of 2·eps", theirs, {"name": "apgd"}, "last",
                  meets=Theirs(theirs.library, theirs.name, art, ("any",)), text="theirs with any iterate", seeds=2, long=True)
        targeted = {"name": "apgd", "loss": "targeted"}
        authors = Theirs("auto-attack", "APGDAttack_targeted", {"norm": title[norm], "eps": eps, "n_iter": 100})
        yield row("apgd", norm, "targeted, same = default: 9 targets, 100 steps", authors, targeted, "start", long=True)
        small = Theirs("torchattacks", "APGDT", {"norm": title[norm], "eps": eps})
        yield row("apgd", norm, "targeted, defaults: theirs 10 steps, ours 100", small, targeted, "ten",
                  meets={**targeted, "steps": 10}, text="ours with `steps = 10`")
        whole = Theirs("torchattacks", "AutoAttack", {"norm": title[norm], "eps": eps, "seed": 0})
        yield row("autoattack", norm, "defaults: theirs 10 steps, ours 100", whole, {"name": "autoattack"}, "ten",
                  meets={"name": "autoattack", "steps": 10}, text="ours with `steps = 10`", long=True)
        authors = Theirs("auto-attack", "FABAttack_PT", {"norm": title[norm], "eps": eps, "n_restarts": 1, "targeted": True})
        fab = {"name": "fab"}
        yield row("fab", norm, "same = default: 9 targets, 100 steps", authors, fab, long=True)
        tenth = Theirs("torchattacks", "FAB", {"norm": title[norm], "eps": eps, "multi_targeted": True})
        yield row("fab", norm, "defaults: theirs 10 steps, ours 100", tenth, fab, "ten",
                  meets={**fab, "steps": 10}, text="ours with `steps = 10`")
        authors = Theirs("auto-attack", "SquareAttack", {"norm": title[norm], "eps": eps, "n_queries": 5000, "resc_schedule": False})
        yield row("square", norm, "same = default: 5,000 queries", authors, {"name": "square"}, "start", seeds=2, long=True)
    for norm in ("linf", "l2"):
        eps = float(Fraction(budgets[norm]))
        square = {"norm": title[norm], "eps": eps, "n_queries": 500}
        ours = {"name": "square", "queries": 500}
        yield row("square", norm, "500 queries, else defaults", Theirs("torchattacks", "Square", square), ours, "schedule",
                  meets=Theirs("torchattacks", "Square", {**square, "resc_schedule": False}), text="theirs with `resc_schedule=False`",
                  seeds=2)
        art = Theirs("adversarial-robustness-toolbox", "SquareAttack", {"norm": "inf" if norm == "linf" else 2, "eps": eps})
        yield row("square", norm, "defaults: theirs 100 queries, ours 5,000", art, {"name": "square"}, "steps",
                  meets={"name": "square", "queries": 100}, text="ours with `queries = 100`", seeds=2)
        art = Theirs("adversarial-robustness-toolbox", "AutoAttack", {"norm": "inf" if norm == "linf" else 2, "eps": eps})
        yield row("autoattack", norm, "defaults", art, {"name": "autoattack"}, "set", long=True)
    pixel = {"name": "one-pixel", "variant": "best1bin"}
    yield Row("one-pixel", net, "pixels", "1", "defaults: theirs 10 candidates, 10 generations; ours 400 and 100 (`best1bin`)",
              Theirs("torchattacks", "OnePixel"), pixel, "steps", meets={**pixel, "population": 10, "generations": 10},
              text="ours with `population = 10, generations = 10`", seeds=2, long=True)
    for norm in ("linf", "l2", "l1"):
        eps = float(Fraction(budgets[norm]))
        authors = Theirs("auto-attack", "AutoAttack", {"norm": title[norm], "eps": eps, "version": "standard"})
        yield row("autoattack", norm, "same = default: `standard`", authors, {"name": "autoattack"}, "start", long=True)


def minimal_rows(net: str) -> Iterator[Row]:
    """Attacks that look for the least distance."""
    number = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}

    def row(table: str, norm: str, setting: str, theirs: Theirs, ours: dict[str, Any], cause: str = "bits", **more: Any) -> Row:
        if cause == "bits":
            more = {"meets": replace(theirs, patches=("f64",)), "to": "theirs", "text": "theirs in f64 against theirs"} | more
        return Row(table, net, norm, None, setting, theirs, ours, cause, **more)

    # DDN
    yield row("ddn", "l2", "same = default: 100 steps, 8 bits", Theirs("adv-lib", "ddn"), {"name": "ddn"})
    yield row("ddn", "l2", "same: 100 steps, floats", Theirs("adv-lib", "ddn", {"levels": None}), {"name": "ddn", "quantise": False})
    yield row("ddn", "l2", "defaults: 100 steps; theirs floats, ours 8 bits", Theirs("foolbox", "DDNAttack"), {"name": "ddn"}, "round",
              meets={"name": "ddn", "quantise": False}, text="ours with `quantise = false`")

    # FMN
    foolbox = {"linf": "LInfFMNAttack", "l2": "L2FMNAttack", "l1": "L1FMNAttack", "l0": "L0FMNAttack"}
    for norm in foolbox:
        fmn = {"name": "fmn"}
        same, default = Theirs("adv-lib", "fmn", {"norm": number[norm], "steps": 100}), Theirs("foolbox", foolbox[norm])
        balls = [replace(theirs, patches=("crossing", "ball")) for theirs in (same, default)]
        of_ours = {"meets": balls[0], "text": "theirs with our balls"}
        if norm == "l0":
            yield row("fmn", norm, "same: 100 steps", same, fmn)
        else:
            yield row("fmn", norm, "same: 100 steps", same, fmn, "ball", **of_ours)
        yield row("fmn", norm, "same = default: 100 steps", default, fmn, "ball", long=norm in ("l1", "l0"), **{**of_ours, "meets": balls[1]})
        shorter = {"meets": {**fmn, "steps": 10}, "text": "ours with `steps = 10`"}
        if norm != "l0":
            shorter = {"meets": balls[0], "text": "theirs with `steps = 100` and our balls"}
        yield row("fmn", norm, "defaults: theirs 10 steps, ours 100", Theirs("adv-lib", "fmn", {"norm": number[norm]}), fmn, "steps", **shorter)

    # DeepFool
    deepfool = {"name": "deepfool"}
    for norm, name in [("linf", "LinfDeepFoolAttack"), ("l2", "L2DeepFoolAttack")]:
        yield row("deepfool", norm, "same = default: 50 steps", Theirs("foolbox", name), deepfool)
        yield row("deepfool", norm, "same: 50 steps", Theirs("adv-lib", "df", {"norm": number[norm], "steps": 50}), deepfool, "overshoot",
                  meets=Theirs("foolbox", name, {}, ("each-step",)), to="theirs", text="foolbox's, lengthened in each step")
    yield row("deepfool", "l2", "same = default: 50 steps", Theirs("torchattacks", "DeepFool"), deepfool, "overshoot",
              meets=Theirs("torchattacks", "DeepFool", {}, ("sum",)), text="theirs with our steps")
    yield row("deepfool", "l2", "defaults: theirs 100 steps, ours 50", Theirs("adversarial-robustness-toolbox", "DeepFool"), deepfool,
              "overshoot", meets=Theirs("adversarial-robustness-toolbox", "DeepFool", {"max_iter": 50}, ("sum",)),
              text="theirs with 50 of our steps")
    # it makes f32 tensors of its own
    yield row("deepfool", "l2", "`super`, same = default: 100 steps", Theirs("adv-lib", "sdf"), {**deepfool, "variant": "super", "steps": 100},
              meets=Theirs("adv-lib", "sdf", patches=("bits-0",)), text="theirs on pixels changed by a millionth against theirs")

    # σ-zero, PDPGD, C&W
    yield row("sigma-zero", "l0", "same: 100 steps", Theirs("adv-lib", "sigma_zero", {"num_steps": 100}),
              {"name": "sigma-zero", "steps": 100})
    for norm in ("linf", "l2", "l1"):
        pdpgd = Theirs("adv-lib", "pdpgd", {"norm": number[norm], "num_steps": 100})
        yield row("pdpgd", norm, "same: 100 steps", pdpgd, {"name": "pdpgd", "steps": 100}, "adam", long=True,
                  meets=replace(pdpgd, patches=("adam",)), text="theirs with our ε")
    cw = {"name": "cw", "searches": 3, "steps": 100}
    theirs = Theirs("adv-lib", "carlini_wagner_l2", {"binary_search_steps": 3, "max_iterations": 100, "abort_early": False})
    yield row("cw", "l2", "same: 3 searches of 100 steps", theirs, {**cw, "abort_early": False}, "adam",
              meets=replace(theirs, patches=("adam",)), text="theirs with our ε")
    theirs = Theirs("foolbox", "L2CarliniWagnerAttack", {"binary_search_steps": 3, "steps": 100, "abort_early": False})
    yield row("cw", "l2", "same: 3 searches of 100 steps", theirs, {**cw, "abort_early": False}, "unfound",
              meets=replace(theirs, patches=("unfound", "adam")), text="theirs without black images and with our ε")
    fixed = {"name": "cw", "searches": 1, "steps": 50, "constant": 1, "abort_early": False}
    yield row("cw", "l2", "theirs by default: c = 1, 50 steps; ours the same", Theirs("torchattacks", "CW"), fixed, "zero",
              meets=Theirs("torchattacks", "CW", {}, ("zero", "no-abort", "inside", "adam")),
              text="theirs with the margin of the logits, no early end, pixels kept inside, our ε")


def enter(python: Path | None) -> None:
    """Goes on inside an environment that has the libraries; makes it if none is named."""
    inside = "FOOLPROOF_CONFORMANCE"  # set in the process that runs in the environment
    if os.environ.get(inside):
        return
    if python is None:
        python = VENV / "bin" / "python"
        complete, wanted = VENV / "complete", "\n".join(PACKAGES + LIBRARIES)
        if not complete.exists() or complete.read_text() != wanted:
            venv.create(VENV, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *LIBRARIES], check=True)
            complete.write_text(wanted)
    os.environ[inside] = "1"
    os.execv(python, [str(python), *sys.argv])


# ---- their side


def network(net: str) -> Any:
    """The embedded network in PyTorch: VGG-11 of half width, batch norm, for 32×32 images in [0,1]."""
    import torch
    from torch import nn

    class Vgg(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[Any] = []
            channels = 3
            for outputs in [32, 0, 64, 0, 128, 128, 0, 256, 256, 0, 256, 256, 0]:
                if outputs == 0:
                    layers.append(nn.MaxPool2d(2))
                else:
                    layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
                    channels = outputs
            self.features, self.classifier = nn.Sequential(*layers), nn.Linear(channels, 10)
            self.register_buffer("mean", torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1), persistent=False)
            self.register_buffer("std", torch.tensor([0.2470, 0.2435, 0.2616]).view(1, 3, 1, 1), persistent=False)

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features((x - self.mean) / self.std).flatten(1))

    vgg = Vgg()
    missing, unexpected = vgg.load_state_dict(tensors(weights(net)), strict=False)
    if unexpected or not all(key.endswith("num_batches_tracked") for key in missing):
        raise SystemExit(f"{net}: tensors missing {missing}, without a place {unexpected}")
    return vgg.eval().requires_grad_(False)


def weights(net: str) -> Path:
    return sure()[0] if net == SURE else ROOT / "configs" / "models" / f"{net}.safetensors"


def sure() -> tuple[Path, Path]:
    """Weights and description of SURE: those of SURE_OF with the last layer times 16, which is exact in floats."""
    import numpy as np

    models, made = ROOT / "configs" / "models", KEPT / f"{SURE}.safetensors"
    data = bytearray((models / f"{SURE_OF}.safetensors").read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8:start]).items():
        if name.startswith("classifier."):
            begin, end = entry["data_offsets"]
            kind = {"F32": np.float32, "F16": np.float16}[entry["dtype"]]
            values = np.frombuffer(data, dtype=kind, offset=start + begin, count=(end - begin) // kind().itemsize)
            values *= 16
    KEPT.mkdir(parents=True, exist_ok=True)
    made.write_bytes(data)
    description = (models / f"{SURE_OF}.toml").read_text().replace(f"{SURE_OF}.safetensors", made.name)
    description = re.sub(r'sha256 += ".*"', f'sha256  = "{hashlib.sha256(data).hexdigest()}"', description)
    made.with_suffix(".toml").write_text(description)
    return made, made.with_suffix(".toml")


def tensors(file: Path) -> dict[str, Any]:
    """A safetensors file of f32 and f16, read with PyTorch alone: length of the header, header, numbers."""
    import torch

    kinds = {"F32": torch.float32, "F16": torch.float16}
    data = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            kind = kinds[entry["dtype"]]
            values = torch.frombuffer(data, dtype=kind, offset=start + begin, count=(end - begin) // kind.itemsize)
            found[name] = values.reshape(entry["shape"]).float()
    return found


class Bench:
    """One network with the images that it has right. `any_wrong`: images that any pass of an attack had wrong."""

    def __init__(self, net: str, data: Path) -> None:
        import numpy as np
        import torch

        self.torch = torch
        self.net = network(net)
        # records of CIFAR-10: a byte of label, then 3×32×32 bytes
        raw = np.fromfile(data / "cifar10" / "test.bin", dtype=np.uint8, count=IMAGES * 3073).reshape(-1, 3073)
        x = torch.from_numpy(raw[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
        y = torch.from_numpy(raw[:, 0].astype(np.int64))
        right = self.net(x).argmax(1).eq(y)
        self.ids = [int(i) for i in right.nonzero().flatten()]
        self.x, self.y = x[right], y[right]

    def run(self, theirs: Theirs, norm: str, eps: str | None, seed: int) -> dict[str, Any]:
        """By image: whether it is fooled inside the budget, and how far it was moved."""
        import numpy as np

        torch = self.torch
        torch.manual_seed(seed)
        np.random.seed(seed)
        kind = torch.float64 if "f64" in theirs.patches else torch.float32
        nudges = [torch.Generator().manual_seed(k) for k in range(NUDGES) if f"bits-{k}" in theirs.patches]
        watched = watch(self.net.to(kind), self.y, "log-odds" in theirs.patches, nudges[0] if nudges else None)
        x_adv = attack(theirs, watched, self.x.to(kind), self.y, norm, eps, seed).detach().float()
        self.net.float()
        wrong = self.net(x_adv).argmax(1).ne(self.y)
        delta = (x_adv.double() - self.x.double()).flatten(1)
        lengths = {"linf": delta.abs().amax(1), "l2": delta.norm(dim=1), "l1": delta.abs().sum(1),
                   "l0": (delta.abs() > 1e-6).sum(1).double(),
                   "pixels": (delta.abs().view(len(delta), 3, -1).amax(1) > 1e-6).sum(1).double()}
        length = lengths[norm]
        inside = torch.ones_like(wrong) if eps is None else length <= float(Fraction(eps)) + 1e-6 * max(1.0, float(Fraction(eps)))
        fooled = wrong & inside
        if "any" in theirs.patches:
            fooled |= watched.any_wrong
        return {"ids": self.ids, "fooled": fooled.tolist(), "distance": length.tolist(), "outside": int((wrong & ~inside).sum())}


def watch(net: Any, labels: Any, log_odds: bool, nudge: Any) -> Any:
    """A network that remembers which of its images any pass had wrong. `log_odds`: it answers with two classes alone, the label
    and the rest, and a twentieth of the label's log-odds between them; the cross-entropy has the same direction, and no f32
    rounds it away. `nudge`: a source of random numbers by which pixels are changed in their last bits."""
    import torch

    class Watch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net
            self.any_wrong = labels.ne(labels)

        def forward(self, x: Any) -> Any:
            if nudge is not None:
                x = x * (1 + NUDGE * torch.randn(x.shape, generator=nudge))
            logits = self.net(x)
            if len(x) != len(labels):
                return logits
            self.any_wrong |= logits.detach().argmax(1).ne(labels)
            if not log_odds:
                return logits
            label = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
            odds = logits[label] - logits.masked_fill(label, -float("inf")).logsumexp(1)
            rest = label.roll(1, 1)
            answer = torch.full_like(logits, -1e9).masked_fill(rest, 0.0)
            return torch.where(label, odds[:, None] / 20, answer)

    return Watch().eval()


def attack(theirs: Theirs, net: Any, x: Any, y: Any, norm: str, eps: str | None, seed: int) -> Any:
    """Images of a library's attack, N×3×32×32."""
    import numpy as np
    import torch

    name, params = theirs.name, dict(theirs.params)
    radius = None if eps is None else float(Fraction(eps))
    match theirs.library:
        case "torchattacks":
            import torchattacks

            own_seed = {"seed": seed} if name in ("APGD", "APGDT", "FAB", "Square", "AutoAttack") else {}
            made = taken(torchattacks, theirs)(net, **{**own_seed, **params})
            for patch in theirs.patches:
                PATCHES.get(patch, lambda made: None)(made)
            return made(x, y)
        case "foolbox":
            import foolbox

            model = foolbox.PyTorchModel(net, bounds=(0, 1))
            made = taken(foolbox.attacks, theirs)(**params)
            for patch in theirs.patches:
                PATCHES.get(patch, lambda made: None)(made)
            if "each-step" in theirs.patches:  # DeepFool: what is added up, and lengthened, is one step, again and again
                steps, made.steps = made.steps, 1
                for _ in range(steps):
                    x = made(model, x, y, epsilons=None)[1]
                return x
            return made(model, x, y, epsilons=radius)[1]
        case "adv-lib":
            # it asks for a plotting package that it does not use here
            sys.modules.setdefault("visdom", types.ModuleType("visdom"))
            import adv_lib.attacks

            return taken(adv_lib.attacks, theirs)(net, x, y, **params)
        case "adversarial-robustness-toolbox":
            from art.attacks import evasion
            from art.estimators.classification import PyTorchClassifier

            art = PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (3, 32, 32), 10, clip_values=(0, 1))
            batch = {"batch_size": len(x)}
            quiet = {} if name in ("FastGradientMethod", "AutoAttack") else {"verbose": False}
            found = taken(evasion, theirs)(art, **batch, **quiet, **params).generate(x.float().numpy(), np.eye(10, dtype=np.float32)[y])
            return torch.from_numpy(found)
        case "auto-attack":
            return authors(name, params, net, x, y, seed)
    raise SystemExit(f"no library `{theirs.library}`")


def divide_by_mean(made: Any) -> None:
    """foolbox's MI-FGSM: gradients over their mean size, not their signs."""
    def over_mean(gradients: Any, *, x: Any, bounds: Any) -> Any:
        return gradients / gradients.abs().mean(axis=(1, 2, 3), keepdims=True)
    made.normalize = over_mean


def step_by_largest(made: Any) -> None:
    """foolbox's L1 attacks: the signs of the largest hundredth of the entries."""
    import eagerpy
    import torch

    def largest(gradients: Any, *, x: Any, bounds: Any) -> Any:
        g = gradients.raw.flatten(1)
        kept = g.abs() >= g.abs().topk(g.shape[1] // 100, dim=1).values[:, -1:]
        step = torch.where(kept, g.sign(), 0 * g)
        return eagerpy.astensor((step / step.abs().sum(1, keepdim=True).clamp(min=1)).view_as(gradients.raw))
    made.normalize = largest


def nearest(delta: Any, clean: Any, radius: Any) -> Any:
    """The change of ball and box in L1 that is nearest to `delta`: that with each entry shortened by one number, then clipped to the
    box; the number is found by bisection. `radius`: one, or one an image."""
    import torch

    x, d = clean.double().flatten(1), delta.double().flatten(1)
    radius = torch.as_tensor(radius, dtype=torch.float64).reshape(-1, 1)
    low, high = torch.zeros(len(d), 1).double(), d.abs().amax(1, keepdim=True)

    def shortened(by: Any) -> Any:
        shorter = d.sign() * (d.abs() - by).clamp(min=0)
        return (x + shorter).clamp(0, 1) - x
    for _ in range(60):
        middle = (low + high) / 2
        outside = shortened(middle).abs().sum(1, keepdim=True) > radius
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    fits = shortened(0 * high).abs().sum(1, keepdim=True) <= radius
    return shortened(torch.where(fits, 0 * high, high)).to(delta.dtype).view_as(delta)


def project_jointly(made: Any) -> None:
    """foolbox's L1 attacks: the nearest point of ball and box at once."""
    import eagerpy

    def project(x: Any, x0: Any, epsilon: Any) -> Any:
        radius = epsilon.raw if hasattr(epsilon, "raw") else epsilon
        return eagerpy.astensor(x0.raw + nearest(x.raw - x0.raw, x0.raw, radius))
    made.project = project


def look_where_it_is(made: Any) -> None:
    """torchattacks' SI-NI-FGSM at the iterate itself."""
    # the point is x + decay·alpha·momentum; nothing else multiplies by alpha but the step
    class Step(float):
        def __rmul__(self, other: Any) -> Any:
            return 0.0
    made.alpha = Step(made.alpha)


def margin_of_logits(made: Any) -> None:
    """torchattacks' C&W: the label's logit minus the largest other."""
    import torch

    def margin(logits: Any, labels: Any) -> Any:
        label = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
        other = logits.masked_fill(label, -float("inf")).amax(1)
        return (logits[label] - other).clamp(min=0)
    made.f = margin


def keep_inside(made: Any) -> None:
    """torchattacks' C&W: values of 0 and 1 are drawn in a little, so that they can move."""
    made.inverse_tanh_space = lambda x: made.atanh((2 * x - 1) * (1 - 1e-6))


def never_abort(made: Any) -> None:
    """torchattacks' C&W: no end before the last step (it asks every tenth of `steps`, of which it makes as many)."""
    class Steps(int):
        def __floordiv__(self, other: int) -> int:
            return int(self) + 1
    made.steps = Steps(made.steps)


PATCHES = {"mean": divide_by_mean, "l1-step": step_by_largest, "l1-joint": project_jointly, "not-ahead": look_where_it_is, "zero": margin_of_logits,
           "no-abort": never_abort, "inside": keep_inside}


class Adam:
    """Adam with 1e-8 of the root mean square of an image's gradients in place of 1e-8. `values` move where `step` is called."""

    def __init__(self, values: Any, lr: float) -> None:
        self.values, self.lr, self.t = values, lr, 0
        self.m, self.v = 0 * values.detach(), 0 * values.detach()

    def move(self, gradient: Any) -> Any:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        root = (self.v / (1 - 0.999**self.t)).sqrt()
        return self.lr * self.m / (1 - 0.9**self.t) / lifted(root)

    def step(self) -> None:
        self.values.data -= self.move(self.values.grad)

    def zero_grad(self) -> None:
        self.values.grad = None


def lifted(root: Any) -> Any:
    """Roots of v, N×3×H×W, and our ε."""
    return root + 1e-8 * root.flatten(1).square().mean(1).sqrt().clamp(min=1e-30).view(-1, 1, 1, 1)


# What a patch changes in the source of a library's attack: pieces of it, and what stands there instead. That may call functions of
# this file.
SOURCES: dict[str, dict[str, list[tuple[str, str]]]] = {
    "crossing": {
        "adv-lib": [("ε * (1 + γ), δ_norm + distance_to_boundary", "ε * (1 + γ), (δ_norm + distance_to_boundary) * 1.0001")],
        "foolbox": [("+ distance_to_boundary,", "* 1.0001 + distance_to_boundary * 1.0001,")],
    },
    "ball": {
        "adv-lib": [("δ.mul_(ε.unsqueeze(1) / l2_norms).clamp_(max=1)", "δ.mul_((ε.unsqueeze(1) / l2_norms).clamp_(max=1))"),
                    ("        projection(δ=δ.data, ε=ε)", "        δ.data.copy_(nearest(δ.data, inputs, ε)) if norm == 1 else projection(δ=δ.data, ε=ε)")],
        "foolbox": [("norms = flatten(x).norms.l2(axis=-1)", "norms = flatten(x - x0).norms.l2(axis=-1)"),
                    ("ep.minimum(1, norms / norms)", "ep.minimum(1, epsilon / norms)"),
                    ("[rows, epsilon]", "[rows, epsilon - 1]"),
                    ("return x0 + project_onto_l1_ball(x - x0, epsilon)", "return ep.astensor(x0.raw + nearest(x.raw - x0.raw, x0.raw, epsilon.raw))")],
    },
    "adam": {
        "adv-lib": [("denom = (exp_avg_sq.sqrt() / math.sqrt(bias_correction2)).add_(1e-8)", "denom = lifted(exp_avg_sq.sqrt() / math.sqrt(bias_correction2))"),
                    ("denom = exp_avg_sq.sqrt().div_(math.sqrt(bias_correction2)).add_(1e-8)", "denom = lifted(exp_avg_sq.sqrt().div_(math.sqrt(bias_correction2)))")],
        "foolbox": [("AdamOptimizer(delta, self.stepsize)", "Adam(delta.raw, self.stepsize)"),
                    ("delta -= optimizer(gradient)", "delta = delta - ep.astensor(optimizer.move(gradient.raw))")],
        "torchattacks": [("optim.Adam([w], lr=self.lr)", "Adam(w, self.lr)")],
    },
    "unfound": {"foolbox": [("best_advs = ep.zeros_like(x)", "best_advs = x")]},
    # DeepFool: 1e-4 beyond the boundary, steps added up, and the sum lengthened
    "sum": {
        "torchattacks": [
            ("        curr_steps = 0\n", "        curr_steps = 0\n        self.start, self.total = images, torch.zeros_like(images)\n"),
            ("                early_stop, pre,", "                self.at = slice(idx, idx + 1)\n                early_stop, pre,"),
            ("        adv_image = image + (1 + self.overshoot) * delta", "        self.total[self.at] += delta + 1e-4 * w_prime[hat_L] / torch.norm(w_prime[hat_L], p=2)\n"
             "        adv_image = self.start[self.at] + (1 + self.overshoot) * self.total[self.at]"),
        ],
        "adversarial-robustness-toolbox": [
            ("            active_indices = np.arange(len(batch))\n", "            active_indices = np.arange(len(batch))\n            start, total = batch.copy(), np.zeros_like(batch)\n"),
            ("r_var = absolute1 / pow1", "r_var = absolute1 / pow1 + 1e-4 / np.linalg.norm(draddiff, axis=1)"),
            ("                # Add perturbation and clip result\n", "                total[active_indices] += r_var[active_indices]\n"),
            ("                        batch[active_indices]\n                        + r_var[active_indices] *", "                        start[active_indices]\n                        + 1.02 * total[active_indices] *"),
        ],
    },
}


def taken(library: Any, theirs: Theirs) -> Any:
    """An attack of a library, with what patches change in its source."""
    found = getattr(library, theirs.name)
    patches = [SOURCES[patch][theirs.library] for patch in theirs.patches if theirs.library in SOURCES.get(patch, {})]
    if not patches:
        return found
    module = sys.modules[found.__module__]
    source = Path(module.__file__).read_text()
    for patch in patches:
        if not any(old in source for old, _ in patch):
            raise SystemExit(f"{theirs.library} {theirs.name}: nothing of {patch} is in its source")
        for old, new in patch:
            source = source.replace(old, new)
    changed = types.ModuleType(module.__name__)
    changed.__dict__.update(__package__=module.__package__, __file__=module.__file__, nearest=nearest, lifted=lifted, Adam=Adam)
    exec(compile(source, module.__file__, "exec"), changed.__dict__)
    return getattr(changed, found.__name__)


def authors(name: str, params: dict[str, Any], net: Any, x: Any, y: Any, seed: int) -> Any:
    """An attack of the authors' AutoAttack, or the whole."""
    import autoattack
    from autoattack import autopgd_base, fab_pt, square

    if name == "AutoAttack":
        whole = autoattack.AutoAttack(net, device="cpu", seed=seed, verbose=False, **params)
        return whole.run_standard_evaluation(x, y, bs=len(x))
    made = {"APGDAttack": autopgd_base, "APGDAttack_targeted": autopgd_base, "FABAttack_PT": fab_pt, "SquareAttack": square}
    one = getattr(made[name], name)(net, device="cpu", seed=seed, **params)
    return one.perturb(x, y)


# ---- our side


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + " }"
    return json.dumps(value)


def run_ours(command: list[str], fresh: bool, data: Path, ours: dict[str, Any], net: str, norm: str, eps: str | None,
             seed: int) -> dict[str, Any]:
    """By image that is right before: whether it is fooled, and how far it was moved."""
    threat: dict[str, Any] = {"norm": norm, "minimal": True, "passes": 1_000_000}
    if eps is not None:
        threat = {"norm": norm, "count": [int(eps)]} if norm == "pixels" else {"norm": norm, "eps": [eps]}
    model = str(sure()[1]) if net == SURE else net
    sweep = "\n".join([
        'name = "cell"', f"seed = {seed}", "[[sweep]]", f"models = [{toml(model)}]", f'data = {{ name = "cifar10", take = {IMAGES} }}',
        'goals = ["untargeted"]', 'witness = "f32"', f"threats = [{toml(threat)}]", f"attacks = [{toml(ours)}]", "",
    ])
    folder = KEPT / "ours" / hashlib.sha256(sweep.encode()).hexdigest()[:16]
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.toml").write_text(sweep)
    done = subprocess.run([*command, str(folder / "sweep.toml"), "--out", str(folder)], env={**os.environ, "FOOLPROOF_DATA": str(data)}, capture_output=True, text=True)
    if done.returncode:
        return {"error": next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[-200:])}
    cells = sorted((folder / "cell" / "cells").iterdir(), key=lambda cell: cell.stat().st_mtime)
    found: dict[str, Any] = {"ids": [], "fooled": [], "distance": []}
    with (cells[-1] / "outcomes.csv").open() as file:
        for line in csv.DictReader(file):
            if line["clean_prediction"] == line["label"]:
                found["ids"].append(int(line["example"]))
                found["fooled"].append(line["success"] == "true")
                found["distance"].append(float(line["linf_255"]) / 255 if norm == "linf" else float(line.get(norm) or 0))
    return found


# ---- what is kept, and the page


class Kept:
    """Results by what they depend on, one file each."""

    def __init__(self, program: Path | None, data: Path | None, autoattack: bool, threads: int) -> None:
        self.program, self.data, self.autoattack, self.threads = program, data, autoattack, threads
        self.only_ours = False
        self.benches: dict[str, Bench] = {}

    def get(self, key: str, compute: Any) -> dict[str, Any] | None:
        file = KEPT / "theirs" / (hashlib.sha256(key.encode()).hexdigest()[:24] + ".json")
        if file.exists():
            return json.loads(file.read_text())["result"]
        if compute is None:
            return None
        result = compute()
        if "error" in result:
            return result
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps({"key": key, "result": result}))
        part.replace(file)
        return result

    def theirs(self, row: Row, theirs: Theirs, seed: int, may_compute: bool) -> dict[str, Any] | None:
        def compute() -> dict[str, Any]:
            print(f"  {theirs.library} {theirs.name} {theirs.params} {theirs.patches} seed {seed}", file=sys.stderr, flush=True)
            assert self.data
            if row.net not in self.benches:
                self.benches[row.net] = Bench(row.net, self.data)
            try:
                return self.benches[row.net].run(theirs, row.norm, row.eps, seed)
            except Exception as e:  # noqa: BLE001 (a library that cannot do it is a result)
                return {"error": f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"[:160]}

        may_compute &= self.data is not None and not self.only_ours and (theirs.library != "auto-attack" or self.autoattack)
        return self.get(theirs.key(row.net, row.norm, row.eps, seed), compute if may_compute else None)

    def ours(self, row: Row, ours: dict[str, Any], seed: int, may_compute: bool) -> dict[str, Any] | None:
        key = json.dumps(["foolproof", ours, row.net, row.norm, row.eps, seed], sort_keys=True)
        if may_compute and self.program and self.data:  # the program itself computes only what is missing
            command = [str(self.program), "run", "--threads", str(self.threads)]
            result = run_ours(command, self.only_ours, self.data, ours, row.net, row.norm, row.eps, seed)
            if "error" in result:
                return result
            (KEPT / "theirs" / (hashlib.sha256(key.encode()).hexdigest()[:24] + ".json")).unlink(missing_ok=True)
            return self.get(key, lambda: result)
        return self.get(key, None)


Outcome = dict[str, Any]


def shown(row: Row, outcomes: list[Outcome]) -> str:
    """A number for the page: images that stand, of each seed; or quartiles of the distance."""
    if row.eps is not None:
        counts = [outcome["fooled"].count(False) for outcome in outcomes]
        return " ".join(map(str, counts))
    def text(outcome: Outcome) -> str:
        failed = outcome["fooled"].count(False)
        return " ".join(figure(q) for q in quartiles(outcome)) + (f" ({failed} fail)" if failed else "")
    return "; ".join(map(text, outcomes))


def figure(q: float) -> str:
    return "–" if q == float("inf") else f"{q:.0f}" if q >= 1000 else f"{q:.4g}"


def distances(outcome: Outcome) -> list[float]:
    return [d if ok else float("inf") for ok, d in zip(outcome["fooled"], outcome["distance"])]


def quartiles(outcome: Outcome) -> list[float]:
    d = sorted(distances(outcome))
    return [d[int(len(d) * share)] for share in (0.25, 0.5, 0.75)]


def differing(row: Row, theirs: Outcome, ours: Outcome) -> list[int]:
    """Images that the two see otherwise: fooled by one alone, or at distances that differ by more than NEAR."""
    if theirs["ids"] != ours["ids"]:
        raise SystemExit(f"{row.title()}: the two sides have other images right")
    if row.eps is not None:
        return [i for i, a, b in zip(theirs["ids"], theirs["fooled"], ours["fooled"]) if a != b]
    pairs = zip(theirs["ids"], distances(theirs), distances(ours))
    return [i for i, a, b in pairs if a != b and not abs(a - b) <= NEAR * min(a, b)]


def differ_text(row: Row, theirs: list[Outcome], ours: list[Outcome]) -> str:
    """How many images differ with the first seed, and which."""
    differ = differing(row, theirs[0], ours[0])
    if not differ:
        return "0"
    better = ""
    if row.eps is None:
        place = {i: k for k, i in enumerate(theirs[0]["ids"])}
        a, b = distances(theirs[0]), distances(ours[0])
        nearer = sum(b[place[i]] < a[place[i]] for i in differ)
        better = f", ours nearer in {nearer}"
    names = ": " + ", ".join(map(str, differ)) if len(differ) <= 4 else ""
    return f"{len(differ)}{names}{better}"


@dataclass
class Line:
    """A row with its numbers. `state`: what to print where there is none."""

    row: Row
    theirs: list[Outcome]
    ours: list[Outcome]
    third: list[Outcome]
    control: list[Outcome] = field(default_factory=list)
    state: str = ""
    # what the page says of it
    cells: list[str] = field(default_factory=list)

    def agrees(self) -> bool:
        return bool(self.theirs and self.ours) and all(not differing(self.row, a, b) for a, b in zip(self.theirs, self.ours))

    def meets(self) -> bool:
        """Whether the third number is the other side's."""
        if not self.third:
            return False
        other = self.ours if self.row.meets_ours() else self.theirs
        pairs = list(zip(self.third, other))
        return all(not differing(self.row, a, b) for a, b in pairs) or self.alike(self.third, other)

    def left(self) -> list[int]:
        """Images in which the third number, or where it is the control, the library, is another."""
        if self.row.cause == "bits":
            return differing(self.row, self.theirs[0], self.ours[0])
        return differing(self.row, self.ours[0] if self.row.meets_ours() else self.theirs[0], self.third[0])

    def varied(self) -> Theirs:
        """What is varied in its last bits: the library, with the changes of the third number."""
        return self.row.meets if self.row.meets_ours() else self.row.theirs

    def own(self) -> list[set[int]]:
        """For each control the images in which the library is another than itself."""
        base = self.third[0] if self.row.meets_ours() else self.theirs[0]
        return [set(differing(self.row, base, control)) for control in self.control]

    def is_chance(self) -> bool:
        """Whether the library is as far from itself in f64, or, over all controls, in each of the images that are left."""
        own = self.own()
        most = 2 * len(own[0]) if own and self.row.cause == "bits" else len(own[0]) if own else -1
        return len(self.left()) <= most or set(self.left()) <= set().union(*own)

    def alike(self, a: list[Outcome], b: list[Outcome]) -> bool:
        """Whether counts of several seeds overlap."""
        if self.row.eps is None or self.row.seeds == 1:
            return False
        m, n = ([outcome["fooled"].count(False) for outcome in side] for side in (a, b))
        return max(min(m), min(n)) <= min(max(m), max(n)) + 1


def line(row: Row, kept: Kept, wanted: bool) -> Line:
    """Runs what a row needs, or reads it."""
    def side(what: Theirs | dict[str, Any] | None) -> tuple[list[Outcome], str]:
        found = []
        for seed in SEEDS[:row.seeds]:
            if what is None:
                return [], ""
            if isinstance(what, Theirs):
                outcome = kept.theirs(row, what, seed, wanted)
            else:
                outcome = kept.ours(row, what, seed, wanted)
            if outcome is None:
                return [], "not run"
            if "error" in outcome:
                return [], outcome["error"]
            found.append(outcome)
        return found, ""

    theirs, why_theirs = side(row.theirs)
    if not theirs:
        return Line(row, [], [], [], state=why_theirs)
    ours, why_ours = side(row.ours)
    if not ours:
        return Line(row, theirs, ours, [], state=why_ours)
    got = Line(row, theirs, ours, [])
    if row.meets is not None and not got.agrees():
        got.third, got.state = side(row.meets)
        # what is left may be the last bits: then the library is as far from itself
        if got.third and row.eps is None and (row.cause == "bits" or not got.meets()):
            for patch in ("f64", *(f"bits-{k}" for k in range(NUDGES))):
                if not got.is_chance():
                    got.control += side(replace(got.varied(), patches=(*got.varied().patches, patch)))[0]
    return got


def slug(title: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def conclusion(got: Line) -> tuple[str, str]:
    """Why the two sides differ, and what shows it."""
    row = got.row
    if not got.theirs or not got.ours:
        return got.state, ""
    if got.agrees():
        return "none", ""
    cause = f"[{CAUSES[row.cause][0]}](#{slug(CAUSES[row.cause][0])})" if row.cause else "not explained"
    if got.third:
        other = got.ours if row.meets_ours() else got.theirs
        left = len(differing(row, other[0], got.third[0]))
        own = got.own()
        nudged = ""
        if len(own) > 1:
            nudged = f"; over {len(own) - 1} runs on pixels changed by a millionth theirs differs from itself in {len(set().union(*own[1:]))}"
        if row.cause == "bits":
            return cause, f"{row.text}: {shown(row, got.third)}; {left} differ{nudged}" + ("" if got.is_chance() else ", not explained")
        rest = "" if got.meets() else f", {row.rest}"
        if rest and row.eps is None and got.is_chance():
            return cause, f"{row.text}: {shown(row, got.third)}; {left} differ, and theirs in f64 differs from itself in {len(own[0])}{nudged}"
        rest = nudged + rest
        if rest and row.rest == "not explained":
            cause = f"perhaps {cause}"
        return cause, f"{row.text}: {shown(row, got.third)}; {left} differ{rest}"
    if row.cause == "start":
        if row.seeds == 1:
            return cause, "nothing yet: one seed was run"
        return cause, "the seeds" if got.alike(got.theirs, got.ours) else "nothing yet: the seeds are apart"
    return f"perhaps {cause}", f"nothing yet: {got.state or 'no third number'}"


def place(row: Row) -> list[str]:
    """The cells that say which line it is."""
    return [NAMES[row.net], row.norm, f"{SHORT.get(row.theirs.library, row.theirs.library)} `{row.theirs.name}`", row.setting]


def cells(got: Line) -> list[str]:
    """A line of the page."""
    if not got.theirs or not got.ours:
        return []
    return [*place(got.row), shown(got.row, got.theirs), shown(got.row, got.ours), differ_text(got.row, got.theirs, got.ours), *conclusion(got)]


def last_page() -> dict[str, list[str]]:
    """Lines of the page as it is, by table and place: what was not run here keeps its line."""
    found, table = {}, ""
    for line in PAGE.read_text().splitlines() if PAGE.exists() else []:
        if line.startswith("## "):
            table = line[3:]
        parts = [part.strip() for part in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(parts) == len(HEAD) and parts != HEAD:
            found[" | ".join([table, *parts[:4]])] = parts
    return found


def right_before() -> dict[str, int]:
    """How many images each network has right, by the page as it is."""
    text = PAGE.read_text() if PAGE.exists() else ""
    counts = {net: re.search(rf"(\d+) \({re.escape(name)}\)", text) for net, name in NAMES.items()}
    return {net: int(count[1]) for net, count in counts.items() if count}


def explained(got: Line) -> bool:
    return not any(words in text for text in got.cells[-2:] for words in ("not explained", "nothing yet"))


def names(got: Line, cause: str) -> bool:
    return f"(#{slug(CAUSES[cause][0])})" in got.cells[-2]


HEAD = ["network", "norm", "library", "setting", "theirs", "ours", "differ", "cause", "shown by"]
NAMES = {"vgg11-half-cifar10-robust": "robust", "vgg11-half-cifar10": "standard", SURE: "standard, logits × 16"}
BEGINNING = """# Why two libraries disagree

One attack, one network, the same images, and two libraries report two numbers. This page runs each attack that foolproof shares with
another library in both, and says where a difference comes from. `scripts/conformance.py` makes it.

- **Networks** are the two that come with the program: `vgg11-half-cifar10-robust` (robust) and `vgg11-half-cifar10` (standard). A few rows
  take the standard one with the weights of its last layer times 16: it answers the same classes and is surer of them.
- **Images** are CIFAR-10's test images 0 to {last}. Either side gets those alone that the network has right before: {right}.
- **Budgets**: {budgets}.
- **Versions**: {versions}.
- **Ours** keeps float witnesses here (`witness = "f32"`), since the others know no other.
- **Theirs** is judged by us: a returned image counts if the network, in f32, has it wrong, and if it lies in the budget to 1e-6.

`theirs` and `ours` are images that still stand; where the least distance is asked for, its quartiles over the images. Several numbers are
several seeds. `differ` counts the images that only one side fools (with the first seed), or whose distances are more than {near} apart, and names
them where they are few. `same` in `setting` means the same parameters on both sides; `defaults` means that each side has its own.

A cause is shown by a third number, in the last column: from a parameter of ours, or from a change of theirs that takes the cause away; with it
the two sides meet, and if they do not, the row says so. Where a few images are left, the library with that change is also run in f64, and
if that does not do, up to {nudges} times on pixels that are changed by a millionth; the row says in how many images it differs from itself, and
what is left counts as chance if these are as many in f64, or contain every image that is left. Of attacks that draw random numbers, the ranges of {seeds} seeds
have to overlap, or to lie one image apart.
"""


END = """## Not compared

`admix`, `sparse-rs` and `spgd` are in none of these libraries. `di-fgsm` is left out: torchattacks resizes images to a smaller size and
leaves larger ones larger, so it is no method with the same parameters. ART's C&W, which has a line search of its own, and its pixel attack
were not run.
"""


def page(lines: list[Line], benches: dict[str, int]) -> str:
    budgets = "; ".join(f"{NAMES[net]}: " + ", ".join(f"{norm} {eps}" for norm, eps in of.items()) for net, of in NETS.items())
    versions = ", ".join([PACKAGES[0].replace("==", " "), *(f"{name} {VERSIONS[name]}" for name in VERSIONS)])
    right = ", ".join(f"{count} ({NAMES[net]})" for net, count in benches.items()) or "not known yet"
    text = [BEGINNING.format(last=IMAGES - 1, right=right, budgets=budgets, versions=versions, near=f"{NEAR:.0%}",
                             seeds=len(SEEDS), nudges=NUDGES)]
    run = [got for got in lines if got.cells]
    same, open_ = sum(got.cells[-2] == "none" for got in run), sum(not explained(got) for got in run)
    text.append(f"Of {len(lines)} rows {len(run)} were run. In {same} the two sides agree, in {len(run) - same - open_} they differ and the cause is "
                f"shown, in {open_} a difference is left that is not explained.\n\n## Causes\n")
    for cause, (title, words) in CAUSES.items():
        showing = [got for got in run if names(got, cause)]
        if showing:
            rows_ = f"{len(showing)} {'row' if len(showing) == 1 else 'rows'}"
            text.append(f"### {title[0].upper()}{title[1:]}\n\n{words} {rows_}; shown in {sum(map(explained, showing))}.\n")
    for table in dict.fromkeys(got.row.table for got in lines):
        text += [f"## {table}\n", "| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
        left: dict[str, list[str]] = {}
        for got in (got for got in lines if got.row.table == table):
            if got.cells:
                text.append("| " + " | ".join(got.cells) + " |")
            else:
                network, norm, library, setting = place(got.row)
                left.setdefault(got.state, []).append(f"{network} {norm} {library} ({setting})")
        if not any(got.cells for got in lines if got.row.table == table):
            del text[-2:]
        text.append("")
        for why, which in left.items():
            text.append(f"{why[0].upper()}{why[1:]}: {'; '.join(which)}.\n")
    text.append(END)
    return "\n".join(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose `attack library network norm` matches this regular expression")
    parser.add_argument("--long", action="store_true", help="also rows that take minutes")
    parser.add_argument("--ours", action="store_true", help="of the rows whose other side is kept, ours alone, all over")
    parser.add_argument("--render", action="store_true", help="compute nothing, write the page from what is kept")
    parser.add_argument("--data", type=Path, default=os.environ.get("FOOLPROOF_DATA"), help="folder of cifar10/test.bin")
    parser.add_argument("--autoattack", type=Path, help="checkout of fra31/auto-attack")
    parser.add_argument("--python", type=Path, help="Python of an environment that has the libraries")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch and of ours")
    parser.add_argument("--foolproof", type=Path, help="the built program; without, cargo builds it")
    options = parser.parse_args()
    program, data = options.foolproof, options.data
    if not options.render:
        if data is None:
            parser.error("no data (hint: set FOOLPROOF_DATA or give --data)")
        enter(options.python)
        warnings.filterwarnings("ignore")
        import torch

        torch.set_num_threads(options.threads)
        if options.autoattack:
            sys.path.insert(0, str(options.autoattack))
        if program is None:
            subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
            program = ROOT / "target" / "release" / "foolproof"
    kept = Kept(program, data if not options.render else None, options.autoattack is not None, options.threads)
    kept.only_ours = options.ours
    lines, right, last = [], right_before(), last_page()
    for row in rows():
        wanted = bool(re.search(options.only, row.title())) and (options.long or options.ours or not row.long) and not options.render
        got = line(row, kept, wanted)
        got.cells = cells(got) or last.get(" | ".join([row.table, *place(row)]), [])
        if wanted:
            print(f"{row.title()} | {row.setting} | {shown(row, got.theirs)} | {shown(row, got.ours)} | {' | '.join(conclusion(got))}", flush=True)
        if got.theirs:
            right[row.net] = len(got.theirs[0]["ids"])
        lines.append(got)
    order = {table: k for k, table in enumerate(dict.fromkeys(got.row.table for got in lines))}
    lines.sort(key=lambda got: order[got.row.table])
    PAGE.write_text(page(lines, right))
    return 0


if __name__ == "__main__":
    sys.exit(main())
