"""A head for each user: a linear regression on the network's last features with a learned prior, by dense systems.

With h what goes into the network's head, s = h W + b what it says, and x = (1, (s - mean) / scale, h), m numbers:

    y = (r - mean) / scale = x w_u + e,  e ~ N(0, s2),  w_u ~ N(prior, L L')                   (squared_error)
    P(r = 1) = 1 / (1 + exp(-x w_u)),  mean = 0, scale = 1, w_u the mode                        (logistic)
    served(h) = s + g_k (mean + scale x w - s), k the user's rows, g_k between two SIZES linear in ln(1 + k)

and a rating is expected around that with the variance (squared_error; V_u the posterior's covariance)

    scale^2 (x V_u x' + s2) + (1 - g_k)^2 (mean + scale x w - s)^2

`served_*`: the head that says so, read off what is served at h = 0 and at each unit vector. The last task has no support row; what stands in padding rows is no zero.
`solved_*`: prior, L and s2 by EM over the tasks of the rows, from prior = 1 for s and 0 else, L L' = I / 10, s2 = 0.6. A sweep: w_u and V_u the posterior's mean and covariance,
    prior = sum w_u / (tasks + 1e-6), L L' = mean of (w_u - prior)(w_u - prior)' + V_u, s2 = mean of (y - x w)^2 + x' V x (not for clicks).
    Of the tasks a tenth is held out, those of at least two rows whose `uniform(11, task, 0)` is below 0.1: their rows, in the order of `uniform(12, task, row)`, are judged, at most ten of
    them and at most half, or shown. Where ten or more are held out, sweeps go on, at most 12, until those judged, each counting min(rows, 100) / judged, are not said better
    after all that is shown, and the shares are those of reference/user_model.py; then everything is fitted again with so many sweeps. Else 6 sweeps, and k / (k + 5).
    Ratings of 2 to 21 values have cut points between these, by reference/spread.py: fitted to what is judged after every one of SIZES, as it is expected with the shares that are served.
    `ordinal`: the number of values, these, and the cut points; zeros where there are none, or fewer than ten are held out.
    A fit is kept with L of L L' + 1e-9 max diag.
"""

import numpy as np
import torch

import golden_file
from golden_file import Source, tensors
from spread import fit as cut_points
from user_model import SIZES, uniform

ABOUT = "A head for each user by one solve, and its prior by EM. Formulas in reference/bayes_head.py."
SWEEPS, MOST_SWEEPS, LEAST_TO_CHOOSE = 6, 12, 10
MOST_VALUES = 21


def posterior(x, y, prior, covariance, noise, logistic):
    """Mean and covariance of w, from the precision of what is known."""
    precision = np.linalg.inv(covariance)
    if not logistic:
        v = np.linalg.inv(precision + x.T @ x / noise)
        return v @ (precision @ prior + x.T @ y / noise), v
    w = prior
    for _ in range(40):
        p = 1.0 / (1.0 + np.exp(-x @ w))
        curvature = precision + x.T @ ((p * (1.0 - p))[:, None] * x)
        step = np.linalg.solve(curvature, x.T @ (y - p) - precision @ (w - prior))
        w = w + step
    assert np.abs(step).max() < 1e-12, "Newton's method has not converged"
    return w, np.linalg.inv(curvature)


def features(s, h, mean, scale):
    return np.column_stack([np.ones(len(s)), (s - mean) / scale, h])


def share(shares, rows):
    return np.interp(np.log1p(rows), np.log1p(SIZES), shares)


def kept(values, cuts):
    return np.array([len(values), *values, *cuts] + [0.0] * (2 * MOST_VALUES - 1 - len(values) - len(cuts)))


def served_case(source, logistic, hidden):
    d0, counts, queries = 3, [3, 7, 1, 9, 55, 0], 3
    tasks, rows, d = len(counts), max(counts), (hidden or [d0])[-1]
    widths, m = [d0, *hidden, 1], d + 2
    network = {}
    for i in range(len(widths) - 1):
        network |= {f"{i}.weight": source.normal(widths[i], widths[i + 1], scale=0.7), f"{i}.bias": source.normal(widths[i + 1], scale=0.3)}
    mean, scale, noise = (0.0, 1.0, 0.6) if logistic else (3.25, 1.125, 0.375)
    own = {
        "numbers": torch.tensor([mean, scale, noise, 1.0], dtype=torch.float64),
        "shares": torch.tensor([0.0, 0.125, 0.5, 0.4375, 0.75, 0.875, 0.9375], dtype=torch.float64),
        "prior": torch.eye(m, dtype=torch.float64)[1] + source.normal(m, scale=0.2),
        "factor": torch.tril(source.normal(m, m, scale=0.2), -1) + torch.diag(source.positive(m) * 0.5),
        "ordinal": torch.tensor(kept([], []) if logistic else kept([2.0, 3.0, 4.0, 5.0], [2.5, 3.375, 4.5])),
    }
    x_support, x_query = source.normal(tasks, rows, d0), source.normal(tasks, queries, d0)
    y = source.integers(2, tasks, rows) if logistic else source.normal(tasks, rows, shift=3.25)
    mask = (torch.arange(rows)[None, :] < torch.tensor(counts)[:, None]).long()
    last = len(widths) - 2

    def states(x):
        for i in range(last):
            x = torch.relu(x @ network[f"{i}.weight"] + network[f"{i}.bias"])
        return x.numpy()

    h_support, h_query = states(x_support), states(x_query)
    head, offset = network[f"{last}.weight"].numpy()[:, 0], network[f"{last}.bias"].numpy()[0]
    factor = own["factor"].numpy()
    weights, biases, scores, deviations = [], [], [], []
    for t, k in enumerate(counts):
        h, r = h_support[t, :k], y[t, :k].double().numpy()
        x = features(h @ head + offset, h, mean, scale)
        w, v = posterior(x, (r - mean) / scale, own["prior"].numpy(), factor @ factor.T, noise, logistic)
        g = share(own["shares"].numpy(), k)

        def served(h):
            s = h @ head + offset
            return s + g * (mean + scale * features(s, h, mean, scale) @ w - s)

        (bias,), units = served(np.zeros((1, d))), served(np.eye(d))
        weights.append(units - bias)
        biases.append(bias)
        scores.append(served(h_query[t]))
        s = h_query[t] @ head + offset
        x = features(s, h_query[t], mean, scale)
        variance = scale**2 * (np.einsum("ni,ij,nj->n", x, v, x) + noise)
        deviations.append(np.sqrt(variance + ((1.0 - g) * (mean + scale * x @ w - s)) ** 2))
    outputs = {"weight": np.array(weights), "bias": np.array(biases), "scores": np.array(scores)}
    return {
        "name": f"served_{'logistic' if logistic else 'squared_error'}{'' if hidden else '_linear'}",
        "config": {"loss": "logistic" if logistic else "squared_error", "widths": widths, "counts": counts},
        "inputs": tensors({"x_support": x_support, "y_support": y, "mask_support": mask, "x_query": x_query}),
        "parameters": tensors(network | own),
        "outputs": tensors(outputs if logistic else outputs | {"deviations": np.array(deviations)}),
    }


class Fit:
    """EM over tasks, each a pair of features and ratings in units."""

    def __init__(self, tasks, logistic, sweeps, loss=None):
        m, self.logistic, self.noise, self.sweeps = tasks[0][0].shape[1], logistic, 0.6, 0
        self.prior, self.covariance = np.eye(m)[1], np.eye(m) / 10.0
        best, rows = np.inf, sum(len(y) for _, y in tasks)
        while self.sweeps < sweeps:
            before = (self.prior, self.covariance, self.noise)
            found = [self.weights(x, y) for x, y in tasks]
            self.prior = sum(w for w, _ in found) / (len(tasks) + 1e-6)
            self.covariance = sum(np.outer(w - self.prior, w - self.prior) + v for w, v in found) / len(tasks)
            if not logistic:
                squares = [((y - x @ w) ** 2).sum() + np.trace(x @ v @ x.T) for (x, y), (w, v) in zip(tasks, found)]
                self.noise = sum(squares) / rows
            if loss is not None:
                value = loss(self)
                if value >= best:
                    self.prior, self.covariance, self.noise = before
                    break
                best = value
            self.sweeps += 1

    def weights(self, x, y):
        return posterior(x, y, self.prior, self.covariance, self.noise, self.logistic)


def solved_case(source, name, logistic, tasks, guard, stars=False):
    d, counts = 2, [1 + int(n) for n in source.integers(9, tasks)]
    # A task of two rows: the smallest that can be held out.
    counts[1] = 2
    task = np.repeat(np.arange(tasks), counts)[torch.randperm(sum(counts), generator=source.generator).numpy()]
    n = len(task)
    states = source.normal(n, d).numpy()
    said = source.normal(n, shift=0.0 if logistic else 3.0).numpy()
    own = source.normal(tasks, d + 2, scale=0.5).numpy()[task] + np.array([0.25, 0.75, 0.5, 0.0])
    truth = own[:, 0] + own[:, 1] * said + (own[:, 2:] * states).sum(axis=1) + source.normal(n, scale=0.5).numpy()
    labels = (truth > 0) * 1.0 if logistic else np.round(truth * 4.0) / 4.0
    labels = np.clip(np.round(labels), 1.0, 5.0) if stars else labels
    mean, scale = (0.0, 1.0) if logistic else (labels.mean(), labels.std())
    x, y = features(said, states, mean, scale), (labels - mean) / scale
    of = [np.flatnonzero(task == t) for t in range(tasks)]

    held = {}
    for t in range(tasks):
        if len(of[t]) >= 2 and uniform(11, t, 0) < 0.1:
            order = sorted(of[t], key=lambda row: int(uniform(12, t, int(row)) * 1e12))
            judged = min(len(order) // 2, 10)
            held[t] = (order[judged:], order[:judged])

    def answers(fit, size):
        """Of every held-out task that shows so much: what the network says, what the model says, its variance, the rating, the weight."""
        found = []
        for shown, judged in held.values():
            if len(shown) < size:
                continue
            shown_rows = shown[: len(shown) if size < 0 else size]
            w, v = fit.weights(x[shown_rows], y[shown_rows])
            for row in judged:
                plain, model = said[row], mean + scale * x[row] @ w
                if logistic:
                    plain, model = (1.0 / (1.0 + np.exp(-z)) for z in (plain, model))
                variance = scale**2 * (x[row] @ v @ x[row] + fit.noise)
                found.append((plain, model, variance, labels[row], min(len(shown) + len(judged), 100) / len(judged)))
        return np.array(found).reshape(-1, 5)

    def loss(fit):
        _, model, _, r, weight = answers(fit, -1).T
        return (weight * (model - r) ** 2).sum()

    sweeps, shares, ordinal = SWEEPS, [k / (k + 5.0) for k in SIZES], kept([], [])
    if len(held) >= LEAST_TO_CHOOSE:
        fit = Fit([(x[rows], y[rows]) for t, rows in enumerate(of) if t not in held], logistic, MOST_SWEEPS, loss)
        sweeps, shares = fit.sweeps, []
        for size in SIZES:
            plain, model, _, r, weight = answers(fit, size).T
            square = (weight * (model - plain) ** 2).sum()
            best = float(np.clip((weight * (r - plain) * (model - plain)).sum() / square, 0.0, 1.0)) if square > 0 else 1.0
            shares.append((len(r) * best + 50.0 * (shares[-1] if shares else best)) / (len(r) + 50.0))
        values = [float(value) for value in np.unique(labels)]
        if not logistic and 2 <= len(values) <= MOST_VALUES:
            rows = []
            for size, g in zip(SIZES, shares if guard else [1.0] * len(SIZES)):
                for plain, model, variance, r, weight in answers(fit, size):
                    rows.append((plain + g * (model - plain), variance + ((1.0 - g) * (model - plain)) ** 2, r, weight))
            ordinal = kept(values, cut_points(values, rows))
    fit = Fit([(x[rows], y[rows]) for rows in of], logistic, sweeps)
    least = 1e-9 * fit.covariance.diagonal().max() * np.eye(d + 2)
    return {
        "name": f"solved_{name}",
        "config": {"loss": "logistic" if logistic else "squared_error", "d": d, "keys": f"guard = {str(guard).lower()}", "held_out": len(held), "sweeps": sweeps},
        "inputs": tensors({"scores": said, "labels": labels, "tasks": task, "states": states}),
        "outputs": tensors({
            "numbers": np.array([mean, scale, fit.noise, 1.0]),
            "shares": np.array(shares if guard else [1.0] * len(SIZES)),
            "prior": fit.prior,
            "factor": np.linalg.cholesky(fit.covariance + least),
            "ordinal": ordinal,
        }),
    }


def build():
    source = Source(41)
    cases = [served_case(source, logistic, hidden) for logistic, hidden in ((False, [4, 4]), (True, [4, 4]), (False, []))]
    for logistic in (False, True):
        link = "logistic" if logistic else "squared_error"
        cases += [solved_case(source, f"{link}_few", logistic, 30, True), solved_case(source, link, logistic, 170, True)]
    cases.append(solved_case(source, "unguarded", False, 30, False))
    return [*cases, *(solved_case(source, name, False, 140, guard, stars=True) for name, guard in (("stars", True), ("stars_unguarded", False)))]


if __name__ == "__main__":
    golden_file.run("bayes_head", ABOUT, build)
