"""MAML on an MLP `d0 - h - h - 1` with ReLU: adapted values, meta-gradients exact and first order, and closed-form oracles on quadratics.

    theta_0 = theta,   theta_{k+1} = theta_k - alpha * grad L_S(theta_k),  k = 0..K-1
    outer loss = mean over tasks of L_Q(theta_K)

L_S and L_Q are means over the task's rows with mask 1 (a task without support rows does not move). `l = (y - f(x))^2` or the logistic loss on the logit f(x).
Rows `x_support [T, N, d0]` and `x_query [T, M, d0]` are embeddings: not adapted inside a task, but part of the meta-parameters.

- exact: the gradient goes through the inner steps (second derivatives included), so `x_support` gets one too.
- first_order: inner gradients are constants (FOMAML); the gradient of `x_support` is zero.
- scope "all": every weight and bias is adapted; "last": only those of the last linear. The others are shared by all tasks, and get a meta-gradient all the same.

`outputs.adapted.<name>` has a leading task axis. Quadratics: see `quadratic_case`.
Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017; Lee et al., "MeLU", KDD 2019.
"""

import torch

import golden_file
from golden_file import KINKS, Source, check_gradients, gradients, leaves, tensors
from losses import stable_logistic

ABOUT = "MAML: adapted values, outer loss, exact and first-order meta-gradients. Formulas in reference/maml.py."
LOSSES = {"squared_error": lambda s, y: (s - y) ** 2, "logistic": stable_logistic}
LAYERS = 3
SCOPES = {"all": range(LAYERS), "last": range(LAYERS - 1, LAYERS)}


def network(x, p):
    for i in range(LAYERS):
        x = x @ p[f"{i}.weight"] + p[f"{i}.bias"]
        x = KINKS.relu(x) if i < LAYERS - 1 else x
    return x[..., 0]


def task_loss(loss, x, y, mask, p):
    return (LOSSES[loss](network(x, p), y) * mask).sum() / mask.sum().clamp(min=1)


def adapt(loss, x, y, mask, p, config, exact):
    """The values after the inner loop of one task."""
    names = [f"{i}.{part}" for i in SCOPES[config["scope"]] for part in ("weight", "bias")]
    for _ in range(config["steps"]):
        found = torch.autograd.grad(task_loss(loss, x, y, mask, p), [p[n] for n in names], create_graph=exact)
        p = p | {n: p[n] - config["alpha"] * g for n, g in zip(names, found)}
    return p


def outer_loss(config, constants, exact, v):
    """Mean query loss over tasks, and the adapted values of every task."""
    start = {n: v[n] for n in v if n[0].isdigit()}
    total, adapted = 0.0, []
    for t in range(config["tasks"]):
        p = adapt(config["loss"], v["x_support"][t], constants["y_support"][t], constants["mask_support"][t], start, config, exact)
        total = total + task_loss(config["loss"], v["x_query"][t], constants["y_query"][t], constants["mask_query"][t], p)
        adapted.append(p)
    return total / config["tasks"], {n: torch.stack([p[n] for p in adapted]) for n in start}


def tower_case(source, loss, steps, scope, exact):
    """One case, or nothing when an activation came too near to its kink."""
    d0, h, tasks = 3, 4, 4
    config = {"loss": loss, "steps": steps, "alpha": 0.0625, "scope": scope, "order": "exact" if exact else "first_order", "widths": [d0, h, h, 1], "tasks": tasks}
    widths, sizes = config["widths"], {"support": [5, 2, 3, 0], "query": [4, 4, 1, 3]}
    parameters = {}
    for i in range(LAYERS):
        parameters |= {f"{i}.weight": source.normal(widths[i], widths[i + 1], scale=0.7), f"{i}.bias": source.normal(widths[i + 1], scale=0.3)}
    inputs, constants = {}, {}
    for part, counts in sizes.items():
        rows = max(counts)
        inputs[f"x_{part}"] = source.normal(tasks, rows, d0)
        constants[f"y_{part}"] = source.integers(2, tasks, rows) if loss == "logistic" else source.normal(tasks, rows)
        constants[f"mask_{part}"] = (torch.arange(rows)[None, :] < torch.tensor(counts)[:, None]).long()

    values = leaves(inputs | parameters)
    KINKS.safe()
    value, adapted = outer_loss(config, constants, exact, values)
    if not KINKS.safe():
        return None
    found = gradients(value, values)
    if exact:
        check_gradients(lambda v: outer_loss(config, constants, True, leaves(v))[0], values, found)
    name = f"{loss}_k{steps}_{scope}_{config['order']}"
    return {
        "name": name,
        "config": config,
        "inputs": tensors(inputs | constants),
        "parameters": tensors(parameters),
        "outputs": tensors({"loss": value} | {f"adapted.{n}": a for n, a in adapted.items()}),
        "gradients": tensors(found),
    }


def tower_pair(source, loss, steps, scope):
    """Exact and first-order case on the same numbers, drawn again until no activation is near its kink."""
    while True:
        seed = source.integers(1 << 30, 1).item()
        pair = [tower_case(Source(seed), loss, steps, scope, exact) for exact in (True, False)]
        if None not in pair:
            return pair


def quadratic_case(source, steps):
    """`L_S = (theta-a)' A (theta-a) / 2`, `L_Q = (theta-b)' B (theta-b) / 2`.

    With `P = I - alpha A`: `theta_K = a + P^K (theta - a)`, exact gradient `(P^K)' B (theta_K - b)`, first order `B (theta_K - b)`.
    Meta-SGD with one rate per coordinate (`rates`), K steps: by autodiff, gradients of theta and of the rates.
    Proximal inner problem (iMAML), `phi* = argmin L_S + lambda/2 |phi - theta|^2`: `phi* = (A + lambda I)^-1 (A a + lambda theta)`, gradient
    `lambda (A + lambda I)^-1 B (phi* - b)`. Reptile, one SGD step: `phi - theta = -alpha A (theta - a)`.
    """
    d, alpha, strength = 3, 0.125, 0.5
    eye = torch.eye(d, dtype=torch.float64)
    half_a, half_b = source.normal(d, d), source.normal(d, d)
    inputs = {"A": half_a @ half_a.T + eye, "a": source.normal(d), "B": half_b @ half_b.T + eye, "b": source.normal(d)}
    parameters = {"theta": source.normal(d), "rates": source.positive(d) * 0.25}
    A, a, B, b = inputs.values()
    theta = parameters["theta"]

    def inner(start, rate):
        for _ in range(steps):
            start = start - rate * (A @ (start - a))
        return start

    def query(phi):
        return 0.5 * (phi - b) @ B @ (phi - b)

    power = torch.linalg.matrix_power(eye - alpha * A, steps)
    adapted = a + power @ (theta - a)
    exact = power.T @ B @ (adapted - b)
    leaf = leaves(parameters)
    torch.testing.assert_close(gradients(query(inner(leaf["theta"], alpha)), {"theta": leaf["theta"]})["theta"], exact)
    torch.testing.assert_close(inner(theta, alpha), adapted)
    meta_sgd_adapted = inner(leaf["theta"], leaf["rates"])
    meta_sgd = gradients(query(meta_sgd_adapted), leaf)

    inverse = torch.linalg.inv(A + strength * eye)
    proximal = inverse @ (A @ a + strength * theta)
    return {
        "name": f"quadratic_k{steps}",
        "config": {"steps": steps, "alpha": alpha, "lambda": strength},
        "inputs": tensors(inputs),
        "parameters": tensors(parameters),
        "outputs": tensors({
            "adapted": adapted,
            "loss": query(adapted),
            "meta_sgd_adapted": meta_sgd_adapted,
            "proximal_adapted": proximal,
            "reptile_difference": -alpha * (A @ (theta - a)),
        }),
        "gradients": tensors({
            "exact": exact,
            "first_order": B @ (adapted - b),
            "meta_sgd_theta": meta_sgd["theta"],
            "meta_sgd_rates": meta_sgd["rates"],
            "proximal": strength * inverse @ B @ (proximal - b),
        }),
    }


def build():
    source = Source(5)
    cases = []
    for loss in LOSSES:
        for steps in (1, 3):
            for scope in SCOPES:
                cases += tower_pair(source, loss, steps, scope)
    return cases + [quadratic_case(source, steps) for steps in (1, 2, 5)]


if __name__ == "__main__":
    golden_file.run("maml", ABOUT, build)
