"""Writes golden/user_model.json: Bayesian models of a user's ratings, by direct definition (NumPy, double precision; every linear system is dense and solved at once).

With y = (r - mean) / scale, d_u what is known of the user (1 in front), c_i the content of the item (1 in front), ridge(X, Y, w, l) = (X' diag(w) X + diag(l))^-1 X' diag(w) Y:

fold_in      y_ui = b_i + q_i z_u + e, e ~ N(0, s2), z_u ~ N(D d_u, I), (b, q)_i ~ N(C c_i, s2 diag(1 / rows)). A sweep:
               A_u = I + sum (q q' + C_qq) / s2, z_u = A_u^-1 (D d_u + sum (q (y - b) - C_qb) / s2), V_u = A_u^-1; D = ridge(d, z)
               (b, q)_i = (S + diag(rows))^-1 (sum (1, z) y + rows C c_i), S = sum (1, z)(1, z)' + V_u
               s2 = mean of E (y - (1, z) (b, q))^2; C = ridge(c, (b, q), n / (n + content_rows)); an item without ratings is C c_i
             Start: b = sum y / (n + 10), q = 0.36 and v_j sqrt(l_j / users), v and sqrt(l) the right singular vectors and singular values of what levels leave over
             (y - b_i - b_u, b_u = sum (y - b_i) / (n + 5), 0 where there is no rating), the largest entry of each v positive; s2 = 0.64, C c_i = (0, 0.36, 0..), D = 0.
             The noise of an item without ratings is greater by the mean of (b - C c)^2 over the others.
variational  the same with C_i = (S / s2 + T)^-1 in place of 0, (b, q)_i = C_i (sum (1, z) y / s2 + T C c_i), and T one for levels, one for first loadings, one for all others:
             1 / mean of (b, q - C c)^2 + diag C_i over rated items, at first `level_rows` and `loading_rows`; the noise of an item without ratings is greater by 1 / T_b.
regression   y_ui = x_i w_u + e, w_u ~ N(B d_u, Sigma), x = (1, b, q, narrow content). A sweep: w_u and V_u the posterior's mean and covariance, B = ridge(d, w),
             Sigma = mean of (w - B d)(w - B d)' + V, s2 = mean of (y - x w)^2 + x' V x. Start: Sigma = I / 10, B 0 but 1 for b, s2 that of fold_in. Sigma^-1 is of Sigma + 1e-9 max diag.
sets         d_u with sum t_j / sqrt(10 n) and ln(1 + n) - 3 of the n items rated, t = q / root mean square of q over rated items. In sweep s user u shows SHOWN[(u + s) % 9] of them,
             those whose normal number (a hash of u and of the rating's place) is lowest.
kernel       K_ij = sum_u e_ui e_uj / sqrt((n_i + n_0)(n_j + n_0)), 0 for i = j, e what y exceeds what the user's other ratings let expect. Features sqrt(weight l_k) v_k of the largest l, Sigma = I.
logistic     P(1) = 1 / (1 + exp(-x w)); w_u is the mode, V_u the inverse curvature there, s2 absent.
shares       of a mixture bias + g (model - bias): g = sum (r - bias)(model - bias) / sum (model - bias)^2 in 0..1 (1 of 0 / 0), with n rows n / (n + 50) of it and the rest of the size before;
             between two sizes linear in ln(1 + ratings).

The file has a layout of its own: `data`, and `cases` with `config` and `outputs` (tensors as shape and flat data; the name of their data, if any, under `data`).

Run: python reference/user_model.py    Needs: numpy
"""

import json
from pathlib import Path

import numpy as np

MASK, STEP, ONE, TWO = 2**64 - 1, 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
SHOWN = [0, 1, 3, 5, 10, 20, 30, 50, 10**9]
SIZES = [0, 1, 3, 5, 10, 20, 50]
USERS, NARROW, WIDE, PEOPLE, FACTORS = 40, 6, 5, 4, 3
# Ratings shown to a model; the longest are solved for by features in the product, the others by rows.
PREFIXES = [0, 1, 6, 34]
FIT = {"factors": FACTORS, "sweeps": 10, "level_rows": 2.0, "loading_rows": 5.0, "content_rows": 10.0, "content_penalty": 3.0, "people_penalty": 4.0}
REGRESSION = {"sweeps": 6, "people_penalty": 6.0, "sets": False, "kernel_rank": 0, "kernel_shrink": 5.0, "kernel_weight": 0.5, "link": "identity"}


def uniform(seed, a, b):
    """In (0, 1), by two rounds of SplitMix64."""
    x = ((seed * STEP) & MASK) ^ ((a * ONE) & MASK) ^ ((b * TWO) & MASK)
    for _ in range(2):
        x = (x + STEP) & MASK
        x = ((x ^ (x >> 30)) * ONE) & MASK
        x = ((x ^ (x >> 27)) * TWO) & MASK
        x ^= x >> 31
    return ((x >> 11) + 0.5) / 2.0**53


def normal(seed, a, b):
    return np.sqrt(-2.0 * np.log(uniform(seed, a, 2 * b))) * np.cos(2.0 * np.pi * uniform(seed, a, 2 * b + 1))


def ridge(x, y, weights, penalties):
    return np.linalg.solve(x.T @ (weights[:, None] * x) + np.diag(penalties), x.T @ (weights[:, None] * y))


def with_one(x):
    return np.column_stack([np.ones(len(x)), x])


def oriented(v):
    """Each column with its largest entry positive."""
    return v * np.sign(v[np.abs(v).argmax(axis=0), np.arange(v.shape[1])])


class Data:
    """Ratings in the order of users, content, people, and an asking user. Of the items the first `rated` have ratings."""

    def __init__(self, name, seed, items, rated):
        self.name, self.items, self.narrow, rng = name, items, NARROW, np.random.default_rng(seed)
        grid = lambda x: np.round(x * 256.0) / 256.0
        values = np.hstack([np.ones((items + 1, NARROW)), grid(rng.normal(size=(items + 1, WIDE)))])
        content = np.where(rng.random(values.shape) < 0.45, values, 0.0)
        # After the items come two that are not fitted to: one with content, one with none.
        self.content = np.vstack([content, np.zeros(NARROW + WIDE)])
        people = np.column_stack([np.ones(USERS + 1), rng.random(USERS + 1) < 0.5, grid(rng.normal(size=(USERS + 1, PEOPLE - 2)))])
        self.people, self.asking = people[:USERS], people[USERS]
        q = np.array([2.2, 1.4, 0.8]) * (content @ rng.normal(size=(NARROW + WIDE, FACTORS)) / 2.0 + 0.6 * rng.normal(size=(items + 1, FACTORS)))
        b = content @ rng.normal(size=NARROW + WIDE) / 4.0 + 0.4 * rng.normal(size=items + 1)
        z = people @ rng.normal(size=(PEOPLE, FACTORS)) / 3.0 + 0.8 * rng.normal(size=(USERS + 1, FACTORS))
        truth = 3.3 + b + 0.5 * rng.normal(size=(USERS + 1, 1)) + 0.6 * z @ q.T + 0.4 * rng.normal(size=(USERS + 1, items + 1))
        r = np.clip(np.round(truth), 1, 5)
        # One user rates nothing, the last ones little.
        many = [0 if u == 7 else rng.integers(1, 4) if u >= USERS - 4 else rng.integers(rated // 3, rated) for u in range(USERS)]
        self.rows = [[int(i) for i in rng.permutation(rated)[:n]] for n in many]
        self.ratings = [r[u, row] for u, row in enumerate(self.rows)]
        # An item without ratings is third, one that is not fitted to eighth; then all come again.
        some = [int(i) for i in rng.permutation(rated)]
        self.shown = (3 * [*some[:2], rated + 1, *some[2:6], items, *some[6:]])[: PREFIXES[-1]]
        self.answers = r[USERS, self.shown]
        self.counts = np.bincount(np.concatenate(self.rows).astype(int), minlength=items)

    def clicks(self):
        """The same with the label 1 for ratings of at least 4."""
        other = object.__new__(Data)
        other.__dict__ = self.__dict__ | {"ratings": [(r >= 4) * 1.0 for r in self.ratings], "answers": (self.answers >= 4) * 1.0}
        return other

    def units(self):
        every = np.concatenate(self.ratings)
        return every.mean(), every.std()


class FoldIn:
    def __init__(self, data, config):
        self.mean, self.scale = data.units()
        variational, m = config["variational"], config["factors"] + 2
        y = [(r - self.mean) / self.scale for r in data.ratings]
        raters = [[(u, row.index(i)) for u, row in enumerate(data.rows) if i in row] for i in range(data.items)]
        n, total, users, others = data.counts, data.counts.sum(), len(data.rows), len(data.content) - data.items
        content, rated = with_one(data.content[: data.items]), n > 0
        level = np.array([sum(y[u][at] for u, at in of) / (len(of) + 10.0) for of in raters])
        left = np.zeros((users, data.items))
        for u, row in enumerate(data.rows):
            rest = y[u] - level[row]
            left[u, row] = rest - rest.sum() / (len(row) + 5.0)
        _, size, v = np.linalg.svd(left)
        self.singular_values = size
        self.items = np.column_stack([level, np.full(data.items, 0.36), oriented(v[: m - 2].T) * size[: m - 2] / np.sqrt(users)])
        self.noise, self.people, self.covariances = 0.64, np.zeros((data.people.shape[1], m - 1)), np.zeros((data.items, m, m))
        self.more_noise, self.unseen_noise = np.zeros(len(data.content)), 0.0
        prior = np.tile(np.r_[0.0, 0.36, np.zeros(m - 2)], (data.items, 1))
        strength = np.r_[config["level_rows"], np.full(m - 1, config["loading_rows"])]
        for _ in range(config["sweeps"]):
            known = [self.posterior(data.people[u] @ self.people, self.items[row], self.covariances[row], np.zeros(len(row)), y[u]) for u, row in enumerate(data.rows)]
            z = np.array([mean for mean, _ in known])
            self.people = ridge(data.people, z, np.ones(users), np.r_[0.0, np.full(data.people.shape[1] - 1, config["people_penalty"])])
            items, covariances, squares = [], [], 0.0
            for i, of in enumerate(raters):
                rows = [(np.r_[1.0, z[u]], np.pad(known[u][1], ((1, 0), (1, 0))), y[u][at]) for u, at in of]
                s = sum((np.outer(one, one) + v for one, v, _ in rows), np.zeros((m, m)))
                h = sum((one * value for one, _, value in rows), np.zeros(m))
                t = np.diag(strength if variational else strength / self.noise)
                inverse = np.linalg.inv(s / self.noise + t)
                item = inverse @ (h / self.noise + t @ prior[i])
                kept = inverse if variational else np.zeros((m, m))
                for one, v, value in rows:
                    squares += (value - one @ item) ** 2 + item @ v @ item + np.trace(kept @ (np.outer(one, one) + v))
                items.append(item)
                covariances.append(kept)
            self.items, self.covariances, self.noise = np.array(items), np.array(covariances), squares / total
            if variational:
                missed = ((self.items - prior) ** 2 + np.diagonal(self.covariances, axis1=1, axis2=2))[rated]
                strength = 1.0 / np.r_[missed[:, 0].mean(), missed[:, 1].mean(), np.full(m - 2, missed[:, 2:].mean())]
            self.content = ridge(content, self.items, n / (n + config["content_rows"]), np.r_[0.0, np.full(data.content.shape[1], config["content_penalty"])])
            prior = content @ self.content
            self.items[~rated], self.covariances[~rated] = prior[~rated], 0.0
        self.unseen_noise = 1.0 / strength[0] if variational else ((self.items - prior)[rated, 0] ** 2).mean()
        # With those that were not fitted to.
        self.every = np.vstack([self.items, with_one(data.content[data.items :]) @ self.content])
        self.more_noise = np.where(np.r_[n, np.zeros(others)] > 0, 0.0, self.unseen_noise)
        self.every_covariance = np.concatenate([self.covariances, np.zeros((others, m, m))])

    def posterior(self, prior, items, covariances, more_noise, y):
        """Mean and covariance of z."""
        w = 1.0 / (self.noise + more_noise)
        b, q = items[:, 0], items[:, 1:]
        a = np.eye(len(prior)) + np.einsum("i,ik,il->kl", w, q, q) + np.einsum("i,ikl->kl", w, covariances[:, 1:, 1:])
        mean = np.linalg.solve(a, prior + q.T @ (w * (y - b)) - covariances[:, 1:, 0].T @ w)
        return mean, np.linalg.inv(a)

    def answer(self, data, k):
        """z of the asking user after k ratings, then mean and variance of the ratings of all items."""
        shown, y = data.shown[:k], (data.answers[:k] - self.mean) / self.scale
        z, v = self.posterior(data.asking @ self.people, self.every[shown], self.every_covariance[shown], self.more_noise[shown], y)
        b, q = self.every[:, 0], self.every[:, 1:]
        variance = self.noise + self.more_noise + np.einsum("ik,kl,il->i", q, v, q)
        return z, self.mean + self.scale * (b + q @ z), self.scale**2 * variance


class Regression:
    def __init__(self, data, body, config):
        self.logistic, self.body = config["link"] == "logistic", body
        self.mean, self.scale = (0.0, 1.0) if self.logistic else data.units()
        x = np.column_stack([np.ones(len(data.content)), body.every, data.content[:, : data.narrow]])
        m, rated, others = x.shape[1], data.counts > 0, np.zeros(len(data.content) - data.items, dtype=bool)
        unit = np.sqrt((body.items[rated, 1:] ** 2).mean(axis=0))
        self.t = np.where(np.r_[rated, others][:, None], body.every[:, 1:] / unit, 0.0) if config["sets"] else None
        y = [(r - self.mean) / self.scale for r in data.ratings]
        self.x, self.noise, self.covariance = x, body.noise, np.eye(m) / 10.0
        width = data.people.shape[1] + (self.t.shape[1] + 1 if config["sets"] else 0)
        self.people = np.zeros((width, m))
        self.people[0, 1] = 1.0
        penalties = np.r_[1e-6, np.full(width - 1, config["people_penalty"])]
        for sweep in range(config["sweeps"]):
            known = np.array([np.r_[data.people[u], self.set_features(self.part(u, row, sweep))] for u, row in enumerate(data.rows)])
            users = [self.posterior(known[u] @ self.people, x[row], self.noise, y[u]) for u, row in enumerate(data.rows)]
            w = np.array([mean for mean, _ in users])
            self.people = ridge(known, w, np.ones(len(w)), penalties)
            rest = w - known @ self.people
            self.covariance = np.mean([np.outer(e, e) + v for e, (_, v) in zip(rest, users)], axis=0)
            if not self.logistic:
                squares = [(y[u] - x[row] @ w[u]) ** 2 + np.einsum("ik,kl,il->i", x[row], users[u][1], x[row]) for u, row in enumerate(data.rows)]
                self.noise = np.concatenate(squares).mean()
        self.core = self.covariance
        if config["kernel_rank"] > 0:
            self.add_kernel(data, y, config)

    def add_kernel(self, data, y, config):
        rank, e = config["kernel_rank"], np.zeros((len(data.rows), data.items))
        for u, row in enumerate(data.rows):
            prior = np.r_[data.people[u], self.set_features(row)] @ self.people
            for at, i in enumerate(row):
                others = row[:at] + row[at + 1 :]
                w, _ = self.posterior(prior, self.x[others], self.noise, np.delete(y[u], at))
                e[u, i] = y[u][at] - self.x[i] @ w
        e /= np.sqrt(data.counts + config["kernel_shrink"])
        k = e.T @ e
        np.fill_diagonal(k, 0.0)
        self.eigenvalues, v = np.linalg.eigh(k)
        self.eigenvalues, v = self.eigenvalues[::-1], v[:, ::-1]
        # One that no rating touches is left alone, though the eigenvalue 0 may have any vector.
        added = v[:, :rank] * np.sqrt(config["kernel_weight"] * np.maximum(self.eigenvalues[:rank], 0.0)) * (data.counts > 0)[:, None]
        self.kernel = added @ added.T
        self.x = np.column_stack([self.x, np.vstack([added, np.zeros((len(data.content) - data.items, rank))])])
        self.people = np.column_stack([self.people, np.zeros((len(self.people), rank))])
        self.covariance = np.block([[self.core, np.zeros((len(self.core), rank))], [np.zeros((rank, len(self.core))), np.eye(rank)]])

    def part(self, u, row, sweep):
        """The items that a user shows to the set features of a sweep."""
        order = sorted(range(len(row)), key=lambda at: int(normal(1, u, at) * 1e9))
        return [row[at] for at in order[: SHOWN[(u + sweep) % len(SHOWN)]]]

    def set_features(self, items):
        if self.t is None:
            return []
        t = [self.t[i] for i in items if self.t[i].any()]
        return np.r_[np.sum(t, axis=0) / np.sqrt(10.0 * len(t)) if t else np.zeros(self.t.shape[1]), np.log(1.0 + len(t)) - 3.0]

    def posterior(self, prior, x, noise, y):
        """Mean and covariance of w: for ratings from the covariance of what is observed, for clicks at the mode."""
        if self.logistic:
            precision, w = np.linalg.inv(self.covariance + 1e-9 * self.covariance.diagonal().max() * np.eye(len(prior))), prior
            for _ in range(50):
                p = 1.0 / (1.0 + np.exp(-x @ w))
                curvature = precision + x.T @ ((p * (1.0 - p))[:, None] * x)
                gradient = x.T @ (y - p) - precision @ (w - prior)
                w = w + np.linalg.solve(curvature, gradient)
            assert np.abs(gradient).max() < 1e-9 * max(1.0, np.abs(precision).max()), "Newton's method has not converged"
            return w, np.linalg.inv(curvature)
        spread = self.covariance @ x.T
        gain = np.linalg.solve(x @ spread + np.eye(len(y)) * noise, spread.T).T
        return prior + gain @ (y - x @ prior), self.covariance - gain @ spread.T

    def answer(self, data, k):
        """w of the asking user after k ratings, then mean and variance of the ratings of all items (of clicks: of the logit)."""
        shown, y = data.shown[:k], (data.answers[:k] - self.mean) / self.scale
        prior = np.r_[data.asking, self.set_features(shown)] @ self.people
        w, v = self.posterior(prior, self.x[shown], self.noise + self.body.more_noise[shown], y)
        variance = np.einsum("ik,kl,il->i", self.x, v, self.x) + (0.0 if self.logistic else self.noise + self.body.more_noise)
        return w, self.mean + self.scale * self.x @ w, self.scale**2 * variance


def answers(model, data, coefficients):
    """What a model says at each of the prefixes; `coefficients` where those of the user are comparable."""
    found = {}
    for k in PREFIXES:
        own, mean, variance = model.answer(data, k)
        found |= {f"mean_{k}": mean, f"variance_{k}": variance} | ({f"user_{k}": own} if coefficients else {})
    return found


def fold_in_case(name, data, **changes):
    config = FIT | {"variational": False} | changes
    body = FoldIn(data, config)
    outputs = {"items": body.items, "content": body.content, "people": body.people, "noise": body.noise, "unseen_noise": body.unseen_noise}
    outputs |= {"covariances": body.covariances} if config["variational"] else {}
    return {"name": name, "data": data.name, "config": config, "outputs": outputs | answers(body, data, True)}


def regression_case(name, data, **changes):
    config = REGRESSION | changes
    fit = Regression(data, FoldIn(data, FIT | {"variational": False}), config)
    kernel = config["kernel_rank"] > 0
    outputs = {"people": fit.people[:, : len(fit.core)], "covariance": fit.core} | ({} if fit.logistic else {"noise": fit.noise})
    return {"name": name, "data": data.name, "config": config, "outputs": outputs | ({"kernel": fit.kernel} if kernel else {}) | answers(fit, data, not kernel)}


def share_case():
    """Rows judged at each size: none at one of them, a model that is the bias at another, one that is wrong, one that is timid."""
    rng = np.random.default_rng(31)
    judged, shares, loss = [], [], 0.0
    for rows, truth in zip([30, 60, 0, 80, 20, 45, 10], [0.2, 0.6, 0.5, -0.4, None, 1.7, 0.8]):
        bias = rng.normal(size=rows)
        said = bias if truth is None else bias + rng.normal(size=rows)
        r = bias + (truth or 0.0) * (said - bias) + 0.5 * rng.normal(size=rows)
        weight = rng.uniform(0.5, 3.0, size=rows)
        square = (weight * (said - bias) ** 2).sum()
        best = min(max((weight * (r - bias) * (said - bias)).sum() / square, 0.0), 1.0) if square > 0 else 1.0
        share = (rows * best + 50.0 * (shares[-1] if shares else best)) / (rows + 50.0)
        shares.append(share)
        loss += np.average((bias + share * (said - bias) - r) ** 2, weights=weight) if rows else 0.0
        judged.append(np.column_stack([bias, said, r, weight]))
    asked = [0, 1, 2, 3, 4, 7, 10, 15, 30, 49, 50, 80, 1000]
    between = np.interp(np.log1p(asked), np.log1p(SIZES), shares)
    inputs = {f"judged_{k}": rows for k, rows in zip(SIZES, judged)} | {"asked": asked}
    return {"name": "shares", "config": {}, "inputs": inputs, "outputs": {"shares": shares, "loss": loss, "between": between}}


def levels_case(data):
    """The bias model: b_i = sum (r - mean) / (n + 10), b_u = sum (r - mean - b_i) / (n + 5)."""
    mean, items = data.units()[0], np.zeros(data.items)
    for row, r in zip(data.rows, data.ratings):
        items[row] += r - mean
    items /= data.counts + 10.0
    users = [(r - mean - items[row]).sum() / (len(row) + 5.0) for row, r in zip(data.rows, data.ratings)]
    return {"name": "levels", "data": data.name, "config": {}, "outputs": {"items": items, "users": users}}


def inputs(data):
    rows = [(u, i, r) for u, (row, of) in enumerate(zip(data.rows, data.ratings)) for i, r in zip(row, of)]
    return tensors({"ratings": rows, "content": data.content, "people": data.people, "asking": data.asking, "shown": np.column_stack([data.shown, data.answers])})


def build():
    # So many items that the product's iteration for eigenvectors holds all of them, whatever the rank that is asked for.
    data, small = Data("films", 7, 30, 26), Data("few_films", 4, 16, 13)
    cases = [
        fold_in_case("plain", data),
        fold_in_case("variational", data, variational=True),
        regression_case("regression", data),
        regression_case("sets", data, sets=True),
        regression_case("kernel", small, sets=True, kernel_rank=4),
        regression_case("kernel_of_every_sign", data, kernel_rank=20),
        regression_case("clicks", data.clicks(), link="logistic"),
        share_case(),
        levels_case(data),
    ]
    return {
        "name": "user_model",
        "about": "Bayesian models of a user's ratings. Formulas in reference/user_model.py.",
        "data": {of.name: {"users": USERS, "items": of.items, "narrow": of.narrow, "prefixes": PREFIXES} | inputs(of) for of in (data, small)},
        "cases": [case | {"inputs": tensors(case.get("inputs", {})), "outputs": tensors(case["outputs"])} for case in cases],
    }


def tensors(values):
    """JSON form: flat and row-major."""
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
    return {name: {"shape": list(a.shape), "data": a.ravel().tolist()} for name, a in arrays.items()}


if __name__ == "__main__":
    text = json.dumps(build(), separators=(",", ":"), allow_nan=False).replace('{"name":', '\n{"name":')
    (Path(__file__).parent / "golden" / "user_model.json").write_text(text.lstrip() + "\n")
