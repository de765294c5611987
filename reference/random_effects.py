"""Offsets of scores by the codes of features, with a normal prior, by Newton's method on the full matrix.

    a, u = argmin sum_i loss(z_i + a + sum_f u_f[c_if], y_i) + |u|^2 / (2 tau^2) + a^2 / (2 S^2)        S = 3

with the logistic loss, or (s - y)^2 / (2 sigma^2), sigma^2 the variance of y - z. Where no variance is given it is one of 0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1:
the first half of the rows is scored with what the second says and the other way round, and the smallest is taken whose mean loss
is within one standard error of the least. (No gradients; a layout of its own: scores, labels and codes under `inputs`,
a and the effects of each feature under `outputs`.)
"""

import torch

import golden_file
from golden_file import Source

ABOUT = "Offsets of scores by id, with a normal prior. Formulas in reference/random_effects.py."
SD, VARIANCES = 3.0, [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]


def one_hot(codes, sizes):
    """`[rows, sum(sizes)]`."""
    return torch.cat([torch.nn.functional.one_hot(codes[:, f], size) for f, size in enumerate(sizes)], 1).double()


def fit(z, y, x, variance, logistic):
    """a and u by damped Newton steps; no effects where the variance is 0."""
    n, d = x.shape
    x = torch.cat([torch.ones(n, 1, dtype=torch.float64), x], 1)
    prior = torch.cat([torch.tensor([1 / SD**2]), torch.full((d,), 1 / variance if variance > 0 else 1e15)]).double()
    noise = 1.0 if logistic else float((y - z).var(unbiased=False))
    b = torch.zeros(d + 1, dtype=torch.float64)
    for _ in range(60):
        s = z + x @ b
        rest, weight = (y - torch.sigmoid(s), torch.sigmoid(s) * torch.sigmoid(-s)) if logistic else ((y - s) / noise, torch.full_like(s, 1 / noise))
        step = torch.linalg.solve(x.T @ (weight[:, None] * x) + torch.diag(prior), x.T @ rest - prior * b)
        b = b + step * min(1.0, 1.0 / float(step.abs().max() + 1e-300))
    return b


def losses(z, y, x, b, logistic):
    s = z + b[0] + x @ b[1:]
    return torch.nn.functional.softplus(s) - y * s if logistic else (s - y) ** 2


def best(z, y, x, logistic):
    """The smallest variance whose held-out loss is within one standard error of the least."""
    halves = [(2 * torch.arange(len(z)) >= len(z)) == bool(h) for h in (0, 1)]

    def held_out(variance):
        fits = [fit(z[h], y[h], x[h], variance, logistic) for h in halves]
        return torch.cat([losses(z[h], y[h], x[h], fits[1 - i], logistic) for i, h in enumerate(halves)])

    found = {v: held_out(v) for v in [0.0, *VARIANCES]}
    least = min(found.values(), key=lambda l: float(l.sum()))
    return next(v for v, l in found.items() if float((l - least).mean()) <= float((l - least).std()) / len(z) ** 0.5)


def case(source, name, keys, sizes, rows, strength, logistic, variance=None):
    codes = torch.stack([source.integers(size, rows) for size in sizes], 1)
    z, truth = source.normal(rows), [source.normal(size, scale=strength) for size in sizes]
    s = z + 0.5 + sum(t[codes[:, f]] for f, t in enumerate(truth))
    y = (source.positive(rows) - 0.25 < torch.sigmoid(s)).double() if logistic else s + source.normal(rows, scale=0.5)
    x = one_hot(codes, sizes)
    chosen = best(z, y, x, logistic) if variance is None else variance
    b = fit(z, y, x, chosen, logistic)
    shown = x.sum(0) > 0
    effects = (b[1:] * shown if chosen > 0 else torch.zeros(sum(sizes), dtype=torch.float64)).split(sizes)
    outputs = {"common": b[:1]} | {f"feature{f}": effect for f, effect in enumerate(effects)}
    config = {"keys": keys, "sizes": list(sizes), "objective": "logistic" if logistic else "squared_error", "variance": chosen}
    return {"name": name, "config": config, "inputs": golden_file.tensors({"scores": z, "labels": y, "codes": codes}), "outputs": golden_file.tensors(outputs)}


def build():
    source = Source(21)
    return [
        case(source, "given", "variance = 0.05", (9, 4), 60, 0.7, True, 0.05),
        case(Source(5), "chosen", "", (30, 5, 3), 600, 0.4, True),
        case(Source(1), "none", "", (60, 9), 150, 0.0, True),
        case(source, "ratings", "", (12, 5), 120, 0.7, False),
    ]


if __name__ == "__main__":
    golden_file.run("random_effects", ABOUT, build)
