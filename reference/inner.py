"""What the programs of inner loops share that read embedding rows: tasks of rows with codes, the network, and a task's loss.

A task has support and query rows as in `networks.py`, padded: `codes.PART [T, N, F]`, `list.NAME.PART [T, N, 3]` with `mask.NAME.PART`, `numbers.PART [T, N, C]`, `y.PART [T, N]` and
`mask.PART [T, N]`. Parameters: `table.VOCABULARY` and those of a tower with ReLU, named as the product names them. Losses are means over the real rows of a task, 0 without any: padding is not
computed with at all.

    n / (n + c) is what a step of a task with n support rows is multiplied by; c is given, or c = 5 exp(3 shrink) with the parameter `shrink`; `c = 0` is no factor at all
"""

import torch

from golden_file import KINKS
from losses import stable_logistic
from networks import D, FIELDS, LISTS, NUMBERS, VOCABULARIES, linear_parameters, width

LOSSES = {"squared_error": lambda s, y: (s - y) ** 2, "logistic": stable_logistic}
# Rows of each task: one without support rows.
SIZES = {"support": [4, 2, 0], "query": [3, 2, 2]}
TASKS = 3
WIDTHS = [3, 3]


def draw(source, loss):
    """Inputs of the tasks, in which a user keeps the code and the list."""
    values = {}
    user = 1 + torch.arange(TASKS)
    clicked = {"list": 1 + source.integers(VOCABULARIES["item"] - 1, TASKS, 3), "length": 1 + source.integers(3, TASKS)}
    for part, sizes in SIZES.items():
        n = max(sizes)
        real = torch.arange(n)[None] < torch.tensor(sizes)[:, None]
        values[f"mask.{part}"] = real.long()
        codes = {"user_id": user[:, None].expand(TASKS, n), "item_id": source.integers(VOCABULARIES["item"], TASKS, n)}
        values[f"codes.{part}"] = torch.stack([codes[name] for name, _ in FIELDS], 2) * real[..., None]
        for name, vocabulary in LISTS:
            of_user = name == "clicked"
            length = clicked["length"][:, None].expand(TASKS, n) if of_user else source.integers(4, TASKS, n)
            ids = clicked["list"][:, None].expand(TASKS, n, 3) if of_user else 1 + source.integers(VOCABULARIES[vocabulary] - 1, TASKS, n, 3)
            mask = (torch.arange(3)[None, None] < length[..., None]) & real[..., None]
            values[f"mask.{name}.{part}"] = mask.long()
            values[f"list.{name}.{part}"] = ids * mask.long()
        values[f"numbers.{part}"] = source.normal(TASKS, n, len(NUMBERS))
        values[f"y.{part}"] = source.integers(2, TASKS, n) if loss == "logistic" else source.normal(TASKS, n)
    return values


def parameters(source):
    values = {f"table.{name}": source.normal(rows, D, scale=0.7) for name, rows in VOCABULARIES.items()}
    d = width()
    for i, h in enumerate(WIDTHS):
        values |= linear_parameters(source, f"tower.{i}.linear", d, h, scale=0.5)
        d = h
    return values | linear_parameters(source, "head", d, 1, scale=0.7)


def row(p, inputs, part, t, i):
    """x0 of one row."""
    vectors = [p[f"table.{vocabulary}"][inputs[f"codes.{part}"][t, i, f]] for f, (_, vocabulary) in enumerate(FIELDS)]
    for name, vocabulary in LISTS:
        ids = [int(c) for c, m in zip(inputs[f"list.{name}.{part}"][t, i], inputs[f"mask.{name}.{part}"][t, i]) if m]
        table = p[f"table.{vocabulary}"]
        vectors.append(torch.stack([table[c] for c in ids]).mean(0) if ids else torch.zeros(D, dtype=table.dtype))
    return torch.cat([*vectors, inputs[f"numbers.{part}"][t, i]])


def real_rows(inputs, part, t):
    return [i for i in range(inputs[f"mask.{part}"].shape[1]) if inputs[f"mask.{part}"][t, i]]


def network(p, x):
    for i in range(len(WIDTHS)):
        x = KINKS.relu(x @ p[f"tower.{i}.linear.weight"] + p[f"tower.{i}.linear.bias"])
    return (x @ p["head.weight"] + p["head.bias"])[..., 0]


def task_loss(loss, p, inputs, part, t):
    real = real_rows(inputs, part, t)
    if not real:
        return torch.zeros((), dtype=torch.float64)
    x = torch.stack([row(p, inputs, part, t, i) for i in real])
    return LOSSES[loss](network(p, x), inputs[f"y.{part}"][t, real]).mean()


def factor(config, p, n):
    c = 5.0 * torch.exp(3.0 * p["shrink"]) if config["shrink"] == "learned" else config["shrink"]
    return 1.0 if config["shrink"] == 0 else n / (n + c)
