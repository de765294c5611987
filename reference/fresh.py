"""Writes golden/fresh.json: fresh users, by direct definition (NumPy and PyTorch, double precision; every table is dense, gradients are those of autograd through the inner steps).

X are the rows of all people, 1 where there is one; S the items that are known of a person.

ease     B = argmin |X - X B|^2 + lambda |B|^2, diag B = 0, column by column by least squares on the other columns; score = x B
metacf   e = |S|^-p sum over j of S (q_j + sum over l beside j of c_jl q_l), s_i = e v_i + b_i; c_jl = n_jl / sqrt(n_j n_l), the `potential` largest, without the rows of the person.
         K times (q, v, b) <- (q, v, b) - eta * gradient of L_S; L_S = mean of -ln sigmoid(s_i - s_n), i of S, e without i and what stands beside i, n drawn.
         outer: Adam (0.9, 0.999) on the mean over a batch of users of the gradient of L_Q after the steps, in q, v, b and eta, clamped; only rows that a user of the batch reads move.
         draws of user u in epoch t: uniform(seed, 2^32 + t people + u, 0, 1, ...): k, a place for each own item, negatives of S, negatives of the query set
         order of users: uniform(seed, 2^48 + t, u). Served: uniform(seed, 31-fold hash of S from 2^40, 0, 1, ...)

Run: python reference/fresh.py    Needs: numpy, torch
"""

import json
from pathlib import Path

import numpy as np
import torch

from user_model import normal, uniform

torch.set_default_dtype(torch.float64)
PEOPLE, ITEMS, SEED = 40, 20, 4
MASK = 2**64 - 1
SHOWN = [3, 8, 12]


def draw():
    rng = np.random.default_rng(5)
    liking = rng.normal(size=(PEOPLE, 2)) @ rng.normal(size=(2, ITEMS)) + rng.normal(size=(PEOPLE, ITEMS))
    x = (liking > np.quantile(liking, 0.75)).astype(float)
    x[:, ITEMS - 1] = 0.0
    return x


def ease(x, amount, shown):
    said = np.zeros(ITEMS)
    for j in range(ITEMS - 1):
        others = [i for i in range(ITEMS) if i != j]
        a = x[:, others]
        b = np.linalg.solve(a.T @ a + amount * np.eye(len(others)), a.T @ x[:, j])
        said[j] = sum(b[others.index(i)] for i in shown if i != j)
    return said


class Draws:
    def __init__(self, place):
        self.place, self.at = place, 0

    def next(self):
        self.at += 1
        return uniform(SEED, self.place, self.at - 1)

    def other(self, candidates, without):
        while True:
            item = candidates[int(self.next() * len(candidates))]
            if item not in without:
                return item


class MetaCf:
    def __init__(self, x, **keys):
        self.x, self.c = x, keys
        d = keys["factors"]
        table = lambda first: torch.tensor([[0.1 * normal(SEED, first + i, k) for k in range(d)] for i in range(ITEMS)])
        self.values = [table(0), torch.cat([table(ITEMS), torch.zeros(ITEMS, 1)], 1)]
        self.rates = [torch.full_like(t, keys["inner_rate"]) for t in self.values]
        self.candidates = [i for i in range(ITEMS) if x[:, i].any()]

    def beside(self, j, hidden):
        x = np.delete(self.x, hidden, 0) if hidden is not None else self.x
        n, both = x.sum(0), x[:, j] @ x
        c = {l: both[l] / np.sqrt(n[j] * n[l]) for l in range(ITEMS) if l != j and both[l] > 0}
        return dict(sorted(c.items(), key=lambda e: (-e[1], e[0]))[: self.c["potential"]])

    def weights(self, s, hidden):
        w = torch.zeros(ITEMS)
        for j in s:
            w[j] += 1.0
            for l, c in self.beside(j, hidden).items():
                w[l] += c
        return w * len(s) ** -self.c["discount"] if s else w

    def support(self, s, hidden, draws):
        """Weights and pairs of each item of S, and the rows that they read; none are drawn where there are no steps."""
        if self.c["inner_steps"] == 0:
            return [], [self.weights(s, hidden) > 0, torch.zeros(ITEMS, dtype=torch.bool)]
        lessons = [(self.weights([j for j in s if j != i], hidden), [(i, draws.other(self.candidates, s)) for _ in range(self.c["negatives"])]) for i in s]
        q = (self.weights(s, hidden) > 0) | torch.stack([w > 0 for w, _ in lessons]).any(0)
        v = torch.zeros(ITEMS, dtype=torch.bool)
        for _, pairs in lessons:
            v[[i for pair in pairs for i in pair]] = True
        return lessons, [q, v]

    @staticmethod
    def loss(values, lessons):
        q, v = values
        said = [v @ torch.cat([w @ q, torch.ones(1)]) for w, _ in lessons]
        return -torch.stack([torch.nn.functional.logsigmoid(s[i] - s[n]) for s, (_, pairs) in zip(said, lessons) for i, n in pairs]).mean()

    def adapt(self, values, rates, lessons, exact):
        for _ in range(self.c["inner_steps"]):
            if exact:
                g = torch.autograd.grad(self.loss(values, lessons), values, create_graph=True)
            else:
                leaves = [t.detach().requires_grad_(True) for t in values]
                g = torch.autograd.grad(self.loss(leaves, lessons), leaves)
            values = [t - r * d for t, r, d in zip(values, rates, g)]
        return values

    def ask(self, u, epoch):
        own = np.flatnonzero(self.x[u]).tolist()
        draws = Draws(2**32 + epoch * PEOPLE + u)
        k = 1 + int(draws.next() * min(self.c["shots"], len(own) - 1))
        order = sorted((draws.next(), i) for i in own)
        s = sorted(i for _, i in order[:k])
        lessons, read = self.support(s, u, draws)
        pairs = [(i, draws.other(self.candidates, own)) for _, i in order[k : k + self.c["queries"]] for _ in range(self.c["negatives"])]
        query = [(self.weights(s, u), pairs)]
        values, rates = ([t.clone().requires_grad_(True) for t in tables] for tables in (self.values, self.rates))
        loss = self.loss(self.adapt(values, rates, lessons, self.c["exact"]), query)
        g = torch.autograd.grad(loss, values + rates, allow_unused=True)
        g = [torch.zeros_like(t) if d is None else d for d, t in zip(g, values + rates)]
        wide = [read[0], read[1].clone()]
        wide[1][[i for pair in pairs for i in pair]] = True
        return g, wide + read

    def learn(self):
        tables = self.values + self.rates
        m, v, step = [torch.zeros_like(t) for t in tables], [torch.zeros_like(t) for t in tables], 0
        users = [u for u in range(PEOPLE) if 2 <= self.x[u].sum() < len(self.candidates)]
        for epoch in range(self.c["epochs"]):
            order = sorted(users, key=lambda u: uniform(SEED, 2**48 + epoch, u))
            for at in range(0, len(order), self.c["batch"]):
                asked = [self.ask(u, epoch) for u in order[at : at + self.c["batch"]]]
                step += 1
                for t in range(4):
                    g = sum(a[0][t] for a in asked) / len(asked)
                    rows = torch.stack([a[1][t] for a in asked]).any(0)
                    g = g.clamp(-self.c["clamp"], self.c["clamp"])
                    m[t][rows], v[t][rows] = 0.9 * m[t][rows] + 0.1 * g[rows], 0.999 * v[t][rows] + 0.001 * g[rows] ** 2
                    tables[t][rows] -= self.c["rate"] * (m[t][rows] / (1 - 0.9**step)) / ((v[t][rows] / (1 - 0.999**step)).sqrt() + 1e-8)

    def score(self, s):
        place = 2**40
        for i in s:
            place = (place * 31 + i + 1) & MASK
        lessons, _ = self.support(s, None, Draws(place))
        q, v = self.adapt([t.clone().requires_grad_(True) for t in self.values], self.rates, lessons, True)
        return (v @ torch.cat([self.weights(s, None) @ q, torch.ones(1)])).detach().numpy()


def flat(values):
    values = np.asarray(values, dtype=float)
    return {"shape": list(values.shape), "data": values.reshape(-1).tolist()}


def build():
    x = draw()
    out = {"ease": ease(x, 3.0, SHOWN)}
    keys = {"factors": 4, "discount": 0.5, "shots": 3, "queries": 4, "negatives": 2, "inner_steps": 3, "inner_rate": 0.5, "exact": True, "potential": 3, "batch": 8, "epochs": 3, "rate": 0.02,
            "clamp": 10.0}
    # A clamp that many numbers of a gradient meet, as one at 10 never would here.
    for name, other in [("metacf", {}), ("metacf_first_order", {"exact": False}), ("metacf_no_potential", {"potential": 0}), ("metacf_clamped", {"clamp": 0.003}), ("fism", {"inner_steps": 0})]:
        model = MetaCf(x, **(keys | other))
        model.learn()
        out[name] = model.score(SHOWN)
        if name == "metacf":
            out["metacf_one"] = model.score(SHOWN[:1])
    return {"rows": flat(x)}, {name: flat(values) for name, values in out.items()}


if __name__ == "__main__":
    data, outputs = build()
    file = {"name": "fresh", "about": __doc__.split("\n")[0], "data": data, "outputs": outputs}
    path = Path(__file__).parent / "golden" / "fresh.json"
    path.write_text(json.dumps(file, separators=(",", ":"), allow_nan=False) + "\n")
    print(f"fresh.json: {len(outputs)} tensors, {path.stat().st_size} bytes")
