"""CAVIA on an MLP with ReLU: of each task only the context vector is adapted, by gradient steps; all weights are shared.

    score = network([x; c]),   c_0 = 0,   c_{k+1} = c_k - alpha n / (n + shrink) grad_c L_S(c_k),  k = 0..K-1
    outer loss = mean over tasks of L_Q(c_K)

The network reads the row and the context one beside the other: its first matrix is `W_0` with P, `context`, below. L_S and L_Q are means over the task's rows with mask 1, n the number
of those of the support set (a task without any keeps c = 0). `l = (y - f)^2` or the logistic loss on the logit f.

- exact: the gradient goes through the inner steps, so `x_support` gets one too.
- first_order: inner gradients are constants.

`outputs.context` and `outputs.shift`, what P makes of it, have a leading task axis.
Zintgraf et al., "Fast Context Adaptation via Meta-Learning", ICML 2019.
"""

import torch

import golden_file
from golden_file import KINKS, Source, check_gradients, gradients, leaves, tensors
from losses import stable_logistic

ABOUT = "CAVIA: adapted contexts, outer loss, exact and first-order meta-gradients. Formulas in reference/cavia.py."
LOSSES = {"squared_error": lambda s, y: (s - y) ** 2, "logistic": stable_logistic}


def network(x, c, p, layers):
    x = torch.cat([x, c.expand(x.shape[0], -1)], 1)
    for i in range(layers):
        weight = torch.cat([p["0.weight"], p["context"]]) if i == 0 else p[f"{i}.weight"]
        x = x @ weight + p[f"{i}.bias"]
        x = KINKS.relu(x) if i < layers - 1 else x
    return x[:, 0]


def task_loss(config, x, y, mask, c, p):
    """The mean over real rows, which are looked at one after the other: padding is not computed with at all."""
    real = mask.bool()
    if not real.any():
        return 0.0 * c.sum()
    return LOSSES[config["loss"]](network(x[real], c, p, len(config["widths"]) - 1), y[real]).mean()


def outer_loss(config, constants, exact, v):
    """Mean query loss over tasks, and the adapted context of every task."""
    p = {n: t for n, t in v.items() if not n.startswith("x_")}
    total, contexts = 0.0, []
    for t in range(config["tasks"]):
        mask = constants["mask_support"][t]
        n = float(mask.sum())
        rate = config["alpha"] * (n / (n + config["shrink"]) if config["shrink"] > 0 else 1.0)
        c = torch.zeros(1, config["width"], dtype=torch.float64, requires_grad=True)
        for _ in range(config["steps"]):
            loss = task_loss(config, v["x_support"][t], constants["y_support"][t], mask, c, p)
            (found,) = torch.autograd.grad(loss, [c], create_graph=exact)
            c = c - rate * found
        total = total + task_loss(config, v["x_query"][t], constants["y_query"][t], constants["mask_query"][t], c, p)
        contexts.append(c)
    return total / config["tasks"], torch.stack(contexts)


def case(source, loss, steps, shrink, hidden, exact):
    """One case, or nothing when an activation came too near to its kink."""
    d0, width, tasks = 3, 2, 4
    order = "second" if exact else "first"
    config = {"loss": loss, "steps": steps, "alpha": 0.25, "shrink": shrink, "width": width, "widths": [d0, *hidden, 1], "tasks": tasks}
    config["keys"] = f"inner_steps = {steps}\ninner_rate = 0.25\nshrink = {shrink}\nwidth = {width}\norder = '{order}'"
    widths, sizes = config["widths"], {"support": [5, 2, 3, 0], "query": [4, 4, 1, 3]}
    parameters = {"context": source.normal(width, widths[1], scale=0.7)}
    for i in range(len(widths) - 1):
        parameters |= {f"{i}.weight": source.normal(widths[i], widths[i + 1], scale=0.7), f"{i}.bias": source.normal(widths[i + 1], scale=0.3)}
    inputs, constants = {}, {}
    for part, counts in sizes.items():
        rows = max(counts)
        inputs[f"x_{part}"] = source.normal(tasks, rows, d0)
        constants[f"y_{part}"] = source.integers(2, tasks, rows) if loss == "logistic" else source.normal(tasks, rows)
        constants[f"mask_{part}"] = (torch.arange(rows)[None, :] < torch.tensor(counts)[:, None]).long()

    values = leaves(inputs | parameters)
    KINKS.safe()
    value, contexts = outer_loss(config, constants, exact, values)
    if not KINKS.safe():
        return None
    found = gradients(value, values)
    if exact:
        check_gradients(lambda v: outer_loss(config, constants, True, leaves(v))[0], values, found)
    name = f"{loss}_k{steps}{'_shrink' if shrink else ''}{'' if hidden else '_linear'}_{order}"
    return {
        "name": name,
        "config": config,
        "inputs": tensors(inputs | constants),
        "parameters": tensors(parameters),
        "outputs": tensors({"loss": value, "context": contexts, "shift": contexts @ parameters["context"]}),
        "gradients": tensors(found),
    }


def pair(source, *settings):
    """Exact and first-order case on the same numbers, drawn again until no activation is near its kink."""
    while True:
        seed = source.integers(1 << 30, 1).item()
        found = [case(Source(seed), *settings, exact) for exact in (True, False)]
        if None not in found:
            return found


def build():
    source = Source(23)
    settings = [(loss, steps, shrink, [4, 4]) for loss in LOSSES for steps, shrink in ((1, 0.0), (3, 0.0), (2, 2.0))]
    return [c for s in [*settings, ("squared_error", 2, 0.0, [])] for c in pair(source, *s)]


if __name__ == "__main__":
    golden_file.run("cavia", ABOUT, build)
