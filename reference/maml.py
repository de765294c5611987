"""MAML on an MLP `d0 - h - h - 1` with ReLU: adapted values, meta-gradients exact and first order, and closed-form oracles on quadratics.

    theta_0 = theta,   theta_{k+1} = theta_k - alpha * grad L_S(theta_k),  k = 0..K-1
    outer loss = mean over tasks of L_Q(theta_K)

L_S and L_Q are means over the task's rows with mask 1 (a task without support rows does not move). `l = (y - f(x))^2` or the logistic loss on the logit f(x).
Rows `x_support [T, N, d0]` and `x_query [T, M, d0]` are embeddings: not adapted inside a task, but part of the meta-parameters.

- exact: the gradient goes through the inner steps (second derivatives included), so `x_support` gets one too.
- first_order: inner gradients are constants (FOMAML); the gradient of `x_support` is zero.
- scope "all": every weight and bias is adapted; "last": only those of the last linear; "body": all but those (BOIL). The others are shared by all tasks, and get a meta-gradient all the same.
- rates "weight": alpha is a parameter for each adapted entry, `rate.<layer>.<part>` of its shape (Meta-SGD); "layer_step": one for each adapted weight and bias in each step, `[K]` (MAML++).
  Inner gradients are constants of their gradient in first order, too.
- multi_step w: outer loss = mean over tasks of L_Q(theta_K) + w sum_{k<K} L_Q(theta_k), k from 1; `outputs.last_loss` is its first part.
- outer "reptile": adapted parameters follow mean over tasks of theta - theta_K, and all others the gradient of the query loss with theta_K as constants. For K = 1 the former is
  alpha times the gradient of the support loss. `outputs.pull` is the mean over tasks of |theta - theta_K|^2 / 2, `outputs.loss` the query loss.

`outputs.adapted.<name>` has a leading task axis. Quadratics: see `quadratic_case`.
Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017; Lee et al., "MeLU", KDD 2019; Oh et al., "BOIL", ICLR 2021; Li et al., "Meta-SGD", 2017;
Antoniou et al., "How to train your MAML", ICLR 2019; Nichol et al., "On First-Order Meta-Learning Algorithms", 2018.
"""

import torch

import golden_file
from golden_file import KINKS, Source, check_gradients, gradients, leaves, tensors
from losses import stable_logistic

ABOUT = "MAML: adapted values, outer loss, exact and first-order meta-gradients. Formulas in reference/maml.py."
LOSSES = {"squared_error": lambda s, y: (s - y) ** 2, "logistic": stable_logistic}
LAYERS = 3
SCOPES = {"all": range(LAYERS), "last": range(LAYERS - 1, LAYERS), "body": range(LAYERS - 1)}
# Width of hidden layers, and rows of tasks.
LARGE = (4, {"support": [5, 2, 3, 0], "query": [4, 4, 1, 3]})
SMALL = (3, {"support": [4, 2, 0], "query": [3, 1, 2]})


def network(x, p):
    for i in range(LAYERS):
        x = x @ p[f"{i}.weight"] + p[f"{i}.bias"]
        x = KINKS.relu(x) if i < LAYERS - 1 else x
    return x[..., 0]


def task_loss(loss, x, y, mask, p):
    return (LOSSES[loss](network(x, p), y) * mask).sum() / mask.sum().clamp(min=1)


def adapted_names(config):
    return [f"{i}.{part}" for i in SCOPES[config["scope"]] for part in ("weight", "bias")]


def adapt(loss, x, y, mask, p, config, exact, rates):
    """The values after each step of the inner loop of one task; `rates` has those that are parameters."""
    names, trajectory = adapted_names(config), []
    for k in range(config["steps"]):
        found = torch.autograd.grad(task_loss(loss, x, y, mask, p), [p[n] for n in names], create_graph=exact)
        kind = config.get("rates")
        rate = {n: config["alpha"] if kind is None else rates[n] if kind == "weight" else rates[n][k] for n in names}
        p = p | {n: p[n] - rate[n] * g for n, g in zip(names, found)}
        trajectory.append(p)
    return trajectory


def outer_loss(config, constants, exact, v):
    """Mean query loss over tasks, that after the last step alone, and the adapted values of every task."""
    start = {n: v[n] for n in v if n[0].isdigit()}
    rates = {n.removeprefix("rate."): v[n] for n in v if n.startswith("rate.")}
    total, last, adapted = 0.0, 0.0, []
    for t in range(config["tasks"]):
        support = (v["x_support"][t], constants["y_support"][t], constants["mask_support"][t])
        query = (v["x_query"][t], constants["y_query"][t], constants["mask_query"][t])
        trajectory = adapt(config["loss"], *support, start, config, exact, rates)
        if config.get("outer") == "reptile":
            trajectory = [{n: w.detach() if n in adapted_names(config) else w for n, w in p.items()} for p in trajectory]
        losses = [task_loss(config["loss"], *query, p) for p in trajectory]
        total = total + losses[-1] + config.get("multi_step", 0.0) * sum(losses[:-1])
        last = last + losses[-1]
        adapted.append(trajectory[-1])
    return total / config["tasks"], last / config["tasks"], {n: torch.stack([p[n] for p in adapted]) for n in start}


def reptile(config, constants, values, adapted, found):
    """What adapted parameters follow in place of the gradient, and the value whose gradient that is."""
    names = adapted_names(config)
    apart = {n: values[n].detach() - adapted[n].detach() for n in names}
    if config["steps"] == 1:
        losses = [task_loss(config["loss"], values["x_support"][t], constants["y_support"][t], constants["mask_support"][t], values) for t in range(config["tasks"])]
        gradient = gradients(sum(losses) / config["tasks"], {n: values[n] for n in names})
        for n in names:
            torch.testing.assert_close(apart[n].mean(0), config["alpha"] * gradient[n])
    pull = sum((a**2).sum() for a in apart.values()) / (2 * config["tasks"])
    return found | {n: a.mean(0) for n, a in apart.items()}, pull


def tower_case(source, loss, steps, scope, exact, size=LARGE, **more):
    """One case, or nothing when an activation came too near to its kink."""
    d0, (h, sizes) = 3, size
    tasks = len(sizes["support"])
    config = {"loss": loss, "steps": steps, "alpha": 0.0625, "scope": scope, "order": "exact" if exact else "first_order", "widths": [d0, h, h, 1], "tasks": tasks} | more
    widths = config["widths"]
    parameters = {}
    for i in range(LAYERS):
        parameters |= {f"{i}.weight": source.normal(widths[i], widths[i + 1], scale=0.7), f"{i}.bias": source.normal(widths[i + 1], scale=0.3)}
    for n in adapted_names(config) if "rates" in config else []:
        parameters[f"rate.{n}"] = source.positive(*(parameters[n].shape if config["rates"] == "weight" else [steps])) * 0.125
    inputs, constants = {}, {}
    for part, counts in sizes.items():
        rows = max(counts)
        inputs[f"x_{part}"] = source.normal(tasks, rows, d0)
        constants[f"y_{part}"] = source.integers(2, tasks, rows) if loss == "logistic" else source.normal(tasks, rows)
        constants[f"mask_{part}"] = (torch.arange(rows)[None, :] < torch.tensor(counts)[:, None]).long()

    values = leaves(inputs | parameters)
    KINKS.safe()
    value, last, adapted = outer_loss(config, constants, exact, values)
    if not KINKS.safe():
        return None
    found, outputs = gradients(value, values), {"loss": value}
    if "multi_step" in config:
        outputs["last_loss"] = last
    if config.get("outer") == "reptile":
        found, outputs["pull"] = reptile(config, constants, values, adapted, found)
    elif exact:
        check_gradients(lambda v: outer_loss(config, constants, True, leaves(v))[0], values, found)
    name = "_".join([f"{loss}_k{steps}_{scope}", *(f"{key}_{value}" for key, value in more.items()), config["order"]])
    return {
        "name": name,
        "config": config,
        "inputs": tensors(inputs | constants),
        "parameters": tensors(parameters),
        "outputs": tensors(outputs | {f"adapted.{n}": a for n, a in adapted.items()}),
        "gradients": tensors(found),
    }


def tower_pair(source, loss, steps, scope, **more):
    """Exact and first-order case on the same numbers, drawn again until no activation is near its kink."""
    while True:
        seed = source.integers(1 << 30, 1).item()
        pair = [tower_case(Source(seed), loss, steps, scope, exact, **more) for exact in (True, False)]
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
            for scope in ("all", "last"):
                cases += tower_pair(source, loss, steps, scope)
    cases += [quadratic_case(source, steps) for steps in (1, 2, 5)]
    more = [
        ("squared_error", 3, "body", {}),
        ("logistic", 1, "body", {}),
        ("squared_error", 3, "all", {"rates": "weight"}),
        ("logistic", 2, "last", {"rates": "weight"}),
        ("logistic", 3, "all", {"rates": "layer_step", "multi_step": 0.5}),
        ("squared_error", 3, "last", {"rates": "layer_step", "multi_step": 0.25}),
        ("squared_error", 1, "all", {"outer": "reptile"}),
        ("logistic", 3, "all", {"outer": "reptile"}),
        ("squared_error", 2, "last", {"outer": "reptile"}),
    ]
    for loss, steps, scope, keys in more:
        pair = tower_pair(source, loss, steps, scope, size=SMALL, **keys)
        # Reptile does not look into the inner steps: both orders are one.
        cases += pair[1:] if "outer" in keys else pair
    return cases


if __name__ == "__main__":
    golden_file.run("maml", ABOUT, build)
