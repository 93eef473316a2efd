#!/usr/bin/env python3
"""Holds the ONNX importer to tests that nobody here wrote: ONNX's own node tests and light networks, and torchvision's zoo.

    scripts/onnx_conformance.py [node] [pytorch] [light] [zoo] [--only TEXT] [--exporter NAME] [--out FILE] [--resume] [--list]

`node` and `pytorch`: the backend tests that PyPI's `onnx` ships, of the operators that `src/model/onnx/operators/mod.rs`
names. Each is run with its first float input (of operators with equal operands: each) as what the gradient is taken of, and once
with all inputs constant, so that they are folded. Outputs are held to the stored ones; gradients, at a point beside the stored one, to
central differences of onnx's reference evaluator in f64. `light`: the whole networks of the same package, as they are, and with
random weights in place of their constants, whose output is held to onnxruntime's and whose gradient to PyTorch's. `zoo`:
every classifier of torchvision with random weights, exported by `torch.onnx.export` (both exporters), against PyTorch.

Prints one table for each. Exit code 1 where something failed that was not refused by name.
"""
from __future__ import annotations

import argparse
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "onnx-venv"
PACKAGES = ["torch==2.15.0", "torchvision==0.29.2", "numpy", "onnx==1.23.2", "onnxruntime==1.32.0", "onnxscript", "packaging"]
OPERATORS = ROOT / "src" / "model" / "onnx" / "operators" / "mod.rs"
# operators whose inputs are of one kind: the gradient is taken of each
EQUAL_OPERANDS = {"Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min", "MatMul", "Concat", "Where", "Einsum", "Gemm"}
NODE_ATOL, NODE_RTOL = 1e-6, 1e-3  # relative as the tests themselves have it
SLOPE_TOL = 1e-4
NETWORK_TOL, F64_TOL = 1e-3, 1e-6  # relative
MOST_PARAMETERS = 6e8  # of a network of the zoo: 2.4 GB of weights, which export, reference and engine hold several times over


def claimed() -> set[str]:
    """The operators that the importer's registry names."""
    text = OPERATORS.read_text()
    return set(re.findall(r'\("(\w+)", (?:One|Many)\(', text))


@dataclass
class Case:
    """What one call of the probe is to compute."""
    folder: Path
    expected: Any = None  # output
    slope: Any = None  # function of (gradient) -> problem or None
    tolerance: tuple[float, float] = (NODE_ATOL, NODE_RTOL)
    shape: tuple[int, ...] = ()  # of the input


@dataclass
class Test:
    name: str
    operator: str
    main: list[Case] = field(default_factory=list)  # refused: the test counts as refused
    more: list[Case] = field(default_factory=list)  # refused: fine
    skipped: str = ""


class Probe:
    """Folders for the probe, and its answers."""

    def __init__(self, program: Path, engine: list[str]) -> None:
        self.program, self.engine = program, engine
        self.root = Path(tempfile.mkdtemp(prefix="onnx-conformance-"))
        self.count = 0

    def folder(self, model: Any, x: Any, seed: Any) -> Path:
        import numpy as np
        self.count += 1
        folder = self.root / str(self.count)
        folder.mkdir()
        if isinstance(model, bytes):
            (folder / "model.onnx").write_bytes(model)
        np.asarray(x, dtype="<f8").ravel().tofile(folder / "input.bin")
        np.asarray(seed, dtype="<f8").ravel().tofile(folder / "seed.bin")
        return folder

    def run(self, folders: list[Path]) -> str:
        result = subprocess.run([self.program, *self.engine], input="\n".join(map(str, folders)), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        done = set(result.stdout.split("\n"))
        for folder in folders:
            if str(folder) not in done:
                (folder / "crashed.txt").write_text(result.stderr[-2000:] or f"exit code {result.returncode}")
                break
        return result.stderr

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def answer(folder: Path) -> tuple[str, str]:
    for name in ["refused", "crashed"]:
        if (folder / f"{name}.txt").exists():
            return name, (folder / f"{name}.txt").read_text()
    return ("ran", "") if (folder / "output.bin").exists() else ("crashed", "no answer")


def judge(case: Case) -> tuple[str, str]:
    """passed, refused or failed, and why."""
    import numpy as np
    state, text = answer(case.folder)
    if state != "ran":
        return ("failed" if state == "crashed" else "refused"), text
    output = np.fromfile(case.folder / "output.bin", dtype="<f8")
    if case.expected is not None:
        expected = np.asarray(case.expected, dtype=np.float64).ravel()
        if output.shape != expected.shape:
            return "failed", f"{output.size} numbers, not {expected.size}"
        atol, rtol = case.tolerance
        with np.errstate(invalid="ignore"):
            near = np.abs(output - expected) <= atol + rtol * np.abs(expected)
        off = ~(near | (output == expected) | (np.isnan(output) & np.isnan(expected)))
        if off.any():
            i = int(np.argmax(off))
            return "failed", f"output {i} of {output.size}: {output[i]:.6g}, not {expected[i]:.6g}"
    if case.slope is not None:
        problem = case.slope(np.fromfile(case.folder / "gradient.bin", dtype="<f8"))
        if problem:
            return "failed", problem
    return "passed", ""


# ---- node tests

def float_kinds() -> set[int]:
    from onnx import TensorProto
    return {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}


def to_double(model: Any) -> Any:
    """The same model whose weights and constants are in double precision, for the reference evaluator."""
    import numpy as np
    from onnx import ModelProto, TensorProto, numpy_helper
    double = ModelProto()
    double.CopyFrom(model)
    for tensor in double.graph.initializer:
        if tensor.data_type in float_kinds():
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for node in double.graph.node:
        for a in node.attribute:
            if a.name == "value" and a.HasField("t") and a.t.data_type in float_kinds():
                a.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(a.t).astype(np.float64), a.t.name))
            if node.op_type == "Cast" and a.name == "to" and a.i in float_kinds():
                a.i = TensorProto.DOUBLE
            if a.name == "stash_type":
                a.i = TensorProto.DOUBLE
    return double


def with_constants(model: Any, arrays: dict[str, Any], variable: str, output: str) -> Any:
    """The model with one input and one output, the other inputs as weights."""
    from onnx import ModelProto, numpy_helper, helper
    new = ModelProto()
    new.CopyFrom(model)
    del new.graph.input[:], new.graph.output[:]
    new.graph.output.append(next(o for o in model.graph.output if o.name == output))
    known = {t.name for t in model.graph.initializer}
    for name, array in arrays.items():
        if name == variable:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            new.graph.input.append(helper.make_tensor_value_info(name, kind, list(array.shape)))
        elif name not in known:
            new.graph.initializer.append(numpy_helper.from_array(array, name))
    return new


def all_constant(model: Any, arrays: dict[str, Any], output: str) -> Any:
    """The model on nothing but weights, whose output is multiplied with the one number that is given."""
    from onnx import TensorProto, helper
    new = with_constants(model, arrays, "", output)
    del new.graph.output[:]
    new.graph.input.append(helper.make_tensor_value_info("the_image", TensorProto.FLOAT, [1]))
    new.graph.node.append(helper.make_node("Cast", [output], ["as_float"], to=TensorProto.FLOAT))
    new.graph.node.append(helper.make_node("Mul", ["as_float", "the_image"], ["the_output"]))
    new.graph.output.append(helper.make_tensor_value_info("the_output", TensorProto.FLOAT, None))
    return new


def slopes_of(model: Any, variable: str, output: str, expected: tuple[Any, Any], x: Any, seed: Any) -> Any:
    """A judge of gradients at x, by central differences of the reference evaluator along random directions. It must itself
    give the expected output at the expected input."""
    import numpy as np
    from onnx.reference import ReferenceEvaluator
    evaluator = ReferenceEvaluator(to_double(model))

    def value(x: Any) -> tuple[float, Any]:
        y = evaluator.run([output], {variable: x})[0]
        return float((np.asarray(y, dtype=np.float64) * seed.reshape(np.shape(y))).sum()), np.asarray(y).dtype

    # a softmax over nothing but -inf has no gradient, whatever is made of its NaN afterwards
    softmaxes = [n.output[0] for n in model.graph.node if n.op_type == "Softmax"]
    if any(np.isnan(y).any() for y in (evaluator.run(softmaxes, {variable: x}) if softmaxes else [])):
        raise ValueError("a softmax over -inf alone")
    rng = np.random.default_rng(2)
    pairs = []
    known = evaluator.run([output], {variable: expected[0]})[0]
    if not np.allclose(known, expected[1], rtol=1e-2, atol=1e-3, equal_nan=True):
        raise ValueError("the reference evaluator is wrong itself")
    # the evaluator's error function is one of f32
    coarse = value(x)[1] != np.float64 or any(n.op_type in ("Gelu", "Erf") for n in model.graph.node)
    if np.abs(x).max() > 1e30:
        raise ValueError("inputs too large for differences")

    def slope(d: Any, h: float) -> float:
        return (value(x + h * d)[0] - value(x - h * d)[0]) / (2 * h)
    for _ in range(4):
        d = rng.standard_normal(x.shape)
        fine, check = slope(d, 1e-6), slope(d, 1e-5)
        # some operators of the evaluator compute in f32 inside
        coarse |= not abs(fine - check) <= SLOPE_TOL / 2 * max(1.0, abs(check))
        pairs.append((d.ravel(), slope(d, 1e-3) if coarse else fine))
    if not all(np.isfinite(slope) for _, slope in pairs):
        raise ValueError("infinite outputs")

    def problem(gradient: Any) -> str | None:
        tolerance = 3e-2 if coarse else SLOPE_TOL
        for d, slope in pairs:
            ours = float(gradient @ d)
            scale = max(1.0, abs(slope), float(np.linalg.norm(gradient)))
            if not abs(ours - slope) <= tolerance * scale:
                return f"slope {ours:.6g} along a direction, not {slope:.6g}"
        return None
    return problem


def tests_of(kind: str, operators: set[str], only: str) -> Iterator[tuple[str, Any, list[tuple[dict[str, Any], dict[str, Any]]]]]:
    """Name, model, and the data sets as inputs and outputs by name."""
    import onnx
    from onnx import numpy_helper
    from onnx.backend.test.loader import load_model_tests
    kinds = ["node"] if kind == "node" else ["pytorch-converted", "pytorch-operator"]
    for test in [t for kind in kinds for t in load_model_tests(kind=kind)]:
        if only not in test.name:
            continue
        model = test.model if test.model is not None else onnx.load(os.path.join(test.model_dir, "model.onnx"))
        if not {n.op_type for n in model.graph.node} <= operators or any(n.domain for n in model.graph.node):
            continue
        weights = {t.name for t in model.graph.initializer}
        names = [i.name for i in model.graph.input if i.name not in weights], [o.name for o in model.graph.output]
        sets = []
        if test.data_sets is not None:
            sets = [(dict(zip(names[0], i)), dict(zip(names[1], o))) for i, o in test.data_sets]
        else:
            for folder in sorted(Path(test.model_dir).glob("test_data_set_*")):
                read = lambda name: numpy_helper.to_array(onnx.load_tensor(folder / name))  # noqa: E731
                sets.append(tuple({n: read(f"{what}_{i}.pb") for i, n in enumerate(names[j])
                                   if (folder / f"{what}_{i}.pb").exists()} for j, what in enumerate(["input", "output"])))
        yield test.name, model, sets


def is_float(array: Any) -> bool:
    import numpy as np
    return isinstance(array, np.ndarray) and array.dtype in (np.float32, np.float64, np.float16) and array.size > 0


def build(name: str, model: Any, sets: list[Any], probe: Probe) -> Test:
    import numpy as np
    operator = model.graph.node[0].op_type if len(model.graph.node) == 1 else "several"
    test = Test(name, operator)
    for inputs, outputs in sets:
        # a single number is an array, too
        inputs, outputs = [{n: np.asarray(a) if isinstance(a, np.generic) else a for n, a in of.items()} for of in (inputs, outputs)]
        arrays = {n: a for n, a in inputs.items() if isinstance(a, np.ndarray)}
        if len(arrays) != len(inputs) or not all(isinstance(o, np.ndarray) for o in outputs.values()):
            test.skipped = "no tensors"
            continue
        half = any(a.dtype == np.float16 for a in arrays.values())
        floats = [n for n, a in arrays.items() if is_float(a)]
        equal = operator in EQUAL_OPERANDS
        for output, expected in outputs.items():
            if expected.size == 0 or expected.dtype.kind not in "fiub":
                continue
            tolerance = (1e-3, 2e-3) if half else (NODE_ATOL, NODE_RTOL)
            for variable in (floats if equal else floats[:1]) if is_float(expected) else []:
                one = with_constants(model, arrays, variable, output)
                x = arrays[variable].astype(np.float64)
                seed = np.random.default_rng(1).standard_normal(expected.size)
                to = test.main if (variable, output) == (floats[0], next(iter(outputs))) else test.more
                to.append(Case(probe.folder(one.SerializeToString(), x, seed), expected, None, tolerance, x.shape))
                beside = x + 0.03 * np.random.default_rng(3).standard_normal(x.shape)
                try:
                    slope = slopes_of(one, variable, output, (x, expected), beside, seed)
                except Exception as e:  # noqa: BLE001 (the reference evaluator lacks this case)
                    test.skipped = f"no reference gradient: {e!r}"[:100]
                    continue
                to.append(Case(probe.folder(one.SerializeToString(), beside, seed), None, slope, shape=x.shape))
            try:
                constant = all_constant(model, arrays, output).SerializeToString()
            except Exception:  # noqa: BLE001 (a type without an array)
                continue
            to = test.more if test.main else test.main
            to.append(Case(probe.folder(constant, [1.0], np.zeros(expected.size)), expected, None, tolerance))
    return test


def run_tests(kind: str, program: Path, only: str, verbose: bool) -> tuple[list[dict[str, Any]], bool]:
    operators = claimed()
    probe = Probe(program, ["plain", "numbers"])
    tests = [build(name, model, sets, probe) for name, model, sets in tests_of(kind, operators, only)]
    folders = [c.folder for t in tests for c in t.main + t.more]
    while True:
        left = [f for f in folders if answer(f)[1] == "no answer"]
        if not left:
            break
        probe.run(left)
    # what needs a batch of its own along the first axis
    again = []
    for case in [c for t in tests for c in t.main + t.more]:
        shape = case.shape
        if answer(case.folder)[0] == "refused" and len(shape) > 1 and shape[0] > 1:
            (case.folder / "refused.txt").rename(case.folder / "without_batch.txt")
            (case.folder / "batch").write_text(str(shape[0]))
            again.append(case.folder)
    while [f for f in again if answer(f)[1] == "no answer"]:
        probe.run([f for f in again if answer(f)[1] == "no answer"])
    by_operator: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, list[str]] = {"refused": [], "failed": [], "skipped": []}
    for test in tests:
        main, more = [judge(c) for c in test.main], [judge(c) for c in test.more]
        failed = [text for state, text in main + more if state == "failed"]
        refused = [text for state, text in main if state == "refused"]
        state = "skipped" if not main else "failed" if failed else "refused" if refused else "passed"
        by_operator[test.operator][state] += 1
        by_operator[test.operator]["operands refused"] += sum(s == "refused" for s, _ in more)
        if state != "passed":
            why = (failed + refused + [test.skipped or "nothing to compare"])[0]
            reasons[state].append(f"{test.name}: {why.strip()}")
    probe.close()
    total: Counter[str] = sum(by_operator.values(), Counter())
    print(f"\n{kind} tests: {len(tests)} of {len(operators)} operators")
    print(f"| {'operator':22} | passed | refused by name | failed | skipped |")
    print("|---|---|---|---|---|")
    for operator, counts in sorted(by_operator.items()) + [("all", total)]:
        print(f"| {operator:22} | {counts['passed']} | {counts['refused']} | {counts['failed']} | {counts['skipped']} |")
    for state in ["failed"] + (["refused", "skipped"] if verbose else []):
        for reason in reasons[state]:
            print(f"{state}: {reason}")
    return [{"kind": kind, "operator": o, **c} for o, c in by_operator.items()], total["failed"] > 0


# ---- networks

def gradient_of(network: Any, x: Any, seed: Any) -> Any:
    """The gradient of seed · logits with respect to the image, by PyTorch."""
    leaf = x.clone().requires_grad_()
    (network(leaf).ravel() * seed.to(x.dtype).ravel()).sum().backward()
    return leaf.grad.double().numpy()


def network_row(name: str, folder: Path, program: Path, output: Any, gradient: Any, in_f32: Any,
                of_file: Callable[[], Any] | None = None) -> dict[str, Any]:
    """Of the compiled engine in f32. A ReLU or pool that tips over changes a gradient by more than rounding: `in_f32`, PyTorch's
    own in single precision, shows by how much. Where ours is off, the plain engine in f64 must be right."""
    import numpy as np
    state, text = answer(folder)
    row: dict[str, Any] = {"network": name, "state": {"ran": "passed", "crashed": "failed"}.get(state, state), "why": text.strip()}
    if state != "ran":
        return row
    row["notes"] = (folder / "notes.txt").read_text()
    row["peak"] = int((folder / "peak.txt").read_text() or 0) >> 10
    if not np.any(output) or gradient is not None and not np.any(gradient):
        row["state"], row["why"] = "failed", "the reference is nothing but zeros"
        return row

    def off(what: str, theirs: Any) -> float:
        theirs, ours = np.asarray(theirs, dtype=np.float64).ravel(), np.fromfile(folder / f"{what}.bin", dtype="<f8")
        return float(np.linalg.norm(ours - theirs) / (np.linalg.norm(theirs) or 1.0))

    row["output"] = off("output", output)
    right = row["output"] <= NETWORK_TOL
    if gradient is not None:
        row["gradient"] = off("gradient", gradient)
        row["pytorch f32"] = float(np.linalg.norm(np.ravel(in_f32) - np.ravel(gradient)) / np.linalg.norm(gradient))
        if row["gradient"] > NETWORK_TOL:
            subprocess.run([program, "plain"], input=str(folder), text=True, stdout=subprocess.DEVNULL)
            row["gradient f64"] = off("gradient", gradient)
            if row["gradient f64"] > F64_TOL and of_file:
                # exporters fold batch norms into weights of single precision, which makes it another network in double
                # precision, with ReLUs that tip over: the reference is then the file, computed by PyTorch
                row["gradient f64"] = off("gradient", of_file())
            right &= row["gradient f64"] <= F64_TOL
    if not right:
        row["state"] = "failed"
    return row


def show(title: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{title}")
    print("| network | state | output off | gradient off | PyTorch's in f32 off | ours in f64 off | peak / MiB | |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        number = lambda key: f"{row[key]:.1e}" if key in row else ""  # noqa: E731
        print(f"| {row['network']} | {row['state']} | {number('output')} | {number('gradient')} | {number('pytorch f32')} | {number('gradient f64')} | {row.get('peak', '')} | {row['why'][:150]} |")
    counts = Counter(row["state"] for row in rows)
    print(f"{len(rows)} networks: " + ", ".join(f"{n} {state}" for state, n in sorted(counts.items())))


def torch_evaluator(model: Any, x: Any) -> Any:
    """Operators of convolutional networks in PyTorch: output for input x, in its precision."""
    import torch
    import torch.nn.functional as F
    from onnx import helper, numpy_helper
    values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    values = {n: v.to(x.dtype) if v.is_floating_point() else v for n, v in values.items()}
    inputs = [i.name for i in model.graph.input if i.name not in values]
    values[inputs[0]] = x
    for node in model.graph.node:
        a = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        v = [values[n] for n in node.input if n]
        op = node.op_type
        if op in ("Conv", "MaxPool", "AveragePool"):
            top, left, bottom, right = a.get("pads", [0, 0, 0, 0])
            lowest = float("-inf") if op == "MaxPool" else 0.0
            padded = F.pad(v[0], (left, right, top, bottom), value=lowest)
            if op == "Conv":
                y = F.conv2d(padded, v[1], v[2] if len(v) > 2 else None, a.get("strides", 1), 0, a.get("dilations", 1), a.get("group", 1))
            elif op == "MaxPool":
                y = F.max_pool2d(padded, a["kernel_shape"], a.get("strides", 1), ceil_mode=bool(a.get("ceil_mode", 0)))
            else:
                count = F.pad(torch.ones_like(v[0]), (left, right, top, bottom))
                if a.get("count_include_pad", 0):
                    count = torch.ones_like(padded)
                y = F.avg_pool2d(padded, a["kernel_shape"], a.get("strides", 1)) / F.avg_pool2d(count, a["kernel_shape"], a.get("strides", 1))
        elif op == "BatchNormalization":
            y = F.batch_norm(v[0], v[3], v[4], v[1], v[2], False, 0.0, a.get("epsilon", 1e-5))
        elif op == "GlobalAveragePool":
            y = v[0].mean((2, 3), keepdim=True)
        elif op == "Gemm":
            b = v[1].T if a.get("transB") else v[1]
            y = a.get("alpha", 1.0) * v[0] @ b + (a.get("beta", 1.0) * v[2] if len(v) > 2 else 0)
        elif op == "Reshape":
            y = v[0].reshape([v[0].shape[i] if s == 0 else s for i, s in enumerate(v[1].tolist())])
        elif op == "Constant":
            y = torch.from_numpy(numpy_helper.to_array(a["value"]).copy())
        elif op == "ReduceMean":
            y = v[0].mean((v[1].tolist() if len(v) > 1 else a["axes"]), keepdim=bool(a.get("keepdims", 1)))
        elif op == "Softmax":
            y = F.softmax(v[0].flatten(1), 1).reshape(v[0].shape)
        elif op == "Unsqueeze":
            y = v[0]
            for axis in sorted(a["axes"]):
                y = y.unsqueeze(axis)
        else:
            y = {"Relu": lambda: F.relu(v[0]), "Dropout": lambda: v[0], "Identity": lambda: v[0], "Flatten": lambda: v[0].flatten(1), "Add": lambda: v[0] + v[1], "Mul": lambda: v[0] * v[1],
                 "Sum": lambda: sum(v), "Concat": lambda: torch.cat(v, a["axis"]), "Transpose": lambda: v[0].permute(a["perm"])}[op]()
        values[node.output[0]] = y
    return values[model.graph.output[0].name]


def with_random_weights(model: Any) -> Any:
    """Weights in place of the constants of the light networks (He et al. 2015), variances from 1/2 to 1, and no softmax at the
    end, which would be sure of a class and have no gradient."""
    import numpy as np
    from onnx import ModelProto, numpy_helper
    new = ModelProto()
    new.CopyFrom(model)
    rng = np.random.default_rng(5)
    shapes = {t.name: numpy_helper.to_array(t) for t in new.graph.initializer}
    role = {n: (node.op_type, i) for node in new.graph.node for i, n in enumerate(node.input)}
    through = {node.output[0]: node.input[0] for node in new.graph.node if node.op_type == "Unsqueeze"}
    for result, source in through.items():
        role[source] = role[result]
    del new.graph.node[:]
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            new.graph.node.append(node)
            continue
        shape = tuple(shapes[node.input[0]])
        op, i = role[node.output[0]]
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        w = rng.standard_normal(shape)
        if op == "BatchNormalization" and i == 4 or op == "BatchNormalization" and i == 1 or op == "Mul":
            w = 0.5 + 0.5 * rng.random(shape)
        elif len(shape) > 1:
            w *= np.sqrt(2.0 / fan_in)
        else:
            w *= 0.1
        new.graph.initializer.append(numpy_helper.from_array(w.astype(np.float32), node.output[0]))
    if new.graph.node[-1].op_type == "Softmax":
        new.graph.output[0].name = new.graph.node[-1].input[0]
        del new.graph.node[-1]
    return new


def run_light(program: Path, only: str) -> tuple[list[dict[str, Any]], bool]:
    import numpy as np
    import onnx
    import onnxruntime
    import torch
    from onnx import numpy_helper
    data = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    rows = []
    for path in [p for p in sorted(data.glob("*.onnx")) if only in p.name]:
        model = onnx.load(path)
        weights = {t.name for t in model.graph.initializer}
        shape = next([d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input if i.name not in weights)
        rng = np.random.default_rng(0)
        for kind in ["as it is", "random weights"]:
            probe = Probe(program, ["cpu"])
            x = rng.standard_normal(shape)
            expected = gradient = theirs = None
            if kind == "as it is":
                # the stored output belongs to the input of onnx's own runner: arange / size
                x = np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)
                expected = numpy_helper.to_array(onnx.load_tensor(str(path).replace(".onnx", "_output_0.pb")))
                one = model
            else:
                one = with_random_weights(model)
            seed = rng.standard_normal(int(np.prod([d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim])))
            folder = probe.folder(one.SerializeToString(), x, seed)
            probe.run([folder])
            if kind != "as it is" and answer(folder)[0] == "ran":
                options = onnxruntime.SessionOptions()
                options.log_severity_level = 3
                session = onnxruntime.InferenceSession(one.SerializeToString(), options, providers=["CPUExecutionProvider"])
                name = [i.name for i in session.get_inputs() if i.name not in {t.name for t in one.graph.initializer}][0]
                expected = session.run(None, {name: x.astype(np.float32)})[0]
                gradient, theirs = [gradient_of(lambda x: torch_evaluator(one, x), torch.from_numpy(x).to(d), torch.from_numpy(seed))
                                    for d in (torch.float64, torch.float32)]
            rows.append(network_row(f"{path.stem}, {kind}", folder, program, expected, gradient, theirs))
            probe.close()
            print(rows[-1], file=sys.stderr)
    show("light networks of onnx", rows)
    return rows, any(row["state"] == "failed" for row in rows)


def lively(net: Any) -> None:
    """Batch norms as after training, and random numbers in place of parameters that begin as one number (heads of 0, layer
    scales of 1e-6): no part of a network is left out."""
    import torch
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for name, parameter in net.named_parameters():
        if parameter.numel() > 1 and parameter.std() == 0:
            if "layer_scale" in name:
                parameter.data.uniform_(0.1, 0.5)
            elif parameter.data.ravel()[0] == 0:
                parameter.data.normal_(0, 0.1 if parameter.dim() == 1 else 0.02)
            else:
                parameter.data.uniform_(0.5, 1.5)


def export(net: Any, x: Any, path: Path, exporter: str) -> None:
    import torch
    if exporter == "torchscript":
        torch.onnx.export(net, (x,), str(path), dynamo=False, input_names=["image"], output_names=["logits"],
                          dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}})
    elif exporter == "dynamo":
        torch.onnx.export(net, (x,), str(path), dynamo=True, verbose=False)
    else:
        torch.onnx.export(net, (x,), str(path), dynamo=True, verbose=False,
                          dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},))


def run_zoo(program: Path, only: str, exporters: list[str], rows: list[dict[str, Any]],
            keep: Callable[[list[dict[str, Any]]], None]) -> tuple[list[dict[str, Any]], bool]:
    """All rows: those given, of an earlier run, and those added, each of which is kept at once."""
    import numpy as np
    import onnx
    import torch
    import torchvision

    def add(row: dict[str, Any]) -> None:
        rows.append({"table": "zoo", **row})
        print(row, file=sys.stderr, flush=True)
        keep(rows)

    names = torchvision.models.list_models(module=torchvision.models)
    for name in [n for n in names if re.search(only, n)]:
        known = {row["network"] for row in rows}
        left = [e for e in exporters if f"{name}, {e}" not in known]
        if not left:
            continue
        parameters = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
        if parameters > MOST_PARAMETERS:
            for exporter in left:
                add({"network": f"{name}, {exporter}", "state": "not measured", "why": f"memory: {parameters / 1e6:.0f} million parameters"})
            continue
        torch.manual_seed(0)
        more = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        net = torchvision.models.get_model(name, weights=None, **more).eval()
        lively(net)
        side = 299 if name == "inception_v3" else 224
        x = torch.rand(1, 3, side, side)
        seed = torch.randn(1, 1000)
        with torch.no_grad():
            out = net(x)
        theirs = gradient_of(net, x, seed)
        # the reference in double precision, where the memory is there for it
        gradient = gradient_of(net.double(), x.double(), seed) if parameters < 2e8 else theirs
        net.float()
        for exporter in left:
            probe = Probe(program, ["cpu"])
            folder = probe.folder(None, x.numpy(), seed.numpy())
            started = time.time()
            try:
                with open(os.devnull, "w") as null:
                    import contextlib
                    with contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
                        # an exporter may need a batch of two to see that it is one
                        export(net, x if exporter != "dynamo-dynamic" else torch.cat([x, x]), folder / "model.onnx", exporter)
            except Exception as e:  # noqa: BLE001 (the exporter's own failure)
                add({"network": f"{name}, {exporter}", "state": "not exported", "why": f"{type(e).__name__}: {str(e)[:100]}"})
                probe.close()
                continue
            exported = time.time() - started
            gc.collect()
            probe.run([folder])

            def of_file(path: Path = folder / "model.onnx") -> Any:
                model = onnx.load(path)
                return gradient_of(lambda x: torch_evaluator(model, x), x.double(), seed)

            row = network_row(f"{name}, {exporter}", folder, program, out.numpy(), gradient, theirs, of_file)
            add({**row, "seconds": round(time.time() - started - exported, 1)})
            probe.close()
    rows.sort(key=lambda row: row["network"])
    show("torchvision's classifiers", rows)
    return rows, any(row["state"] == "failed" for row in rows)


def ensure_packages() -> None:
    """Continues inside a virtual environment that has the packages."""
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
        return
    except ImportError:
        pass
    python = VENV / "bin" / "python"
    if not python.exists():
        venv.create(VENV, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    os.execv(python, [str(python), *sys.argv])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="node, pytorch, light, zoo; nothing: all but zoo")
    parser.add_argument("--only", default="", help="tests or networks whose name contains this")
    parser.add_argument("--exporter", action="append", choices=["torchscript", "dynamo", "dynamo-dynamic"])
    parser.add_argument("--probe", type=Path, help="the built example `onnx_probe`; without, cargo builds it")
    parser.add_argument("--out", type=Path, help="the rows as JSON; those of the zoo as they come")
    parser.add_argument("--resume", action="store_true", help="take the zoo's rows that --out has from there")
    parser.add_argument("--list", action="store_true", help="print every refusal, too")
    options = parser.parse_args()
    ensure_packages()
    program = options.probe
    if program is None:
        subprocess.run(["cargo", "build", "--release", "--locked", "--example", "onnx_probe"], cwd=ROOT, check=True)
        program = ROOT / "target" / "release" / "examples" / "onnx_probe"
    program = program.resolve()
    rows: list[dict[str, Any]] = []
    failed = False

    def keep(rows: list[dict[str, Any]]) -> None:
        if options.out:
            part = options.out.with_name(options.out.name + ".part")
            part.write_text(json.dumps(rows, indent=1))
            part.replace(options.out)

    for what in options.what or ["node", "pytorch", "light"]:
        if what in ("node", "pytorch"):
            more, bad = run_tests(what, program, options.only, options.list)
        elif what == "light":
            more, bad = run_light(program, options.only)
        elif what == "zoo":
            before = json.loads(options.out.read_text()) if options.resume and options.out.exists() else []
            before = [row for row in before if row.get("table") == "zoo"]
            more, bad = run_zoo(program, options.only, options.exporter or ["torchscript", "dynamo"], before, lambda zoo: keep(rows + zoo))
        else:
            parser.error(f"unknown table `{what}`")
        rows, failed = rows + more, failed or bad
        keep(rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
