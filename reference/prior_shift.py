"""Writes golden/prior_shift.json: the share of positives of unlabelled windows by bisection on the slope of its posterior, Platt's map by Newton with a line search of its own, and the statistics of the tests (double precision).

Run: python reference/prior_shift.py    Needs: numpy

With q = sigma(a z + b), the share of a window is the root of `kappa (p_s - p) + sum_i (w_i(p) - p) = 0`, which is where EM stands still.
"""

import json
import math
from pathlib import Path

import numpy as np

KAPPA, KAPPA2, BINS, PRECISION = 200.0, 200.0, 20, 1e-2


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def logit(p):
    return math.log(p / (1.0 - p))


def platt(z, y):
    """Minimum of the penalised logistic loss in (a, b): Newton from (1, 0), undamped (the data are no separable ones)."""
    theta = np.array([1.0, 0.0])
    x = np.stack([z, np.ones_like(z)], axis=1)
    for _ in range(60):
        q = sigmoid(x @ theta)
        gradient = x.T @ (q - y) + PRECISION * (theta - np.array([1.0, 0.0]))
        hessian = (x * (q * (1 - q))[:, None]).T @ x + PRECISION * np.eye(2)
        theta = theta - np.linalg.solve(hessian, gradient)
    return theta


def share_of(q, source):
    def slope(p):
        up, down = p / source, (1 - p) / (1 - source)
        w = up * q / (up * q + down * (1 - q))
        return KAPPA * (source - p) + np.sum(w - p)

    low, high = 1e-9, 1 - 1e-9
    for _ in range(200):
        p = 0.5 * (low + high)
        low, high = (p, high) if slope(p) > 0 else (low, p)
    return 0.5 * (low + high)


def window(z, a, b, q_valid, y_valid, source):
    q, n = sigmoid(a * z + b), len(z)
    p = share_of(q, source)
    up, down = p / source, (1 - p) / (1 - source)
    w = up * q / (up * q + down * (1 - q))
    shrink = n / (n + KAPPA2)
    v, whole, n_s = np.var(w), p * (1 - p), len(y_valid)
    error = math.sqrt(n * v + n * n * max(whole - v, 0) / n_s) / (n * v + KAPPA * whole) * shrink
    ordered = np.sort(q_valid)
    edges = np.unique([ordered[k * n_s // BINS] for k in range(1, BINS)])
    place = lambda x: np.searchsorted(edges, x, side="right")
    histogram = lambda x: np.bincount(place(x), minlength=len(edges) + 1) / len(x)
    positive, negative = q_valid[y_valid == 1], q_valid[y_valid == 0]
    h1, h0, h = histogram(positive), histogram(negative), histogram(q)
    m = p * h1 + (1 - p) * h0
    variance = m / n + p * p * h1 / len(positive) + (1 - p) ** 2 * h0 / len(negative)
    statistic = float(np.sum((h - m) ** 2 / variance))
    tpr, fpr = np.mean(positive > source), np.mean(negative > source)
    estimate = float(np.clip(logit(p) - logit(source), -1, 1) * shrink)
    return {"logits": z.tolist(), "share": p, "estimate": estimate, "error": error, "statistic": statistic, "power": float(n * (tpr - fpr) ** 2)}


def main():
    draw = np.random.default_rng(11)
    grid = lambda x: np.round(x * 256) / 256

    def traffic(n, weight, mean=-0.8, spread=1.3):
        """Rows of a world where P(y | x) is sigma(u); with `weight` positives are that much more frequent than in it, x given y as before."""
        out_z, out_y = [], []
        while len(out_z) < n:
            u = draw.normal(mean, spread)
            y = float(draw.random() < 1 / (1 + math.exp(-u)))
            if draw.random() * max(weight, 1.0) < (weight if y == 1 else 1.0):
                out_z.append(1.25 * u + 0.3)
                out_y.append(y)
        return grid(np.array(out_z)), np.array(out_y)

    z, y = traffic(1500, 1.0)
    a, b = platt(z, y)
    q = sigmoid(a * z + b)
    source = float(np.mean(y))
    windows = [traffic(800, 1.0)[0], traffic(800, 2.5)[0], traffic(700, 0.4)[0], traffic(800, 1.0, mean=0.3, spread=0.6)[0], traffic(40, 1.0)[0]]
    case = {
        "logits": z.tolist(),
        "labels": [int(v) for v in y],
        "slope": float(a),
        "offset": float(b),
        "windows": [window(w, a, b, q, y, source) for w in windows],
    }
    path = Path(__file__).parent / "golden" / "prior_shift.json"
    path.write_text(json.dumps({"name": "prior_shift", **case}, separators=(",", ":")) + "\n")


main()
