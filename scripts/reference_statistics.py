#!/usr/bin/env python3
"""Writes tests/data/statistics.json: what scipy and statsmodels say of random cases, for the statistics of the gate.

    scripts/reference_statistics.py [OUT.json]        tests/data/statistics.json if not given

Every case is random, from one seed, so another run with the same versions writes the same file. Needs scipy,
statsmodels and numpy.

* mcnemar: [b, c, p], 1,000 tables; statsmodels' exact `mcnemar`, asserted equal to scipy's two-sided `binomtest`;
* holm: [[p, ...], [adjusted, ...]]; statsmodels' `multipletests(method="holm")`;
* mann_whitney: [x, y, p]; scipy's two-sided `mannwhitneyu`: exact without ties and len(x) * len(y) <= 400, else asymptotic
  with corrections for ties and continuity, as src/statistics.rs has it;
* wilson: [k, n, low, high]; scipy's `proportion_ci(method="wilson")`;
* median: [values, low, high]; the 95 % interval of scipy's `quantile_test`, null where it has no bound.
"""
from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy
import scipy
import statsmodels
from scipy.stats import binomtest, mannwhitneyu, quantile_test
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

rng = numpy.random.default_rng(20260101)


def mcnemar_tables() -> list:
    cases = []
    while len(cases) < 1000:
        n = int(rng.choice([20, 100, 1000, 10000]))
        flips = rng.beta(0.4, 4.0)
        b = int(rng.binomial(n, flips))
        c = int(rng.binomial(n - b, flips * rng.choice([0.0, 0.2, 0.8, 1.0, 1.2])))
        p = float(mcnemar([[n - b - c, b], [c, 0]], exact=True).pvalue)
        if b + c > 0:
            assert math.isclose(p, binomtest(b, b + c).pvalue, rel_tol=1e-9, abs_tol=1e-300), (b, c)
        cases.append([b, c, p])
    return cases


def holm_lists() -> list:
    cases = []
    for _ in range(40):
        p = [float(f"{v:.4g}") for v in rng.beta(0.3, 1.0, size=rng.integers(1, 13))]
        p += p[: rng.integers(0, 2)]  # a tie now and then
        cases.append([p, multipletests(p, method="holm")[1].tolist()])
    return cases


def mann_whitney_samples() -> list:
    cases = []
    for i in range(150):
        m, n = (int(v) for v in rng.integers(2, 31, size=2))
        shift = rng.choice([0.0, 0.5, 2.0])
        digits = 0 if i % 3 == 0 else 6  # every third with ties
        x = [round(float(v), digits) for v in rng.normal(10.0, 3.0, size=m)]
        y = [round(float(v), digits) for v in rng.normal(10.0 + shift, 3.0, size=n)]
        if len(set(x + y)) == 1:
            continue
        exact = len(set(x + y)) == m + n and m * n <= 400
        p = mannwhitneyu(x, y, alternative="two-sided", method="exact" if exact else "asymptotic").pvalue
        cases.append([x, y, float(p)])
    return cases


def wilson_intervals() -> list:
    cases = []
    for _ in range(100):
        n = int(rng.integers(1, 10001))
        k = int(rng.choice([0, n, rng.integers(0, n + 1)]))
        interval = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
        cases.append([k, n, float(interval.low), float(interval.high)])
    return cases


def median_intervals() -> list:
    cases = []
    for n in [1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 15, 20, 33, 40, 48, 60]:
        values = [float(f"{v:.5g}") for v in rng.lognormal(0.0, 0.1, size=n)]
        interval = quantile_test(values, q=1.0, p=0.5).confidence_interval(confidence_level=0.95)
        bound = lambda v: None if math.isnan(v) else float(v)  # noqa: E731
        cases.append([values, bound(interval.low), bound(interval.high)])
    return cases


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "tests/data/statistics.json"
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    out.parent.mkdir(parents=True, exist_ok=True)
    versions = {m.__name__: m.__version__ for m in (numpy, scipy, statsmodels)}
    parts = {
        "versions": versions,
        "mcnemar": mcnemar_tables(),
        "holm": holm_lists(),
        "mann_whitney": mann_whitney_samples(),
        "wilson": wilson_intervals(),
        "median": median_intervals(),
    }
    # one part a line: small, and a diff shows which part changed
    lines = [f"{json.dumps(name)}: {json.dumps(part, separators=(',', ':'))}" for name, part in parts.items()]
    out.write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
