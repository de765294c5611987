"""Meta-Embedding on an MLP with ReLU: the embedding of a new item is made from its features and takes gradient steps on the item's own rows.

    v_0 = e + scale tanh(f W),   v_{k+1} = v_k - alpha n / (n + shrink) grad_v l_a(v_k),  k = 0..K-1
    loss = a_m mean_t l_a(v_0) + (1 - a_m) mean_t l_b(v_K)

A row `x` holds e, what stands for the item's id, in its columns 0 and 1, and f, the item's features, in columns 2, 3 and 6; columns 4, 5 and 7 are the user's and the row's. l_a is the mean over the task's support rows
with mask 1, n their number, l_b that over its query rows; the first mean over tasks is one over those with a support row. The step is the same for all rows of a task. `l = (y - s)^2` or the logistic loss on the logit s.
The gradient goes through the steps. `outputs.added` is what is added to the query rows, `[tasks, rows, 8]`.
Pan et al., "Warm Up Cold-start Advertisements: Improving CTR Predictions via Learning to Learn ID Embeddings", SIGIR 2019.
"""

import torch

import golden_file
from golden_file import KINKS, Source, check_gradients, gradients, leaves, tensors
from losses import stable_logistic

ABOUT = "Meta-Embedding: what is added to the rows of new items, meta loss, exact gradients. Formulas in reference/meta_embedding.py."
LOSSES = {"squared_error": lambda s, y: (s - y) ** 2, "logistic": stable_logistic}
FEATURES = [2, 3, 6]
WIDTH = 8


def network(v, x, p, layers):
    """Score of rows whose item has the embedding `v`."""
    x = torch.cat([v, x[:, 2:]], 1)
    for i in range(layers):
        x = x @ p[f"{i}.weight"] + p[f"{i}.bias"]
        x = KINKS.relu(x) if i < layers - 1 else x
    return x[:, 0]


def outer_loss(config, constants, values):
    """The meta loss, and what is added to every query row."""
    layers, tasks = len(config["widths"]) - 1, config["tasks"]
    loss_of = LOSSES[config["loss"]]

    def start(x):
        return x[:, :2] + config["scale"] * torch.tanh(x[:, FEATURES] @ values["generator"])

    cold, warm, added = [], [], []
    for t in range(tasks):
        seen, asked = constants["mask_support"][t].bool(), constants["mask_query"][t].bool()
        xa, ya = values["x_support"][t][seen], constants["y_support"][t][seen]
        xb, yb = values["x_query"][t], constants["y_query"][t]
        step = torch.zeros(1, 2, dtype=torch.float64)
        if seen.any():
            cold.append(loss_of(network(start(xa), xa, values, layers), ya).mean())
            n = float(len(ya))
            rate = config["alpha"] * (n / (n + config["shrink"]) if config["shrink"] > 0 else 1.0)
            for _ in range(config["steps"]):
                if not step.requires_grad:
                    step = step.clone().requires_grad_(True)
                (found,) = torch.autograd.grad(loss_of(network(start(xa) + step, xa, values, layers), ya).mean(), [step], create_graph=True)
                step = step - rate * found
        v = start(xb) + step
        warm.append(loss_of(network(v[asked], xb[asked], values, layers), yb[asked]).mean())
        added.append(torch.cat([v - xb[:, :2], torch.zeros(len(xb), WIDTH - 2, dtype=torch.float64)], 1))
    share = config["cold_weight"]
    return share * torch.stack(cold).mean() + (1 - share) * torch.stack(warm).mean(), torch.stack(added)


def case(source, loss, steps, shrink, share, hidden):
    """One case, or nothing when an activation came too near to its kink."""
    tasks = 4
    config = {"loss": loss, "steps": steps, "alpha": 0.25, "shrink": shrink, "scale": 0.5, "cold_weight": share, "widths": [WIDTH, *hidden, 1], "tasks": tasks}
    config["keys"] = f"inner_steps = {steps}\ninner_rate = 0.25\nshrink = {shrink}\nscale = 0.5\ncold_weight = {share}"
    widths, sizes = config["widths"], {"support": [5, 2, 3, 0], "query": [4, 4, 1, 3]}
    parameters = {"generator": source.normal(len(FEATURES), 2, scale=0.7)}
    for i in range(len(widths) - 1):
        parameters |= {f"{i}.weight": source.normal(widths[i], widths[i + 1], scale=0.5), f"{i}.bias": source.normal(widths[i + 1], scale=0.3)}
    inputs, constants = {}, {}
    for part, counts in sizes.items():
        rows = max(counts)
        inputs[f"x_{part}"] = source.normal(tasks, rows, WIDTH)
        constants[f"y_{part}"] = source.integers(2, tasks, rows) if loss == "logistic" else source.normal(tasks, rows)
        constants[f"mask_{part}"] = (torch.arange(rows)[None, :] < torch.tensor(counts)[:, None]).long()
    values = leaves(inputs | parameters)
    KINKS.safe()
    value, added = outer_loss(config, constants, values)
    if not KINKS.safe():
        return None
    found = gradients(value, values)
    check_gradients(lambda v: outer_loss(config, constants, leaves(v))[0], values, found)
    name = f"{loss}_k{steps}{'_shrink' if shrink else ''}_cold{share}{'' if hidden else '_linear'}"
    return {
        "name": name,
        "config": config,
        "inputs": tensors(inputs | constants),
        "parameters": tensors(parameters),
        "outputs": tensors({"loss": value, "added": added}),
        "gradients": tensors(found),
    }


def safe(source, *settings):
    """A case, drawn again until no activation is near its kink."""
    while True:
        found = case(Source(source.integers(1 << 30, 1).item()), *settings)
        if found is not None:
            return found


def build():
    source = Source(31)
    settings = [(loss, steps, shrink, share, [4, 4]) for loss in LOSSES for steps, shrink, share in ((1, 0.0, 0.1), (3, 2.0, 0.5))]
    return [safe(source, *s) for s in [*settings, ("squared_error", 2, 0.0, 0.25, [])]]


if __name__ == "__main__":
    golden_file.run("meta_embedding", ABOUT, build)
