"""What the controls' reference programs share: the tower of a `dnn`, losses of rows, and cases whose loss is written with its gradients."""

import torch

import golden_file
from golden_file import KINKS, check_gradients, gradients, leaves, tensors

WIDTHS = [4, 5, 3]


def states(v, x, prefix=""):
    """What the head reads, `[G, N, 3]`."""
    h, i = x, 0
    while f"{prefix}tower.{i}.weight" in v:
        h, i = KINKS.relu(h @ v[f"{prefix}tower.{i}.weight"] + v[f"{prefix}tower.{i}.bias"]), i + 1
    return h


def head(v, h, prefix=""):
    """Scores `[G, N]`."""
    return (h @ v[f"{prefix}head.weight"] + v[f"{prefix}head.bias"])[..., 0]


def logistic(s, y):
    return torch.relu(s) - y * s + torch.log1p(torch.exp(-s.abs()))


def squared(s, y):
    return (s - y) ** 2


LOSS = {"logistic": logistic, "squared_error": squared}


def mean_of_groups(losses, mask):
    """Mean over groups of the mean over a group's real rows."""
    return ((losses * mask).sum(1) / mask.sum(1)).mean()


def loss_case(name, config, inputs, parameters, loss, more=None):
    """A case with the value of `loss(values)` as output `loss` and its gradients in every parameter and in `x`; `more` are other outputs."""
    tracked = {n: p for n, p in parameters.items() if not n.startswith("start.") and n != "dro.log_q"} | {"x": inputs["x"]}
    fixed = {n: v for n, v in (inputs | parameters).items() if n not in tracked}
    values = leaves(tracked)
    KINKS.safe()
    value = loss(values | fixed)
    assert KINKS.safe(), f"{name}: an activation is too near to its kink, choose another seed"
    found = gradients(value, values)
    check_gradients(lambda v: loss(v | fixed), values, found)
    return {
        "name": name,
        "config": config,
        "inputs": tensors(inputs),
        "parameters": tensors(parameters),
        "outputs": tensors({"loss": value.reshape(1)} | (more or {})),
        "gradients": tensors(found),
    }
