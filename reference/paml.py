"""PAML: gradient steps at a rate of each user's own.

    h = mean over support rows of what the row says of the user (embedding of user_id, mean of the list clicked)
    rate' = 2 sigmoid(w . tanh(V h) + b),   in units of alpha
    rate~ = sum_j S_j rate_j / sum_j S_j over the m + 1 nearest of the memory, S_j = exp(-|h - h_j|^2 / r^2) - exp(-1) + 1e-6, r the distance of the furthest of these
    rate = (rate' + rate~) / 2 with somebody in the memory, else rate'; not below least / alpha
    theta_{k+1} = theta_k - rate alpha n / (n + c) grad L_S(theta_k),  k = 0..K-1, over all weights and biases of the tower
    outer loss = mean over tasks of L_Q(theta_K) + gamma mean_{i, j} S_ij (rate_i - rate_j)^2,  S_ij = exp(-|h_i - h_j|^2 / mean |h_i - h_j|^2), over pairs of tasks with support rows

- exact: the gradient goes through the inner steps; first_order: inner gradients are constants, rates are not.
- The memory, `memory.users [M, 1, d + 1]` (h_j, then rate_j) and `memory.written`, is no parameter: `outputs.memory` and `outputs.written` are what it holds after the step, `h, rate'` of tasks with support
  rows written round the ring.

`outputs.rate` is in units of alpha. Neighbours are found by looking at everybody.
Yu et al., "Personalized Adaptive Meta Learning for Cold-start User Preference Prediction", AAAI 2021. Tasks and network: `inner.py`.
"""

import torch

import golden_file
from golden_file import KINKS, Source, check_gradients, gradients, leaves, tensors
from inner import TASKS, WIDTHS, draw, factor, parameters, real_rows, row, task_loss
from networks import D

ABOUT = "PAML: rates, adapted values, outer loss, memory, exact and first-order meta-gradients. Formulas in reference/paml.py."
DENSE = [f"{layer}.{part}" for layer in [*(f"tower.{i}.linear" for i in range(len(WIDTHS))), "head"] for part in ("weight", "bias")]
WIDTH, PLACES, NEIGHBOURS = 4, 6, 3


def user(p, inputs, t):
    """h, `[2 D]`: of the row user_id, item_id, clicked, tags, numbers the first and the third."""
    rows = [row(p, inputs, "support", t, i) for i in real_rows(inputs, "support", t)]
    return torch.stack([torch.cat([x[:D], x[2 * D : 3 * D]]) for x in rows]).mean(0) if rows else torch.zeros(2 * D, dtype=torch.float64)


def net(p, h):
    return 2.0 * torch.sigmoid(torch.tanh(h @ p["rate.hidden"]) @ p["rate.weight"][:, 0] + p["rate.bias"][0])


def rate(config, memory, p, h):
    said = net(p, h)
    kept = min(int(memory["memory.written"]), PLACES)
    if config["memory"] == "tree" and kept > 0:
        users = memory["memory.users"][:kept, 0]
        distances = ((h - users[:, :-1]) ** 2).sum(1)
        near = torch.argsort(distances.detach(), stable=True)[: NEIGHBOURS + 1]
        shares = torch.exp(-distances[near] / distances[near[-1]]) - torch.exp(torch.tensor(-1.0, dtype=torch.float64)) + 1e-6
        said = (said + (shares * users[near, -1]).sum() / shares.sum()) / 2
    return said.clamp(min=config["least"] / config["alpha"])


def outer_loss(config, inputs, memory, exact, p):
    total, rates, adapted, users = 0.0, [], [], []
    for t in range(TASKS):
        n = len(real_rows(inputs, "support", t))
        h = user(p, inputs, t)
        r, q = rate(config, memory, p, h), p
        for _ in range(config["steps"] if n else 0):
            found = torch.autograd.grad(task_loss(config["loss"], q, inputs, "support", t), [q[name] for name in DENSE], create_graph=exact, retain_graph=True)
            q = q | {name: q[name] - r * config["alpha"] * factor(config, p, n) * g for name, g in zip(DENSE, found)}
        total = total + task_loss(config["loss"], q, inputs, "query", t)
        rates.append(r)
        adapted.append(q)
        users.append((h, n))
    loss = total / TASKS
    if config["gamma"] > 0:
        real = [t for t in range(TASKS) if users[t][1]]
        distances = torch.stack([((users[i][0] - users[j][0]) ** 2).sum() for i in real for j in real])
        apart = torch.stack([(rates[i] - rates[j]) ** 2 for i in real for j in real])
        loss = loss + config["gamma"] * (torch.exp(-distances / distances.mean()) * apart).mean()
    return loss, torch.stack(rates), adapted, users


def case(source, loss, steps, exact, **more):
    config = {"loss": loss, "steps": steps, "alpha": 0.125, "shrink": 0, "order": "exact" if exact else "first_order", "hidden": WIDTHS, "width": WIDTH, "least": 0.0,
              "memory": "tree", "memory_size": PLACES, "neighbours": NEIGHBOURS, "gamma": 0.0, "written": 0} | more
    inputs, values = draw(source, loss), parameters(source)
    values |= {"rate.hidden": source.normal(2 * D, WIDTH, scale=0.7), "rate.weight": source.normal(WIDTH, 1), "rate.bias": source.normal(1, scale=0.5)}
    if config["shrink"] == "learned":
        values["shrink"] = source.normal(1, scale=0.2)
    users = torch.cat([source.normal(PLACES, 1, 2 * D, scale=0.7), source.positive(PLACES, 1, 1)], 2)
    memory = {"memory.users": users, "memory.written": torch.tensor([float(config["written"])], dtype=torch.float64)}
    leaf = leaves(values)
    KINKS.safe()
    value, rates, adapted, seen = outer_loss(config, inputs, memory, exact, leaf)
    if not KINKS.safe():
        return None
    found = gradients(value, leaf)
    if exact:
        check_gradients(lambda v: outer_loss(config, inputs, memory, True, leaves(v))[0], leaf, found)
    outputs = {"loss": value, "rate": rates} | {f"adapted.{n}": torch.stack([a[n] for a in adapted]) for n in DENSE}
    if config["memory"] == "tree":
        written = config["written"]
        after = users.clone()
        for h, n in seen:
            if n:
                after[written % PLACES, 0] = torch.cat([h, net(leaf, h)[None]]).detach()
                written += 1
        outputs |= {"memory": after, "written": torch.tensor([float(written)])}
        inputs = inputs | memory
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
    source = Source(41)
    settings = [
        ("squared_error", 1, {}),
        ("squared_error", 2, {"written": 2, "shrink": "learned"}),
        ("logistic", 2, {"written": 5}),
        ("logistic", 1, {"memory": "none", "gamma": 0.75, "shrink": 2.0}),
        ("squared_error", 1, {"memory": "none", "least": 0.11}),
    ]
    return [c for loss, steps, more in settings for c in pair(source, loss, steps, **more)]


if __name__ == "__main__":
    golden_file.run("paml", ABOUT, build)
