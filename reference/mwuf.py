"""MWUF on an MLP with ReLU: the embedding of a new item is stepped on by the cold loss, then scaled as its features say and shifted as its users say.

    c_0 = m,   c_{k+1} = c_k - alpha n / (n + shrink) grad_c l_S(c_k),  k = 0..K-1
    v = c_K * (1 + net_scale(f)) + net_shift(mean of the users of the support),   net(x) = relu(x W_0 + b_0) W_1
    loss = mean over tasks of l_Q(v)

A row `x` holds m, what stands for the item's id, in its columns 0 and 1, f, the item's features, in columns 2, 3 and 6, and the user's embedding in columns 4 and 5; column 7 is the row's. l_S and l_Q are means over
the task's rows with mask 1, n the number of those of the support set; a task without any has no shift. The step is the same for all rows of a task and a constant to the warm loss: the two nets alone are trained.
`l = (y - s)^2` or the logistic loss on the logit s. `outputs.added` is what is added to the query rows, `[tasks, rows, 8]`.
Zhu et al., "Learning to Warm Up Cold Item Embeddings for Cold-start Recommendation with Meta Scaling and Shifting Networks", SIGIR 2021.
"""

import torch

import golden_file
from golden_file import KINKS, Source, check_gradients, gradients, leaves, tensors
from losses import stable_logistic

ABOUT = "MWUF: what is added to the rows of new items, warm loss, gradients of the two nets. Formulas in reference/mwuf.py."
LOSSES = {"squared_error": lambda s, y: (s - y) ** 2, "logistic": stable_logistic}
FEATURES, USER = [2, 3, 6], [4, 5]
WIDTH, HIDDEN = 8, 3


def score(v, x, base):
    x = torch.cat([v, x[:, 2:]], 1)
    for i, (weight, bias) in enumerate(base):
        x = x @ weight + bias
        x = KINKS.relu(x) if i < len(base) - 1 else x
    return x[:, 0]


def net(values, name, x):
    return KINKS.relu(x @ values[f"{name}.0.weight"] + values[f"{name}.0.bias"]) @ values[f"{name}.1.weight"]


def warm_loss(config, constants, base, values):
    """The loss of the query rows, and what is added to each."""
    loss_of, losses, added = LOSSES[config["loss"]], [], []
    for t in range(config["tasks"]):
        seen, asked = constants["mask_support"][t].bool(), constants["mask_query"][t].bool()
        xs, ys = constants["x_support"][t][seen], constants["y_support"][t][seen]
        xq, yq = constants["x_query"][t], constants["y_query"][t]
        step, shift = torch.zeros(1, 2, dtype=torch.float64), 0.0
        if seen.any():
            n = float(len(ys))
            rate = config["alpha"] * (n / (n + config["shrink"]) if config["shrink"] > 0 else 1.0)
            for _ in range(config["steps"]):
                step = step.detach().requires_grad_(True)
                (found,) = torch.autograd.grad(loss_of(score(xs[:, :2] + step, xs, base), ys).mean(), [step])
                step = (step - rate * found).detach()
            shift = net(values, "shift", xs[:, USER].mean(0, keepdim=True))
        v = (xq[:, :2] + step) * (1.0 + net(values, "scale", xq[:, FEATURES])) + shift
        losses.append(loss_of(score(v[asked], xq[asked], base), yq[asked]).mean())
        added.append(torch.cat([v - xq[:, :2], torch.zeros(len(xq), WIDTH - 2, dtype=torch.float64)], 1))
    return torch.stack(losses).mean(), torch.stack(added)


def case(source, loss, steps, shrink, hidden):
    """One case, or nothing when an activation came too near to its kink."""
    tasks = 4
    config = {"loss": loss, "steps": steps, "alpha": 0.25, "shrink": shrink, "widths": [WIDTH, *hidden, 1], "tasks": tasks}
    config["keys"] = f"inner_steps = {steps}\ninner_rate = 0.25\nshrink = {shrink}\nhidden = {HIDDEN}"
    widths, sizes = config["widths"], {"support": [5, 2, 3, 0], "query": [4, 4, 1, 3]}
    parameters = {}
    for name, d_in in (("scale", len(FEATURES)), ("shift", len(USER))):
        parameters |= {f"{name}.0.weight": source.normal(d_in, HIDDEN, scale=0.7), f"{name}.0.bias": source.normal(HIDDEN, scale=0.3)}
        parameters |= {f"{name}.1.weight": source.normal(HIDDEN, 2, scale=0.7)}
    constants = {}
    for i in range(len(widths) - 1):
        constants |= {f"{i}.weight": source.normal(widths[i], widths[i + 1], scale=0.5), f"{i}.bias": source.normal(widths[i + 1], scale=0.3)}
    base = [(constants[f"{i}.weight"], constants[f"{i}.bias"]) for i in range(len(widths) - 1)]
    for part, counts in sizes.items():
        rows = max(counts)
        constants[f"x_{part}"] = source.normal(tasks, rows, WIDTH)
        constants[f"y_{part}"] = source.integers(2, tasks, rows) if loss == "logistic" else source.normal(tasks, rows)
        constants[f"mask_{part}"] = (torch.arange(rows)[None, :] < torch.tensor(counts)[:, None]).long()
    values = leaves(parameters)
    KINKS.safe()
    value, added = warm_loss(config, constants, base, values)
    if not KINKS.safe():
        return None
    found = gradients(value, values)
    check_gradients(lambda v: warm_loss(config, constants, base, v)[0], values, found)
    return {
        "name": f"{loss}_k{steps}{'_shrink' if shrink else ''}{'' if hidden else '_linear'}",
        "config": config,
        "inputs": tensors(constants),
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
    source = Source(37)
    settings = [(loss, steps, shrink, [4, 4]) for loss in LOSSES for steps, shrink in ((1, 0.0), (3, 2.0))]
    return [safe(source, *s) for s in [*settings, ("squared_error", 2, 0.0, [])]]


if __name__ == "__main__":
    golden_file.run("mwuf", ABOUT, build)
