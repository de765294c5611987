"""Writes golden/bridge.json: bridges between two domains, by direct definition (NumPy and PyTorch, double precision; every matrix is dense, gradients are those of autograd).

X, T are the source and target rows of all people, 1 or a rating where there is one; n the number of people with an item. For a person with source row x and shown target row t:

popularity   n_j; of shared people: those of them with j, + 1e-9 n_j
item_knn     sum_i both(i, j) / (sqrt(n_i) (sqrt(n_j) + c)) over items i of x and of t, + 1e-9 n_j
user_knn     over shared v: cos(x W, x_v W) t_v / sqrt(|t_v|), W = diag(n^-1/4), + 1e-9 n_j
ridge        with A = X diag(n^-alpha), T of shared people and m their mean: (A x)' (A A' + lambda tr(A A') / people I)^-1 (T - m) + m
factors      clicks:  sum c (p - x y)^2 + lambda (n_u + a I) |x_u|^2 + lambda (n_i + a U) |y_i|^2, c = 1 with p = 1 where there is a row, else c = a with p = 0
             ratings: sum over rows (r - o_i - x y)^2 + lambda n_u |x_u|^2 + lambda n_i |y_i|^2; o_i the mean, or with biases mean + b_i, and then y_i1 = 1
             alternating, people first; y starts at 0.1 normal(seed, item, k); people and items without rows are 0 (y_i1 stays 1)
biases       b_i = sum (r - mean - b_u) / (n_i + l_i), then b_u likewise, from 0, 15 times
bias_bridge  mean + b_j + b_u, b_u = (sum over t (r - mean - b_j) + s (alpha source level + c)) / (|t| + s); alpha, c by least squares over shared people;
             s = pooled variance of residuals inside people / mean over rows of (mean residual^2 - variance / n)
mapped       u -> f(u): see `apply`; learned from shared people but a tenth that is held out, in the order of uniform(seed, person, 7). Linear from vectors: ridge of
             0.01, 0.1, 1 or 10 mean squares of an input, constant free, the best on the held out; all others: Adam (0.9, 0.999) on batches of 64, order of
             uniform(seed, epoch + 100, place), the values after the best epoch on the held out. tmcdr: d/dW loss_b(W - rate d/dW loss_a(W)), halves a and b of a batch.
mixture      experts fitted without the target rows of judges (shared people by uniform(seed, person, 11), every third of them at a time); P_e = max(s, 0)^g / sum, g = 1 to 4, and the uniform one;
             shares maximise the mean over judges of the mean log of the mixture at what they have, items shown left out of all distributions; then (1 - l) shares + l on one expert,
             l = 0.5 or 0.95, power 1, is taken instead if the mean reciprocal rank of judges is higher by two standard errors of the paired difference

Run: python reference/bridge.py    Needs: numpy, torch
"""

import json
from pathlib import Path

import numpy as np
import torch

from user_model import normal, uniform

torch.set_default_dtype(torch.float64)
PEOPLE, SHARED, SOURCE, TARGET = 240, 180, 14, 12
D, SWEEPS = 3, 5


def draw():
    """Clicks and ratings of people with tastes: some items of the source, and of the target where they are known."""
    rng = np.random.default_rng(3)
    taste, items = rng.normal(size=(PEOPLE, 2)), [rng.normal(size=(n, 2)) for n in (SOURCE, TARGET)]
    clicks, ratings = [], []
    for side, vectors in enumerate(items):
        liking = taste @ vectors.T + rng.normal(size=(PEOPLE, len(vectors)))
        has = liking > np.quantile(liking, 0.66)
        if side == 1:
            has[SHARED:] &= rng.random((PEOPLE - SHARED, TARGET)) < 0.0
        else:
            has[:: 7] &= rng.random((len(has[::7]), SOURCE)) < 0.5
        stars = np.clip(np.round(3.5 + 0.7 * liking + 0.4 * taste[:, :1]), 1, 5)
        clicks.append(has.astype(float))
        ratings.append(np.where(has, stars, 0.0))
    return clicks, ratings


def shared(pair):
    return [u for u in range(PEOPLE) if pair[0][u].any() and pair[1][u].any()]


def popularity(pair, of_shared):
    n = (pair[1] != 0).sum(0).astype(float)
    return (pair[1][shared(pair)] != 0).sum(0) + 1e-9 * n if of_shared else n


def item_knn(pair, shrink, x, t):
    has = [(rows != 0).astype(float) for rows in pair]
    n = has[1].sum(0)
    score = 1e-9 * n
    for rows, own in zip(has, (x, t)):
        both = rows.T @ has[1]
        for i in np.flatnonzero(own):
            score = score + both[i] / (np.sqrt(rows[:, i].sum()) * (np.sqrt(n) + shrink))
    return score


def user_knn(pair, x):
    has = [(rows != 0).astype(float) for rows in pair]
    w = np.maximum(has[0].sum(0), 1.0) ** -0.25
    score, own = 1e-9 * has[1].sum(0), (x != 0) * w
    for v in shared(pair):
        other = has[0][v] * w
        score = score + own @ other / (np.linalg.norm(own) * np.linalg.norm(other)) * has[1][v] / np.sqrt(has[1][v].sum())
    return score


def ridge(pair, damping, amount, x):
    w = np.maximum((pair[0] != 0).sum(0), 1.0) ** -damping
    a, t = pair[0][shared(pair)] * w, pair[1][shared(pair)]
    k = a @ a.T
    return (a @ (x * w)) @ np.linalg.solve(k + amount * np.trace(k) / len(k) * np.eye(len(k)), t - t.mean(0)) + t.mean(0)


def biases(rows, of_people, of_items):
    has = rows != 0
    mean = rows[has].mean()
    b_u, b_i = np.zeros(len(rows)), np.zeros(rows.shape[1])
    for _ in range(15):
        b_i = np.where(has, rows - mean - b_u[:, None], 0).sum(0) / np.maximum(has.sum(0) + of_items, 1e-9)
        b_u = np.where(has, rows - mean - b_i, 0).sum(1) / (has.sum(1) + of_people)
    return mean, b_u, b_i


class Factors:
    def __init__(self, rows, lam, seed, unobserved=None, with_biases=False):
        self.a, self.lam = unobserved, lam
        has = rows != 0
        items = np.array([[0.1 * normal(seed, i, k) for k in range(D)] for i in range(rows.shape[1])])
        self.offset = np.zeros(rows.shape[1])
        if unobserved is None:
            if with_biases:
                items[:, 0] = 1.0
                mean, _, b_i = biases(rows, 4.0, 4.0)
                self.offset = mean + b_i
            else:
                self.offset[:] = rows[has].mean()
        y = np.where(has, rows - self.offset, 0.0)
        self.items = items
        for _ in range(SWEEPS):
            people = self.half(has, y, self.items)
            if with_biases:
                rest = y - np.where(has, people[:, :1], 0.0)
                solved = self.half(has.T, rest.T, people[:, 1:])
                self.items = np.c_[np.ones(len(solved)), solved]
            else:
                self.items = self.half(has.T, y.T, people)

    def half(self, has, y, other):
        return np.array([self.solve(h, v, other) for h, v in zip(has, y)])

    def solve(self, has, y, other):
        k = other.shape[1]
        if not has.any():
            return np.zeros(k)
        weight, extra = has.astype(float), has.sum() * 1.0
        if self.a is not None:
            weight, extra = np.where(has, 1.0, self.a), has.sum() + self.a * len(other)
        return np.linalg.solve(other.T @ (weight[:, None] * other) + self.lam * extra * np.eye(k), other.T @ np.where(has, y, 0.0))

    def part(self, start, end):
        part = object.__new__(Factors)
        part.a, part.lam, part.items, part.offset = self.a, self.lam, self.items[start:end], self.offset[start:end]
        return part

    def fold(self, row):
        return self.solve(row != 0, np.where(row != 0, row - self.offset, 0.0), self.items)

    def score(self, x):
        return self.offset + self.items @ x


def start(layers, seed):
    values = []
    for l, (out, into) in enumerate(layers):
        bound = 1.0 / np.sqrt(into - 1)
        flat = [0.0 if at % into == into - 1 else (2.0 * uniform(seed, l + 1, at) - 1.0) * bound for at in range(out * into)]
        values.append(torch.tensor(flat).reshape(out, into))
    return values


def affine(w, x):
    return w[:, :-1] @ x + w[:, -1]


def apply(kind, w, u, history):
    if kind == "linear":
        return affine(w[0], u)
    if kind == "network":
        return affine(w[1], torch.tanh(affine(w[0], u)))
    logits = torch.stack([affine(w[1], torch.relu(affine(w[0], v)))[0] for v in history])
    p = (torch.softmax(logits, 0)[:, None] * history).sum(0)
    return affine(w[3], torch.relu(affine(w[2], p))).reshape(D, D) @ u


def learn(pair, source, target, kind, rows, seed, hidden=None, inner=None, epochs=3, rate=0.01):
    """Gives f as a function of a source row."""
    clicks = target.a is not None
    liked = 0.0 if clicks else pair[0][pair[0] != 0].mean()

    def read(row):
        own = sorted((i for i in np.flatnonzero(row) if row[i] >= liked), key=lambda i: uniform(42, int(i), 0))[:20]
        return torch.tensor(source.fold(row)), torch.tensor(source.items[own] if own else np.zeros((1, D)))

    def loss_of(row):
        has, y = row != 0, torch.tensor(np.where(row != 0, row - target.offset, 0.0))
        items, weight = torch.tensor(target.items), torch.tensor(np.where(has, 1.0, target.a if clicks else 0.0))
        if not rows:
            wanted = torch.tensor(target.fold(row))
            return lambda x: ((x - wanted) ** 2).sum()
        return lambda x: (weight * (y - items @ x) ** 2).sum() / has.sum()

    layers = {"linear": [[D, D + 1]], "network": [[hidden, D + 1], [D, (hidden or 0) + 1]], "personal": [[D, D + 1], [1, D + 1], [hidden, D + 1], [D * D, (hidden or 0) + 1]]}[kind]
    w = start(layers, seed)
    people = sorted(shared(pair), key=lambda u: uniform(seed, u, 7))
    cut = len(people) // 10
    held, learned = ([(read(pair[0][u]), loss_of(pair[1][u])) for u in part] for part in (people[:cut], people[cut:]))
    mean_loss = lambda w, part: sum(goal(apply(kind, w, *x)) for x, goal in part) / len(part)
    if kind == "linear" and not rows:
        x = torch.stack([torch.cat([u, torch.ones(1)]) for (u, _), _ in learned])
        t = torch.tensor(np.array([target.fold(pair[1][u]) for u in people[cut:]]))
        size = (x[:, :-1] ** 2).sum() / D
        maps = []
        for amount in (0.01, 0.1, 1.0, 10.0):
            extra = torch.diag(torch.tensor([1.0] * D + [0.0])) * amount * size
            maps.append([torch.linalg.solve(x.T @ x + extra, x.T @ t).T])
        w = min(maps, key=lambda w: float(mean_loss(w, held)))
    else:
        m, v = [torch.zeros_like(p) for p in w], [torch.zeros_like(p) for p in w]
        best, step = (float(mean_loss(w, held)), w), 0
        for epoch in range(epochs):
            order = sorted(range(len(learned)), key=lambda i: uniform(seed, epoch + 100, i))
            for at in range(0, len(order), 64):
                batch = [learned[i] for i in order[at : at + 64]]
                w = [p.detach().requires_grad_(True) for p in w]
                if inner is None:
                    g = torch.autograd.grad(mean_loss(w, batch), w)
                else:
                    half = len(batch) // 2
                    first = torch.autograd.grad(mean_loss(w, batch[:half]), w, create_graph=True)
                    g = torch.autograd.grad(mean_loss([p - inner * d for p, d in zip(w, first)], batch[half:]), w)
                step += 1
                for k, d in enumerate(g):
                    m[k], v[k] = 0.9 * m[k] + 0.1 * d, 0.999 * v[k] + 0.001 * d * d
                    w[k] = w[k].detach() - rate * (m[k] / (1 - 0.9**step)) / ((v[k] / (1 - 0.999**step)).sqrt() + 1e-8)
            loss = float(mean_loss(w, held))
            if loss < best[0]:
                best = (loss, w)
        w = best[1]
    return lambda row: apply(kind, w, *read(row)).detach().numpy()


def bias_bridge(pair, of_people, of_items):
    (m_s, u_s, i_s), (m_t, u_t, i_t) = biases(pair[0], of_people, of_items), biases(pair[1], of_people, of_items)
    both = shared(pair)
    slope, level = np.polyfit(u_s[both], u_t[both], 1)
    within = freedom = 0.0
    means = []
    for u in both:
        has = pair[1][u] != 0
        rest = pair[1][u][has] - m_t - i_t[has] - slope * u_s[u] - level
        within, freedom = within + ((rest - rest.mean()) ** 2).sum(), freedom + len(rest) - 1
        means.append((rest.mean(), len(rest)))
    variance = within / freedom
    between = sum(n * (m * m - variance / n) for m, n in means) / sum(n for _, n in means)
    weight = variance / between

    def score(x, t):
        own = x != 0
        prior = slope * (x[own] - m_s - i_s[own]).sum() / (own.sum() + of_people) + level
        shown = t != 0
        return m_t + i_t + ((t[shown] - m_t - i_t[shown]).sum() + weight * prior) / (shown.sum() + weight)

    return [slope, level, weight], score


def experts(pair, lam, a, seed):
    both = Factors(np.c_[pair[0], pair[1]], lam, seed, a)
    source, target = both.part(0, SOURCE), both.part(SOURCE, None)
    f = learn(pair, source, target, "linear", False, seed)
    nothing = np.zeros(SOURCE), np.zeros(TARGET)

    def say(x, t):
        scores = [ridge(pair, 0.0, 5.0, x), ridge(pair, 0.25, 10.0, x), ridge(pair, 0.5, 20.0, x), user_knn(pair, x), item_knn(pair, 2.0, x, t), item_knn(pair, 10.0, x, t), item_knn(pair, 50.0, x, t),
                  item_knn(pair, 10.0, nothing[0], t),
                  target.score(f(x)), both.score(both.fold(np.r_[x, t]))[SOURCE:], popularity(pair, False), popularity(pair, True)]
        powers = np.maximum(np.repeat(scores, 4, axis=0), 0.0) ** np.tile([1, 2, 3, 4], len(scores))[:, None]
        sums = powers.sum(1, keepdims=True)
        return np.r_[np.where(sums > 0, powers / np.where(sums > 0, sums, 1.0), 1.0 / TARGET), np.full((1, TARGET), 1.0 / TARGET)]

    return say


def reciprocal_rank(score, own, shown):
    others = np.delete(score, own)
    return np.mean([1 / (1 + (others > score[i]).sum() + 0.5 * (others == score[i]).sum()) for i in own[shown:]])


def mixture(pair, lam, a, seed):
    people = sorted(shared(pair), key=lambda u: uniform(seed, u, 11))
    parts, final, shares = [], experts(pair, lam, a, seed), {}
    for part in range(3):
        judges = sorted(people[part::3])
        held = [pair[0], pair[1].copy()]
        held[1][judges] = 0.0
        parts.append((judges, experts(held, lam, a, seed)))
    for shown in (0, 1, 3, 5):
        said, lists = [], []
        for judges, says in parts:
            for u in judges:
                own = sorted(np.flatnonzero(pair[1][u]), key=lambda i: uniform(13, u, int(i)))
                if len(own) > shown:
                    t = np.zeros(TARGET)
                    t[own[:shown]] = 1.0
                    p = says(pair[0][u], t)
                    said.append(p[:, own[shown:]] / (1.0 - p[:, own[:shown]].sum(1, keepdims=True)))
                    lists.append((p, own, shown))
        if shown > 0 and len(said) < 50:
            break
        pi = np.full(len(said[0]), 1.0 / len(said[0]))
        for _ in range(2000):
            new = sum((pi[:, None] * p / (pi @ p)).mean(1) for p in said) / len(said)
            moved, pi = np.abs(new - pi).max(), new
            if moved < 1e-7:
                break
        choices = [pi] + [(1 - l) * pi + l * (np.arange(len(pi)) == 4 * e) for e in range((len(pi) - 1) // 4) for l in (0.5, 0.95)]
        gains = np.array([[reciprocal_rank(c @ p, own, k) for c in choices] for p, own, k in lists])
        gains = gains - gains[:, :1]
        best = 1 + gains[:, 1:].mean(0).argmax()
        shares[shown] = choices[best] if gains[:, best].mean() > 2 * gains[:, best].std() / np.sqrt(len(gains)) else pi
    return lambda x, t: shares[max(k for k in shares if k <= (t != 0).sum())] @ final(x, t)


def flat(values):
    values = np.asarray(values, dtype=float)
    return {"shape": list(values.shape), "data": values.reshape(-1).tolist()}


def build():
    clicks, ratings = draw()
    x, t = clicks[0][PEOPLE - 1], np.zeros(TARGET)
    t[[2, 5]] = 1.0
    r, s = ratings[0][PEOPLE - 1], np.zeros(TARGET)
    s[[2, 5]] = [4.0, 2.0]
    none = np.zeros(TARGET)
    out = {"popularity": popularity(clicks, False), "shared_popularity": popularity(clicks, True), "item_knn": item_knn(clicks, 2.0, x, t), "user_knn": user_knn(clicks, x),
           "ridge": ridge(clicks, 0.25, 5.0, x)}
    both = Factors(np.c_[clicks[0], clicks[1]], 0.05, 4, 0.1)
    out["joint"] = both.score(both.fold(np.r_[x, t]))[SOURCE:]
    source, target = both.part(0, SOURCE), both.part(SOURCE, None)
    for name, kind, rows, keys in [("emcdr", "linear", False, {}), ("emcdr_network", "network", False, {"hidden": 5}), ("tmcdr", "linear", True, {"inner": 0.02}),
                                   ("ptupcdr", "personal", True, {"hidden": 4})]:
        out[name] = target.score(learn(clicks, source, target, kind, rows, 4, **keys)(x))
    score = mixture(clicks, 0.05, 0.1, 4)
    out["mixture"], out["mixture_shown"] = score(x, none), score(x, t)
    line, level = bias_bridge(ratings, 4.0, 3.0)
    out |= {"line": line, "bias_bridge": level(r, none), "bias_bridge_shown": level(r, s)}
    for biased in (False, True):
        source, target = (Factors(rows, 0.1, 4, None, biased) for rows in ratings)
        name = "biases" if biased else "plain"
        out[f"rated_{name}"] = target.score(learn(ratings, source, target, "linear", False, 4)(r))
        out[f"rated_ptupcdr_{name}"] = target.score(learn(ratings, source, target, "personal", True, 4, hidden=4)(r))
    data = {name: flat(rows) for name, rows in zip(("clicks_source", "clicks_target", "ratings_source", "ratings_target"), clicks + ratings)}
    return data, {name: flat(values) for name, values in out.items()}


if __name__ == "__main__":
    data, outputs = build()
    file = {"name": "bridge", "about": __doc__.split("\n")[0], "data": data, "outputs": outputs}
    path = Path(__file__).parent / "golden" / "bridge.json"
    path.write_text(json.dumps(file, separators=(",", ":"), allow_nan=False) + "\n")
    print(f"bridge.json: {len(outputs)} tensors, {path.stat().st_size} bytes")
