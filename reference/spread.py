"""Writes golden/spread.json: cut points of an ordinal head by bisection on the slope of each likelihood, and metrics of a spread (double precision, from the complementary error function).

Run: python reference/spread.py    Needs: numpy
"""

import json
import math
from itertools import chain
from pathlib import Path

import numpy as np

FLOOR = 1e-7


def cdf(z):
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def cut(y, middle, rows):
    """The root of the slope of sum(w log P(r <= y or r > y)) in the cut point, which falls."""

    def slope(k):
        total = 0.0
        for f, v, r, w in rows:
            sign = 1.0 if r <= y else -1.0
            z = sign * (k - f) / math.sqrt(v)
            total += w * sign * math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / cdf(z) / math.sqrt(v)
        return total

    low, high = middle - 20.0, middle + 20.0
    for _ in range(200):
        at = 0.5 * (low + high)
        if slope(at) > 0:
            low = at
        else:
            high = at
    return 0.5 * (low + high)


def fit(values, rows):
    weight = sum(w for *_, w in rows)
    variance = sum(v * w for _, v, _, w in rows) / weight
    one = weight / len(rows)
    cuts = []
    for below, above in zip(values, values[1:]):
        middle = 0.5 * (below + above)
        prior = [(middle, variance, y, one / 2) for y in (below, above)]
        cuts.append(cut(below, middle, list(chain(rows, prior))))
    return cuts


def probabilities(values, cuts, f, sd):
    upper = [cdf((k - f) / sd) for k in cuts] + [1.0]
    return np.diff([0.0, *upper])


def quantile(values, cuts, share, f, sd):
    upper = np.cumsum(probabilities(values, cuts, f, sd))
    return values[next(c for c in range(len(values)) if c == len(values) - 1 or upper[c] >= share)]


def by_user(users, values):
    return float(np.mean([np.mean(values[users == u]) for u in np.unique(users)]))


def offset(users, labels, p, low, high):
    """The corner with the smallest error, the one nearest to 0 among equals."""
    corners = np.concatenate([[0.0], labels - p, low - p, high - p])
    errors = np.array([by_user(users, np.abs(np.clip(p + c, low, high) - labels)) for c in corners])
    best = corners[errors <= errors.min() + 1e-12]
    return float(best[np.argmin(np.abs(best))])


def case(rng, name, values, n):
    """Ratings cut out of a Gaussian at places of their own, so that the cut points are not midway."""
    users = np.repeat(np.arange(n // 6), 6)[rng.permutation(n // 6 * 6)]
    n = len(users)
    f = np.round(rng.normal(np.mean(values), 0.8 * np.std(values), n), 3).astype(np.float32).astype(float)
    sd = np.round(rng.uniform(0.4, 1.3, n) * np.std(values), 3).astype(np.float32).astype(float)
    latent = f + sd * rng.normal(0, 1, n)
    places = np.array(values[:-1]) + 0.3 * np.diff(values)
    labels = np.array(values)[np.searchsorted(places, latent)].astype(np.float32).astype(float)
    labels[labels == values[1]] = values[2]  # Nobody is seen to give the second value.
    weights = rng.integers(1, 5, n).astype(float)
    cuts = fit(values, list(zip(f, sd**2, labels, weights)))
    # As they are stored.
    stored = np.array(cuts).astype(np.float32).astype(float)
    chance = np.array([probabilities(values, stored, f[i], sd[i])[values.index(labels[i])] for i in range(n)])
    median = np.array([quantile(values, stored, 0.5, f[i], sd[i]) for i in range(n)])
    expected = {"nlpd": by_user(users, -np.log(np.maximum(chance, FLOOR))), "mae": by_user(users, np.abs(median - labels))}
    gaussian = {"nlpd": by_user(users, np.log(sd * math.sqrt(2 * math.pi)) + (labels - f) ** 2 / (2 * sd**2))}
    low, high = values[0], values[-1]
    gaussian["mae"] = by_user(users, np.abs(np.clip(f, low, high) - labels))
    for percent in (50, 90):
        tails = [(1 - percent / 100) / 2, (1 + percent / 100) / 2]
        inside = [quantile(values, stored, tails[0], f[i], sd[i]) <= labels[i] <= quantile(values, stored, tails[1], f[i], sd[i]) for i in range(n)]
        expected[f"coverage@{percent}"] = by_user(users, np.array(inside, float))
        within = [2 * cdf(abs(labels[i] - f[i]) / sd[i]) - 1 <= percent / 100 for i in range(n)]
        gaussian[f"coverage@{percent}"] = by_user(users, np.array(within, float))
    moved = offset(users, labels, f, low, high)
    expected["mae[offset]"] = gaussian["mae[offset]"] = by_user(users, np.abs(np.clip(f + moved, low, high) - labels))
    return {
        "name": name, "values": values, "users": users.tolist(), "labels": labels.tolist(), "predictions": f.tolist(), "deviations": sd.tolist(),
        "weights": weights.tolist(), "cuts": cuts, "offset": moved, "ordinal": expected, "gaussian": gaussian,
    }


if __name__ == "__main__":
    rng = np.random.default_rng(20261)
    cases = [case(rng, "stars", [1.0, 2.0, 3.0, 4.0, 5.0], 120), case(rng, "halves", [0.5 * i for i in range(1, 11)], 90)]
    path = Path(__file__).parent / "golden" / "spread.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"cases": cases}, separators=(",", ":")) + "\n")
