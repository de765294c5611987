"""A new item is adapted to by one solve of a Bayesian model of ratings, from rows with codes: its features, and its scores.

Tasks are items; what is known of a user are the 1 and the codes of narrow features of users (up to 24 rows of the vocabulary), of the first row with the user's code; a row of code 0 is of nobody. The content of an item
is that of its task's first row: codes of narrow features of items, each a column of value 1, and of wider ones, value 1/2, those that at least three items have; code 0 is unknown everywhere.

With y = (r - mean) / scale, x = (1, z), c_i content with a 1 in front, ridge(X, Y, w, l) = (X' diag(w) X + diag(l))^-1 X' diag(w) Y:

users        z_u and V_u of the factorisation of reference/user_model.py after all ratings of the user, `regression` on the variational one; a user without is the prior D d_u with V = I and level 0
bias         mean + b_u + (sum (r - mean - b_u) + 5 w c_i) / (n + 5), b by five sweeps b_i = sum (r - mean - b_u) / (n + 2), b_u = sum (r - mean - b_i) / (n + 5);
             w = ridge(c, mean of r - mean - b_u, n / (n + 5), 5), no penalty on the 1
item         (b, q) = (S + R)^-1 (sum E[x] y + R C c), S = sum E[x x']
fold_in      C that of the factorisation, R = diag(5, 200, ..)
regression   R = s2 Sigma^-1, by four sweeps over items with ratings: (b, q) as above, C = ridge(c, (b, q), n / (n + 300), 5), Sigma = mean of ((b, q) - C c)((b, q) - C c)' + s2 (S + R)^-1 and 1e-9 max diag more on
             its diagonal, s2 = mean E (y - x (b, q))^2; start: C and s2 of the factorisation, Sigma = I / 10
raters       the same with sum (z_u - m) / s / (k + 10) of k raters beside c, penalty 3, m and s mean and root mean square of z over users; in sweep t item i shows SHOWN[(i + t) % 9] of them, those whose
             normal number (a hash of i and of the rating's place) is lowest
score        bias + g_k (body - bias) + h_k (raters - body), g = h = k / (k + 5) at the sizes 0, 1, 3, 5, 10, 20, 50 and linear in ln(1 + k) between them: fewer than ten items could be held out
clicks       the same of labels 0 and 1, then the logit of the score, held to a tenth of the overall rate from below and from above

Columns of `codes`: an age of users, the id of the item, a wide feature of items, one of the row, a narrow feature of items, the id of the user. The list `genres` is a narrow feature of items. Of the tasks to adapt to one has
no support row, one has no content, one was rated by people who are not known; what stands in padding rows is no zero.
"""

import numpy as np
import torch

import golden_file
from golden_file import Source, tensors
from user_model import FIT, SHOWN, SIZES, FoldIn, normal, ridge, uniform, with_one

ABOUT = "Scores of a new item by one solve, from rows with codes. Formulas in reference/acclimate_item.py."
AGE, ITEM, MAKER, DEVICE, COUNTRY, USER = range(6)
# Rows of each vocabulary; the genres are a list.
ROWS, GENRES = [4, 18, 40, 3, 4, 30], 6
NARROW, LEAST, WIDE_VALUE = ROWS[COUNTRY] + GENRES, 3, 0.5
WIDTH = NARROW + ROWS[MAKER]
FOLD_IN = FIT | {"factors": 3, "loading_rows": 20.0, "content_rows": 1000.0, "content_penalty": 5.0, "people_penalty": 100.0}
# The last user has a code but no row to fit to.
USERS, STRANGER = ROWS[USER] - 2, ROWS[USER] - 1


class World:
    """Users, items, and rows of them."""

    def __init__(self, source):
        self.source = source
        self.age = source.integers(ROWS[AGE], ROWS[USER])
        self.level, self.taste = source.normal(ROWS[USER], scale=0.4), source.normal(ROWS[USER], 3, scale=0.8)

    def item(self, code, known=True):
        source = self.source
        genres = [g for g in range(1, GENRES) if int(source.integers(3, 1)) == 0]
        maker, country = int(source.integers(9, 1)), int(source.integers(ROWS[COUNTRY], 1))
        about = (maker, country, genres) if known else (0, 0, [])
        return {"code": code, "about": about, "level": source.normal(1, scale=0.5) + 0.5 * len(genres) - 0.5, "q": source.normal(3, scale=0.8)}

    def row(self, user, item):
        """Codes, genres and the rating; user 0 is nobody."""
        maker, country, genres = item["about"]
        codes = [int(self.age[user]), item["code"], maker, int(self.source.integers(ROWS[DEVICE], 1)), country, user]
        rating = 3.25 + self.level[user] + item["level"] + self.taste[user] @ item["q"] + self.source.normal(1, scale=0.3)
        return codes, genres, float(torch.clamp(torch.round(rating), 1, 5))

    def some(self, n):
        """So many different users who are known."""
        return (1 + torch.randperm(USERS, generator=self.source.generator)[:n]).tolist()


def content(codes, genres):
    """Columns with values."""
    narrow = [codes[COUNTRY]] if codes[COUNTRY] else []
    return {c: 1.0 for c in narrow} | {ROWS[COUNTRY] + g: 1.0 for g in genres} | ({NARROW + codes[MAKER]: WIDE_VALUE} if codes[MAKER] else {})


def dense(row):
    return np.array([row.get(c, 0.0) for c in range(WIDTH)])


def people(codes):
    return np.eye(1 + ROWS[AGE])[0] + (np.eye(1 + ROWS[AGE])[1 + codes[AGE]] if codes[AGE] else 0.0)


class Data:
    """What the rows say, by user."""

    def __init__(self, rows):
        self.items, self.narrow = 1 + max(t for t, *_ in rows), NARROW
        first = {t: content(codes, genres) for t, codes, genres, _ in reversed(rows)}
        self.content = np.array([dense(first[t]) for t in range(self.items)])
        self.content[:, np.r_[np.zeros(NARROW, dtype=bool), (self.content[:, NARROW:] > 0).sum(axis=0) < LEAST]] = 0.0
        self.users = sorted({codes[USER] for _, codes, _, _ in rows} - {0})
        of = lambda user: [(t, codes, r) for t, codes, _, r in rows if codes[USER] == user]
        self.rows, self.ratings = [[t for t, *_ in of(u)] for u in self.users], [np.array([r for *_, r in of(u)]) for u in self.users]
        self.people = np.array([people(of(u)[0][1]) for u in self.users])
        self.counts = np.bincount(np.concatenate(self.rows), minlength=self.items)

    def units(self):
        every = np.concatenate(self.ratings)
        return every.mean(), every.std()


class Model:
    def __init__(self, data, body):
        self.fit = fit = FoldIn(data, FOLD_IN | {"variational": body == "regression"})
        y = [(r - fit.mean) / fit.scale for r in data.ratings]
        known = lambda u, row: fit.posterior(data.people[u] @ fit.people, fit.items[row], fit.covariances[row], np.zeros(len(row)), y[u])
        self.users = [known(u, row) for u, row in enumerate(data.rows)]
        z = np.array([mean for mean, _ in self.users])
        self.centre, self.unit = z.mean(axis=0), np.sqrt((z**2).mean(axis=0))
        # Each item's ratings by user.
        self.rated = [[(u, y[u][row.index(i)]) for u, row in enumerate(data.rows) if i in row] for i in range(data.items)]
        m = z.shape[1] + 1
        self.own, self.raters = (fit.content, np.diag(np.r_[5.0, np.full(m - 1, 200.0)])), None
        if body == "regression":
            self.own, self.raters = self.prior(data, False), self.prior(data, True)
        self.levels(data)

    def sums(self, rated):
        m = len(self.centre) + 1
        s, h = np.zeros((m, m)), np.zeros(m)
        for (z, v), y in rated:
            x = np.r_[1.0, z]
            s, h = s + np.outer(x, x) + np.pad(v, ((1, 0), (1, 0))), h + x * y
        return s, h

    def features(self, raters):
        return sum((z - self.centre for z in raters), np.zeros(len(self.centre))) / self.unit / (len(raters) + 10.0)

    def shown(self, i, sweep):
        order = sorted(range(len(self.rated[i])), key=lambda at: normal(1, i, at))
        most = SHOWN[(i + sweep) % 9]
        return [self.users[self.rated[i][at][0]][0] for at in (order[:most] if most < len(order) else range(len(order)))]

    def prior(self, data, reads_raters):
        items = [i for i in range(data.items) if self.rated[i]]
        sums = [self.sums([(self.users[u], y) for u, y in self.rated[i]]) for i in items]
        squares, n = [sum(y * y for _, y in self.rated[i]) for i in items], data.counts[items]
        m, noise, c = len(self.centre) + 1, self.fit.noise, self.fit.content
        if reads_raters:
            c = np.vstack([c, np.zeros((m - 1, m))])
        penalties = np.r_[0.0, np.full(WIDTH, 5.0), np.full(len(c) - WIDTH - 1, 3.0)]
        r = noise * 10.0 * np.eye(m)
        for sweep in range(4):
            x = with_one(data.content[items])
            if reads_raters:
                x = np.hstack([x, [self.features(self.shown(i, sweep)) for i in items]])
            inverse = [np.linalg.inv(s + r) for s, _ in sums]
            found = np.array([a @ (h + r @ c.T @ one) for a, (_, h), one in zip(inverse, sums, x)])
            second = [np.outer(item, item) + noise * a for item, a in zip(found, inverse)]
            rest = sum(q - 2.0 * h @ item + np.sum(s * e) for q, (s, h), item, e in zip(squares, sums, found, second))
            c = ridge(x, found, n / (n + 300.0), penalties)
            beyond = found - x @ c
            sigma = np.mean([np.outer(e, e) + noise * a for e, a in zip(beyond, inverse)], axis=0)
            noise = rest / n.sum()
            r = noise * np.linalg.inv(sigma + 1e-9 * np.diag(sigma).max() * np.eye(m))
        return c, r

    def levels(self, data):
        mean, users, items = self.fit.mean, np.zeros(len(data.rows)), np.zeros(data.items)

        def of_items():
            sums = np.zeros(data.items)
            for u, row in enumerate(data.rows):
                np.add.at(sums, row, data.ratings[u] - mean - users[u])
            return sums

        for _ in range(5):
            items = of_items() / (data.counts + 2.0)
            users = np.array([(data.ratings[u] - mean - items[row]).sum() / (len(row) + 5.0) for u, row in enumerate(data.rows)])
        n, sums = data.counts, of_items()
        targets = np.where(n > 0, sums / np.maximum(n, 1), 0.0)
        self.level = ridge(with_one(data.content), targets[:, None], n / (n + 5.0), np.r_[0.0, np.full(WIDTH, 5.0)])[:, 0]
        self.of_users = users

    def rater(self, data, codes):
        if codes[USER] in data.users:
            at = data.users.index(codes[USER])
            return self.users[at], self.of_users[at]
        return (people(codes) @ self.fit.people, np.eye(len(self.centre))), 0.0

    def answer(self, about, rated, asked):
        """Of a content, raters with ratings, and users."""
        one, k = np.r_[1.0, about], len(rated)
        shown = [(user, (r - self.fit.mean) / self.fit.scale) for (user, _), r in rated]
        level = (sum(r - self.fit.mean - level for (_, level), r in rated) + 5.0 * one @ self.level) / (k + 5.0)
        bias = self.fit.mean + level + np.array([level for _, level in asked])

        def said(prior, known):
            s, h = self.sums(shown)
            item = np.linalg.solve(s + prior[1], h + prior[1] @ prior[0].T @ known)
            return self.fit.mean + self.fit.scale * np.array([item[0] + item[1:] @ z for (z, _), _ in asked])

        body = said(self.own, one)
        raters = said(self.raters, np.r_[one, self.features([z for (z, _), _ in shown])]) if self.raters else body
        g = np.interp(np.log1p(k), np.log1p(SIZES), [n / (n + 5.0) for n in SIZES])
        return bias + g * (body - bias) + g * (raters - body)


def drawn(source):
    """Rows to fit to, and those of tasks to adapt to."""
    world, rows = World(source), []
    for task in range(16):
        item = world.item(1 + task)
        raters = [0, 0] if task == 3 else world.some(1 if task < 2 else 5 + int(source.integers(12, 1)))
        rows += [(task, *world.row(user, item)) for user in raters]
        if task in (5, 8):
            rows.append((task, *world.row(0, item)))
    rows = [rows[i] for i in torch.randperm(len(rows), generator=source.generator)]
    # Numbered as they come.
    number = {}
    rows = [(number.setdefault(t, len(number)), *row) for t, *row in rows]
    tasks = []
    for at, shown in enumerate([world.some(4), [], [0, *world.some(2), STRANGER, 0], world.some(3), world.some(22)]):
        item = world.item(0, known=at != 3)
        asked = [*world.some(4), 0, STRANGER][: 6 if shown else 5]
        tasks.append(([world.row(u, item) for u in shown], [world.row(u, item) for u in asked]))
    return world, rows, tasks


def padded(world, tasks, part):
    """The rows of tasks, filled up with rows that are none."""
    n, item = max(len(task[part]) for task in tasks), world.item(2)
    rows = [row for task in tasks for row in task[part] + [world.row(1, item) for _ in range(n - len(task[part]))]]
    mask = [float(at < len(task[part])) for task in tasks for at in range(n)]
    return rows, np.array(mask).reshape(len(tasks), n)


def stored(name, rows):
    lists = [genres for _, genres, _ in rows]
    return {
        f"{name}codes": torch.tensor([codes for codes, _, _ in rows]),
        f"{name}genres": torch.tensor([g for genres in lists for g in genres]),
        f"{name}genres_offsets": torch.tensor(np.cumsum([0, *map(len, lists)])),
        f"{name}labels": np.array([r for _, _, r in rows]),
    }


# Whether a click was held to its ends.
HELD = []


def case(source, name, body, clicks=False):
    world, rows, tasks = drawn(source)
    if clicks:
        click = lambda codes, genres, r: (codes, genres, float(r >= 4))
        rows = [(t, *click(*row)) for t, *row in rows]
        tasks = [tuple([click(*row) for row in part] for part in task) for task in tasks]
    data = Data(rows)
    assert sum(uniform(11, i, 0) < 0.5 for i in range(data.items) if data.counts[i] >= 2) < 10, "so many items could be held out that they are chosen by"
    model, scores = Model(data, body), []
    for support, query in tasks:
        about = dense(content(*query[0][:2]))
        score = model.answer(about, [(model.rater(data, codes), r) for codes, _, r in support], [model.rater(data, codes) for codes, _, _ in query])
        if clicks:
            rate = model.fit.mean
            p = np.clip(score, 0.1 * rate, 1.0 - 0.1 * (1.0 - rate))
            HELD.append((p != score).any())
            score = np.log(p / (1.0 - p))
        scores += list(score)
    (shown_rows, shown_mask), (asked_rows, asked_mask) = padded(world, tasks, 0), padded(world, tasks, 1)
    return {
        "name": name,
        "config": {"method": "acclimate_item", "keys": f"user = 'user'\nitem = 'item'\nfactors = 3\nbody = '{body}'", "loss": "logistic" if clicks else "squared_error", "rows": [*ROWS, GENRES]},
        "inputs": tensors(
            stored("", [(codes, genres, r) for _, codes, genres, r in rows])
            | {"tasks": torch.tensor([t for t, *_ in rows])}
            | stored("support_", shown_rows)
            | {"support_mask": shown_mask}
            | stored("query_", asked_rows)
            | {"query_mask": asked_mask}
        ),
        # Of real rows alone.
        "outputs": tensors({"scores": np.array(scores)}),
    }


def build():
    cases = [case(Source(3), "fold_in", "fold_in"), case(Source(4), "regression", "regression"), case(Source(19), "clicks", "regression", clicks=True)]
    assert any(HELD), "no click is held to its ends, choose another seed"
    return cases


if __name__ == "__main__":
    golden_file.run("acclimate_item", ABOUT, build)
