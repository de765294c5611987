"""What a serving plan scores: rows of fields, lists and numbers through towers with norms, scales and branches.

    x = [slots];  z = x W + b;  then each of `after`;  then the norm;  x <- relu(z);  score = unit * (x w + b), and what stands after the head

scale: z * gain + shift.  branch: z + phi(r W1 + b1) W2 + b2 (+ r), r the output z or the input x.  affine: a batch norm with fixed moments, as gain and shift.
"""

import torch
from torch.nn import functional as F

import golden_file
from golden_file import KINKS, Source, tensors

ABOUT = "Scores of whole networks as a serving plan reads them, in f64. Formulas in reference/plan.py."
ROWS, TABLES = 7, [(5, 3), (4, 6), (9, 2)]
# Source, table or none, column among its kind on its side, whether the request shares it.
SLOTS = [("field", 0, 0, True), ("number", None, 0, False), ("bag", 1, 0, False), ("field", 2, 0, False), ("bag", 2, 0, True), ("number", None, 0, True)]
PHI = {"gelu": F.gelu, "gelu_tanh": lambda t: F.gelu(t, approximate="tanh"), "relu": KINKS.relu}
CASES = [
    ("no_layers", [], [], 4.0),
    ("norms", [(8, "affine", []), (6, "layer", []), (5, "none", [])], [], 1.0),
    ("scales", [(8, "affine", ["scale"]), (6, "layer", ["scale", "scale"])], ["scale"], 1.0),
    ("branches", [(8, "none", ["branch input gelu"]), (8, "layer", ["branch output gelu_tanh skip", "scale", "branch input relu skip"])], ["branch input gelu"], 2.0),
]


def linear(source, name, d_in, d_out, scale=1.0):
    return {f"{name}.weight": source.normal(d_in, d_out, scale=scale / d_in**0.5), f"{name}.bias": source.normal(d_out, scale=0.3)}


def after_parameters(source, name, after, d_in, d_out):
    values = {}
    for i, step in enumerate(after):
        if step == "scale":
            values |= {f"{name}.after.{i}.gain": source.normal(d_out, scale=0.3, shift=1.0), f"{name}.after.{i}.shift": source.normal(d_out, scale=0.3)}
        else:
            read = d_in if "input" in step else d_out
            values |= linear(source, f"{name}.after.{i}.down", read, 4) | linear(source, f"{name}.after.{i}.up", 4, d_out, 0.5)
    return values


def inputs(source):
    offsets = torch.tensor([0, 2, 2, 3, 7, 8, 8, 10])
    return {
        "shared.codes": source.integers(TABLES[0][0], 1, 1),
        "shared.numeric": source.normal(1, 1),
        "shared.bag.offsets": torch.tensor([0, 3]),
        "shared.bag.codes": source.integers(TABLES[2][0], 3),
        "own.codes": source.integers(TABLES[2][0], ROWS, 1),
        "own.numeric": source.normal(ROWS, 1),
        "own.bag.offsets": offsets,
        "own.bag.codes": source.integers(TABLES[1][0], int(offsets[-1])),
    }


def row(v):
    parts = []
    for kind, table, column, shared in SLOTS:
        side = "shared" if shared else "own"
        if kind == "number":
            part = v[f"{side}.numeric"][:, column : column + 1]
        elif kind == "field":
            part = F.embedding(v[f"{side}.codes"][:, column], v[f"table.{table}"])
        else:
            part = F.embedding_bag(v[f"{side}.bag.codes"], v[f"table.{table}"], v[f"{side}.bag.offsets"][:-1], mode="mean")
        parts.append(part.expand(ROWS, -1))
    return torch.cat(parts, 1)


def followed(v, name, after, x, z):
    for i, step in enumerate(after):
        at = f"{name}.after.{i}"
        if step == "scale":
            z = z * v[f"{at}.gain"] + v[f"{at}.shift"]
        else:
            _, read, phi, *skip = step.split()
            r = x if read == "input" else z
            inner = PHI[phi](r @ v[f"{at}.down.weight"] + v[f"{at}.down.bias"])
            z = z + inner @ v[f"{at}.up.weight"] + v[f"{at}.up.bias"] + (r if skip else 0.0)
    return z


def case(source, name, layers, head_after, unit):
    v = {f"table.{t}": source.normal(rows, d) for t, (rows, d) in enumerate(TABLES)} | inputs(source)
    width = sum(1 if table is None else TABLES[table][1] for _, table, _, _ in SLOTS)
    moments, d_in = {}, width
    for l, (d, norm, after) in enumerate(layers):
        v |= linear(source, f"layer.{l}", d_in, d) | after_parameters(source, f"layer.{l}", after, d_in, d)
        if norm != "none":
            v |= {f"layer.{l}.norm.gain": source.normal(d, scale=0.3, shift=1.0), f"layer.{l}.norm.shift": source.normal(d, scale=0.3)}
        if norm == "affine":
            moments[l] = source.normal(d), source.positive(d)
        d_in = d
    v |= linear(source, "head", d_in, 1) | after_parameters(source, "head", head_after, d_in, 1)

    KINKS.safe()
    x = row(v)
    read = x
    for l, (d, norm, after) in enumerate(layers):
        z = followed(v, f"layer.{l}", after, x, x @ v[f"layer.{l}.weight"] + v[f"layer.{l}.bias"])
        if norm == "layer":
            z = F.layer_norm(z, (d,), v[f"layer.{l}.norm.gain"], v[f"layer.{l}.norm.shift"], 1e-5)
        elif norm == "affine":
            mean, variance = moments[l]
            z = F.batch_norm(z, mean, variance, v[f"layer.{l}.norm.gain"], v[f"layer.{l}.norm.shift"], False, 0.0, 1e-5)
        x = KINKS.relu(z)
    score = unit * followed(v, "head", head_after, x, x @ v["head.weight"] + v["head.bias"])[:, 0]
    assert KINKS.safe(), f"{name}: an activation is too near to its kink, choose another seed"

    # The network has a batch norm as gain and shift.
    for l, (mean, variance) in moments.items():
        gain = v[f"layer.{l}.norm.gain"] / (variance + 1e-5).sqrt()
        v[f"layer.{l}.norm.gain"], v[f"layer.{l}.norm.shift"] = gain, v[f"layer.{l}.norm.shift"] - mean * gain
    config = {
        "slots": [{"kind": kind, "table": table or 0, "column": column, "shared": shared} for kind, table, column, shared in SLOTS],
        "layers": [{"norm": norm, "after": after} for _, norm, after in layers],
        "after": head_after,
        "unit": unit,
    }
    given = {name: value for name, value in v.items() if name.startswith(("shared.", "own."))}
    parameters = {name: value for name, value in v.items() if name not in given}
    return {
        "name": name,
        "config": config,
        "inputs": tensors(given),
        "parameters": tensors(parameters),
        "outputs": tensors({"x": read, "hidden": x, "score": score}),
    }


def build():
    source = Source(22)
    return [case(source, *of) for of in CASES]


if __name__ == "__main__":
    golden_file.run("plan", ABOUT, build)
