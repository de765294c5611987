"""MetaCS: everything is adapted to a task, embedding rows included.

    theta_{k+1} = theta_k - n / (n + c) alpha grad L_S(theta_k),  k = 0..K-1, over all weights, biases and tables
    outer loss = mean over tasks of L_Q(theta_K), with a loss of earlier steps: + w sum_{k=1}^{K-1} L_Q(theta_k)

Only rows of tables that the support set reads have an inner gradient: a query row that shares none of them is scored with the base's. Tables are dense here, and each task has its own copy.

- exact: the gradient goes through the inner steps, tables of support rows included; first_order: inner gradients are constants.
- rates "layer_step": alpha is a parameter for each weight, bias and step, `rate.<layer>.<part> [K]`, and one for all tables, `rate.rows [K]`.

`outputs.adapted.<name>` has a leading task axis; `outputs.x` are the query rows as the adapted network reads them, 0 for padding.
Bharadhwaj, "Meta-Learning for User Cold-Start Recommendation", IJCNN 2019; Finn et al., ICML 2017. Tasks and network: `inner.py`.
"""

import torch

import golden_file
from golden_file import KINKS, Source, check_gradients, gradients, leaves, tensors
from inner import SIZES, TASKS, WIDTHS, draw, factor, parameters, real_rows, row, task_loss
from networks import width

ABOUT = "MetaCS: adapted values, query rows, outer loss, exact and first-order meta-gradients of dense parameters and tables. Formulas in reference/metacs.py."
LAYERS = [*(f"tower.{i}.linear" for i in range(len(WIDTHS))), "head"]
DENSE = [f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")]


def rate_of(config, p, name, k):
    if "rates" not in config:
        return config["alpha"]
    if name.startswith("table."):
        return p["rate.rows"][k]
    layer, part = name.rsplit(".", 1)
    return p[f"rate.{LAYERS.index(layer)}.{part}"][k]


def trajectory(config, inputs, exact, p, t):
    names = [n for n in p if n.startswith("table.")] + DENSE
    n, steps = len(real_rows(inputs, "support", t)), []
    for k in range(config["steps"]):
        if n:
            # A table that no support row reads has no gradient.
            found = torch.autograd.grad(task_loss(config["loss"], p, inputs, "support", t), [p[n] for n in names], create_graph=exact, allow_unused=True)
            p = p | {name: p[name] - factor(config, p, n) * rate_of(config, p, name, k) * g for name, g in zip(names, found) if g is not None}
        steps.append(p)
    return steps


def outer_loss(config, inputs, exact, p):
    total, adapted = 0.0, []
    for t in range(TASKS):
        steps = trajectory(config, inputs, exact, p, t)
        losses = [task_loss(config["loss"], q, inputs, "query", t) for q in steps]
        total = total + losses[-1] + config.get("multi_step", 0.0) * sum(losses[:-1])
        adapted.append(steps[-1])
    return total / TASKS, adapted


def case(source, loss, steps, exact, **more):
    config = {"loss": loss, "steps": steps, "alpha": 0.125, "shrink": 0, "order": "exact" if exact else "first_order", "hidden": WIDTHS, "tasks": TASKS} | more
    inputs, values = draw(source, loss), parameters(source)
    if config["shrink"] == "learned":
        values["shrink"] = source.normal(1, scale=0.2)
    if "rates" in config:
        values |= {f"rate.{i}.{part}": source.positive(steps) * 0.125 for i in range(len(LAYERS)) for part in ("weight", "bias")}
        values["rate.rows"] = source.positive(steps) * 0.125
    leaf = leaves(values)
    KINKS.safe()
    value, adapted = outer_loss(config, inputs, exact, leaf)
    if not KINKS.safe():
        return None
    found = gradients(value, leaf)
    if exact:
        check_gradients(lambda v: outer_loss(config, inputs, True, leaves(v))[0], leaf, found)
    x = torch.zeros(TASKS, max(SIZES["query"]), width(), dtype=torch.float64)
    for t in range(TASKS):
        for i in real_rows(inputs, "query", t):
            x[t, i] = row(adapted[t], inputs, "query", t, i)
    outputs = {"loss": value, "x": x} | {f"adapted.{n}": torch.stack([a[n] for a in adapted]) for n in DENSE}
    name = "_".join([f"{loss}_k{steps}", *(f"{key}_{value}" for key, value in more.items()), config["order"]])
    return {
        "name": name,
        "config": config,
        "inputs": tensors(inputs),
        "parameters": tensors(values),
        "outputs": tensors(outputs),
        "gradients": tensors(found),
    }


def pair(source, loss, steps, **more):
    """Exact and first-order case on the same numbers, drawn again until no activation is near its kink."""
    while True:
        seed = source.integers(1 << 30, 1).item()
        found = [case(Source(seed), loss, steps, exact, **more) for exact in (True, False)]
        if None not in found:
            return found


def build():
    source = Source(37)
    settings = [
        ("squared_error", 1, {}),
        ("squared_error", 3, {"shrink": "learned"}),
        ("logistic", 2, {"shrink": 2.0}),
        ("logistic", 3, {"rates": "layer_step", "multi_step": 0.5}),
    ]
    return [c for loss, steps, more in settings for c in pair(source, loss, steps, **more)]


if __name__ == "__main__":
    golden_file.run("metacs", ABOUT, build)
