"""Writes golden/class_floors.json: floors that predict a class from a bag of items, by direct definition (NumPy, double precision; Newton's method with the full second derivative).

C classes, p_c = (n_c + 1) / (n + C).

majority              p for every row
smoothed_item_rate    r_ic = (n_ic + s p_c) / (n_i + s), rows counted once an item; score ln p_c + m^-exponent * sum over the row's m distinct
                      known items of ln(r_ic / p_c); softmax
logistic_regression   softmax(b + W x), x_i = ln(1 + n_i), items of at least 2 training rows; sum of -ln p_true + l2 / 2 |W|^2, b not penalised

Settings are given for one list of cases, and for another chosen by log loss on validation rows.

Run: python reference/class_floors.py    Needs: numpy
"""

import json
from pathlib import Path

import numpy as np

SHRINKS, EXPONENTS, STRENGTHS = [5.0, 1.0, 20.0, 80.0], [0.5, 0.0, 1.0], [3.0, 30.0, 10.0, 1.0, 0.3]


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def shares(y, count):
    return (np.bincount(y, minlength=count) + 1) / (len(y) + count)


def log_loss(y, p):
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-15)).mean())


def item_rates(bags, y, count, asked, shrink, exponent):
    p = shares(y, count)
    scores = []
    for bag in asked:
        ratios = []
        for item in sorted(set(bag)):
            having = [c for other, c in zip(bags, y) if item in other]
            if having:
                rate = (np.bincount(having, minlength=count) + shrink * p) / (len(having) + shrink)
                ratios.append(np.log(rate / p))
        scores.append(np.log(p) + (len(ratios) ** -exponent * np.sum(ratios, axis=0) if ratios else 0.0))
    return softmax(np.array(scores))


def logistic(bags, y, count, asked, l2):
    items = [i for i in sorted({i for bag in bags for i in bag}) if sum(i in bag for bag in bags) >= 2]
    matrix = lambda rows: np.array([[np.log1p(bag.count(i)) for i in items] for bag in rows])
    x, hot = matrix(bags), np.eye(count)[y]

    x = np.column_stack([x, np.ones(len(x))])
    penalty = np.append(np.full(len(items), l2), 0.0)
    w = np.zeros((len(items) + 1, count))
    for _ in range(12):
        p = softmax(x @ w)
        gradient = x.T @ (p - hot) + penalty[:, None] * w
        # Blocks [I + 1, C, I + 1, C]; the same added to all intercepts changes nothing, so the matrix has no inverse.
        hessian = np.einsum("ri,rc,rj,cd->icjd", x, p, x, np.eye(count)) - np.einsum("ri,rc,rj,rd->icjd", x, p, x, p)
        hessian += np.einsum("i,ij,cd->icjd", penalty, np.eye(len(penalty)), np.eye(count))
        w = w - (np.linalg.pinv(hessian.reshape(w.size, w.size), hermitian=True) @ gradient.ravel()).reshape(w.shape)
    assert np.abs(gradient).max() < 1e-10, np.abs(gradient).max()
    return softmax(np.column_stack([matrix(asked), np.ones(len(asked))]) @ w)


def rows(rng, n, count, items):
    """Bags of 0 to 7 items, codes far apart; each class likes a third of the items twice as much."""
    y = rng.choice(count, n, p=[0.5, 0.3, 0.15, 0.05])
    bags = []
    for c in y:
        weight = 1.0 + (np.arange(items) % 3 == c % 3)
        bags.append([int(17 * i + 2) for i in rng.choice(items, rng.integers(0, 8), p=weight / weight.sum())])
    return bags, y


def build():
    rng, count, items = np.random.default_rng(20240611), 4, 25
    bags, y = rows(rng, 90, count, items)
    validation, labels = rows(rng, 60, count, items)
    query, _ = rows(rng, 12, count, items + 4)
    given = [
        {"floor": "majority", "settings": {}, "expected": np.tile(shares(y, count), (len(query), 1))},
    ]
    for shrink, exponent in [(5.0, 0.5), (1.0, 0.0), (50.0, 1.0)]:
        settings = {"shrink": shrink, "exponent": exponent}
        given.append({"floor": "smoothed_item_rate", "settings": settings, "expected": item_rates(bags, y, count, query, shrink, exponent)})
    for l2 in [0.3, 3.0, 30.0]:
        given.append({"floor": "logistic_regression", "settings": {"l2": l2}, "expected": logistic(bags, y, count, query, l2)})
    pairs = [(log_loss(labels, item_rates(bags, y, count, validation, s, e)), s, e) for s in SHRINKS for e in EXPONENTS]
    strengths = [(log_loss(labels, logistic(bags, y, count, validation, l2)), l2) for l2 in STRENGTHS]
    chosen = {
        "smoothed_item_rate": {"shrink": min(pairs)[1], "exponent": min(pairs)[2]},
        "logistic_regression": {"l2": min(strengths)[1]},
    }
    return {
        "classes": count,
        "train": {"items": bags, "classes": y},
        "validation": {"items": validation, "classes": labels},
        "query": query,
        "given": given,
        "grids": {"shrink": SHRINKS, "exponent": EXPONENTS, "l2": STRENGTHS},
        "losses": {"smoothed_item_rate": [list(pair) for pair in pairs], "logistic_regression": [list(pair) for pair in strengths]},
        "chosen": chosen,
    }


def plain(value):
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


if __name__ == "__main__":
    path = Path(__file__).parent / "golden" / "class_floors.json"
    path.write_text(json.dumps(plain(build()), separators=(",", ":")) + "\n")
