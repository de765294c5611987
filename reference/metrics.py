"""Writes golden/metrics.json: metric values by direct definition (NumPy, double precision, no sorting tricks).

Run: python reference/metrics.py    Needs: numpy
"""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np

CLIP = 1e-7
TIE_WIDTH = 1e-7


def auc(y, p):
    positives, negatives = p[y == 1], p[y == 0]
    if len(positives) == 0 or len(negatives) == 0:
        return None
    wins = (positives[:, None] > negatives[None, :]).sum() + 0.5 * (positives[:, None] == negatives[None, :]).sum()
    return float(wins / (len(positives) * len(negatives)))


def gauc(groups, y, p):
    total = rows = 0.0
    for g in sorted(set(groups)):
        inside = np.array([h == g for h in groups])
        value = auc(y[inside], p[inside])
        if value is not None:
            total += inside.sum() * value
            rows += inside.sum()
    return total / rows


def macro_auc(domains, y, p):
    values = [auc(y[domains == d], p[domains == d]) for d in np.unique(domains)]
    return float(np.mean([v for v in values if v is not None]))


def log_loss(y, p):
    p = np.clip(p, CLIP, 1 - CLIP)
    return float(np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p)))


def by_user(users, value):
    values = [value(users == u) for u in np.unique(users)]
    return float(np.mean([v for v in values if v is not None]))


def mean_gain_of_ties(scores, gains):
    """Gains in the order of falling scores; every position of a tied group gets the group's mean."""
    rounded = np.round(scores / TIE_WIDTH)
    shared = np.array([gains[rounded == r].mean() for r in rounded])
    return shared[np.argsort(-rounded, kind="stable")]


def ndcg(k, gain, labels, scores):
    gains = labels.astype(float) if gain == "linear" else 2.0**labels - 1.0
    discounts = 1.0 / np.log2(np.arange(len(labels)) + 2.0)
    best = (np.sort(gains)[::-1] * discounts)[:k].sum()
    if best <= 0:
        return None
    return float((mean_gain_of_ties(scores, gains) * discounts)[:k].sum() / best)


def precision(k, relevant, labels, scores):
    return float(mean_gain_of_ties(scores, (labels >= relevant).astype(float))[:k].sum() / k)


def multiset_precision(k, labels, scores):
    """Mean over all orders of the rows that the cut goes through; a hit takes its value out of the multiset of the k largest labels."""
    rounded = np.round(scores / TIE_WIDTH)
    border = np.sort(rounded)[::-1][: k][-1]
    sure, tied = labels[rounded > border], labels[rounded == border]
    values = []
    for drawn in combinations(tied, min(k, len(labels)) - len(sure)):
        ideal, hits = Counter(np.sort(labels)[::-1][:k].tolist()), 0
        for value in [*sure, *drawn]:
            hits += ideal[float(value)] > 0
            ideal[float(value)] -= 1
        values.append(hits / k)
    return float(np.mean(values))


def rank(positive, candidates):
    return float(1 + (candidates > positive).sum() + 0.5 * (candidates == positive).sum())


def clicks(rng):
    """200 rows of 40 users in 4 domains, coarse predictions (many ties), domain 3 without a positive."""
    n = 200
    users = rng.integers(0, 40, n) * 3 + 1
    domains = rng.integers(0, 4, n)
    p = np.round(rng.random(n), 2).astype(np.float32).astype(float)
    y = (rng.random(n) < 0.1 + 0.6 * p).astype(float)
    y[domains == 3] = 0.0
    p[:3] = [0.0, 1.0, 1.0]
    expected = {
        "auc": auc(y, p),
        "macro_auc": macro_auc(domains, y, p),
        "gauc[user]": gauc([(u,) for u in users], y, p),
        "gauc[user,tab]": gauc(list(zip(users, domains)), y, p),
        "log_loss": log_loss(y, p),
        "pcoc": float(p.sum() / y.sum()),
    }
    for d in range(4):
        value = auc(y[domains == d], p[domains == d])
        expected[f"auc[tab={'abcd'[d]}]"] = value
    for d in range(3):
        expected[f"log_loss[tab={'abcd'[d]}]"] = log_loss(y[domains == d], p[domains == d])
        expected[f"pcoc[tab={'abcd'[d]}]"] = float(p[domains == d].sum() / y[domains == d].sum())
    return {"users": users, "domains": domains, "labels": y, "predictions": p, "expected": expected}


def ratings(rng):
    """150 rows of 15 users with stars 1 to 5; some users constant, some predictions outside the range or within a tie of 1e-7."""
    n = 150
    users = np.repeat(np.arange(15), 10)[rng.permutation(n)]
    labels = rng.integers(1, 6, n).astype(float)
    p = np.round(labels + rng.normal(0, 1.5, n), 1)
    p[users == 4] = 3.7
    near = np.flatnonzero(users == 5)
    p[near[0]] = p[near[1]] + 2e-8
    clipped = np.clip(p, 1, 5)
    error = clipped - labels
    expected = {
        "mae": by_user(users, lambda u: np.abs(error[u]).mean()),
        "mae[pooled]": float(np.abs(error).mean()),
        "rmse": by_user(users, lambda u: np.sqrt((error[u] ** 2).mean())),
        "rmse[pooled]": float(np.sqrt((error**2).mean())),
    }
    for k in (1, 3, 20):
        for gain in ("linear", "exponential"):
            expected[f"ndcg@{k}[gain={gain}]"] = by_user(users, lambda u: ndcg(k, gain, labels[u], p[u]))
        expected[f"p@{k}[label>=4]"] = by_user(users, lambda u: precision(k, 4, labels[u], p[u]))
        expected[f"p@{k}[multiset]"] = by_user(users, lambda u: multiset_precision(k, labels[u], p[u]))
    expected["p@5[multiset]"] = by_user(users, lambda u: multiset_precision(5, labels[u], p[u]))
    return {"users": users, "labels": labels, "predictions": p, "expected": expected}


def ranking(rng):
    """60 positives of 25 users, each among 99 candidates with coarse scores."""
    n = 60
    users = rng.integers(0, 25, n)
    candidates = np.round(rng.normal(0, 1, (n, 99)), 1)
    positives = np.round(rng.normal(1.2, 1, n), 1)
    ranks = np.array([rank(positives[i], candidates[i]) for i in range(n)])
    expected = {"mrr[sampled=99]": by_user(users, lambda u: (1 / ranks[u]).mean())}
    for k in (1, 5, 10):
        hit = ranks <= k
        expected[f"hr@{k}[sampled=99]"] = by_user(users, lambda u: hit[u].mean())
        expected[f"p@{k}[sampled=99]"] = by_user(users, lambda u: (hit[u] / k).mean())
        expected[f"mrr@{k}[sampled=99]"] = by_user(users, lambda u: (hit[u] / ranks[u]).mean())
        expected[f"ndcg@{k}[sampled=99]"] = by_user(users, lambda u: (hit[u] / np.log2(ranks[u] + 1)).mean())
    return {"users": users, "candidates": candidates, "positives": positives, "ranks": ranks, "expected": expected}


def macro_f1(truth, answers):
    values = []
    for c in np.unique(truth):
        tp = ((truth == c) & (answers == c)).sum()
        fp = ((truth != c) & (answers == c)).sum()
        fn = ((truth == c) & (answers != c)).sum()
        values.append(2 * tp / (2 * tp + fp + fn))
    return float(np.mean(values))


def classes(rng):
    """120 rows of 30 users in 5 classes; class 3 is never true, class 4 never the answer; ties, a true class of probability 0."""
    n, count = 120, 5
    users = rng.integers(0, 30, n) * 2
    truth = rng.choice([0, 1, 2, 4], n, p=[0.5, 0.2, 0.2, 0.1])
    counts = rng.multinomial(8, [0.3, 0.25, 0.2, 0.2, 0.05], n)
    counts[np.arange(n), truth] += rng.integers(0, 3, n)
    counts[:, 4] = np.minimum(counts[:, 4], counts[:, :4].max(axis=1))
    p = counts / counts.sum(axis=1, keepdims=True)
    of_truth = p[np.arange(n), truth]
    answers = np.array([min(c for c in range(count) if row[c] == row.max()) for row in p])
    expected = {
        "accuracy": float((answers == truth).mean()),
        "macro_f1": macro_f1(truth, answers),
        "log_loss": float(-np.log(np.maximum(of_truth, 1e-15)).mean()),
    }
    return {"users": users, "classes": truth, "count": count, "probabilities": p, "expected": expected}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return float(value) if isinstance(value, np.floating) else value


if __name__ == "__main__":
    rng = np.random.default_rng(20240607)
    golden = {"clicks": clicks(rng), "ratings": ratings(rng), "ranking": ranking(rng), "classes": classes(rng)}
    path = Path(__file__).parent / "golden" / "metrics.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(plain(golden), separators=(",", ":")) + "\n")
