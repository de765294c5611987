"""Writes golden/deep_kernel.json: learned features under a Bayesian regression, by direct definition (NumPy and PyTorch, double precision; gradients are those of autograd through dense inverses).

Bodies are those of reference/user_model.py, with sets and kernel. c_i is the content of item i, then its (b, q) over their root mean squares over the items with ratings;
h(c) = tanh(tanh(c W1 + b1) W2 + b2), f_i = tau h(c_i), 0 for items without ratings; values = [W1, b1, W2, b2, tau].

density  of ratings y_Q given y_S: with K = X Sigma X' + F F' and noise s, mean = X_Q B d + K_QS (K_SS + diag s_S)^-1 (y_S - X_S B d),
         v = diag(K_QQ - K_QS (K_SS + diag s_S)^-1 K_SQ) + s_Q, L = mean over Q of log(2 pi v) / 2 + (y - mean)^2 / 2 v
learn    user u of part p = floor(parts uniform(13, u, 0)) stands on the body that is fitted to the users of other parts; d has the set features of S.
         start: W1 normal / root of the mean of |c|^2 over all items, W2 normal / sqrt(hidden), normal(seed, 2^40, place in the list), biases 0, tau = start
         epoch t: users with at least two ratings in the order of uniform(seed, 2^48 + t, u), `batch` a step, Adam (0.9, 0.999) on the mean of L; user u draws from
         uniform(seed, 2^32 + t users + u, 0, 1, ..): floor((1 + most_shown)^draw) - 1 shown ratings, at most all but one; then a number for each rating, the lowest come first: S, then
         at most `queries` as Q
answers  of the body that is fitted to all, with F beside its features

Run: python reference/deep_kernel.py    Needs: numpy, torch
"""

import copy
import json
from pathlib import Path

import numpy as np
import torch

from user_model import FIT, REGRESSION, Data, FoldIn, Regression, inputs, normal, tensors, uniform

torch.set_default_dtype(torch.float64)
CONFIG = {"hidden": 4, "features": 3, "start": 0.3, "rate": 0.02, "batch": 8, "most_shown": 6, "queries": 5, "parts": 3, "passes": 3, "seed": 6}
BODY = FIT | {"variational": False}
PLUS = REGRESSION | {"sets": True, "kernel_rank": 4}
PREFIXES = [0, 1, 6]


def nll(k, noise, left, shown):
    """Of K over all rows, of which the first are S."""
    s, q = slice(0, shown), slice(shown, len(left))
    inverse = torch.linalg.inv(k[s, s] + torch.diag(noise[s]))
    mean = k[q, s] @ inverse @ left[s]
    v = torch.diagonal(k[q, q] - k[q, s] @ inverse @ k[s, q]) + noise[q]
    return (torch.log(2 * torch.pi * v) / 2 + (left[q] - mean) ** 2 / (2 * v)).mean()


def of_users(data, keep):
    """The same of some users."""
    part = copy.copy(data)
    part.rows, part.ratings = [data.rows[u] for u in keep], [data.ratings[u] for u in keep]
    part.people = data.people[keep]
    part.counts = np.bincount(np.concatenate(part.rows).astype(int), minlength=data.items)
    return part


class Deep:
    def __init__(self, data):
        self.data, c = data, CONFIG
        self.part = [int(c["parts"] * uniform(13, u, 0)) for u in range(len(data.rows))]
        others = [of_users(data, [u for u in range(len(data.rows)) if self.part[u] != p]) for p in range(c["parts"])]
        self.grounds = [(part, Regression(part, FoldIn(part, BODY), PLUS)) for part in others]
        body = FoldIn(data, BODY)
        self.model = Regression(data, body, PLUS)
        unit = np.sqrt((body.items[data.counts > 0] ** 2).mean(axis=0))
        self.c = torch.tensor(np.hstack([data.content[: data.items], body.items / unit]))
        square = (self.c**2).sum(1).mean()
        place = 0

        def table(rows, columns, scale):
            nonlocal place
            found = torch.tensor([[scale * normal(c["seed"], 2**40, place + i * columns + j) for j in range(columns)] for i in range(rows)])
            place += rows * columns + columns
            return found.requires_grad_(True)

        first = table(self.c.shape[1], c["hidden"], 1.0 / float(square) ** 0.5)
        second = table(c["hidden"], c["features"], 1.0 / c["hidden"] ** 0.5)
        rest = [torch.zeros(c["hidden"]), torch.zeros(c["features"]), torch.full((c["features"],), c["start"])]
        b1, b2, tau = (t.requires_grad_(True) for t in rest)
        self.values = [first, b1, second, b2, tau]

    def features(self):
        w1, b1, w2, b2, tau = self.values
        return tau * torch.tanh(torch.tanh(self.c @ w1 + b1) @ w2 + b2)

    def loss(self, u, epoch):
        data, c = self.data, CONFIG
        draw = lambda at: uniform(c["seed"], 2**32 + epoch * len(data.rows) + u, at)
        row, r = data.rows[u], data.ratings[u]
        shown = min(int(np.exp(draw(0) * np.log(1.0 + c["most_shown"]))) - 1, len(row) - 1)
        order = sorted(range(len(row)), key=lambda at: draw(1 + at))[: shown + c["queries"]]
        items = [row[at] for at in order]
        part, ground = self.grounds[self.part[u]]
        prior = np.r_[data.people[u], ground.set_features(items[:shown])] @ ground.people
        x = ground.x[items]
        left = torch.tensor((r[order] - ground.mean) / ground.scale - x @ prior)
        noise = torch.tensor(ground.noise + ground.body.more_noise[items])
        f = self.features()[items]
        return nll(torch.tensor(x @ ground.covariance @ x.T) + f @ f.T, noise, left, shown)

    def learn(self):
        c, losses = CONFIG, []
        users = [u for u, row in enumerate(self.data.rows) if len(row) >= 2]
        adam = torch.optim.Adam(self.values, lr=c["rate"])
        for epoch in range(c["passes"]):
            order, sum_ = sorted(users, key=lambda u: uniform(c["seed"], 2**48 + epoch, u)), 0.0
            for at in range(0, len(order), c["batch"]):
                every = [self.loss(u, epoch) for u in order[at : at + c["batch"]]]
                adam.zero_grad()
                torch.stack(every).mean().backward()
                adam.step()
                sum_ += float(sum(every).detach())
            losses.append(sum_ / len(order))
        return losses

    def answer(self, k):
        """Mean and variance of the ratings of all items by the asking user, after k ratings."""
        data, model = self.data, self.model
        f = np.vstack([self.features().detach().numpy() * (data.counts > 0)[:, None], np.zeros((len(data.content) - data.items, CONFIG["features"]))])
        shown, y = data.shown[:k], (data.answers[:k] - model.mean) / model.scale
        prior = model.x @ (np.r_[data.asking, model.set_features(shown)] @ model.people)
        together = model.x @ model.covariance @ model.x.T + f @ f.T
        noise = model.noise + model.body.more_noise
        inverse = np.linalg.inv(together[np.ix_(shown, shown)] + np.diag(noise[shown]))
        mean = prior + together[:, shown] @ inverse @ (y - prior[shown])
        v = np.diagonal(together - together[:, shown] @ inverse @ together[shown]) + noise
        return model.mean + model.scale * mean, model.scale**2 * v


def density_case(name, seed, rows, shown):
    rng = np.random.default_rng(seed)
    x, noise, left = rng.normal(size=(rows, 6)), rng.uniform(0.2, 1.0, rows), rng.normal(size=rows)
    learned = torch.tensor(x[:, 3:], requires_grad=True)
    f = torch.cat([torch.tensor(x[:, :3]), learned], 1)
    loss = nll(f @ f.T, torch.tensor(noise), torch.tensor(left), shown)
    loss.backward()
    return {"name": name, "config": {"shown": shown}, "inputs": {"rows": x, "noise": noise, "left": left}, "outputs": {"loss": float(loss.detach()), "gradient": learned.grad.numpy()}}


def build():
    data = Data("few_films", 4, 16, 13)
    deep = Deep(data)
    start = deep.features().detach().numpy()
    losses = deep.learn()
    outputs = {"start": start * (data.counts > 0)[:, None], "losses": losses, "features": deep.features().detach().numpy() * (data.counts > 0)[:, None]}
    assert np.abs(outputs["features"] - outputs["start"]).max() > 0.05, "nothing was learned"
    for k in PREFIXES:
        outputs[f"mean_{k}"], outputs[f"variance_{k}"] = deep.answer(k)
    cases = [density_case("density", 1, 9, 5), density_case("nothing_shown", 2, 4, 0), density_case("one_asked", 3, 6, 5)]
    cases.append({"name": "learn", "config": CONFIG | {"fold_in": BODY, "regression": PLUS, "prefixes": PREFIXES, "users": len(data.rows), "items": data.items, "narrow": data.narrow}, "inputs": inputs(data), "outputs": outputs})
    return {"name": "deep_kernel", "about": __doc__.split("\n")[0], "cases": [case | {"inputs": case["inputs"] if case["name"] == "learn" else tensors(case["inputs"]), "outputs": tensors(case["outputs"])} for case in cases]}


if __name__ == "__main__":
    text = json.dumps(build(), separators=(",", ":"), allow_nan=False).replace('{"name":', '\n{"name":')
    path = Path(__file__).parent / "golden" / "deep_kernel.json"
    path.write_text(text.lstrip() + "\n")
    print(f"deep_kernel.json: {path.stat().st_size} bytes")
