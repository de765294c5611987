"""A new item is scored by two towers that have learned to do without the vectors of a factorisation, from rows with codes: its features, and its scores.

Tasks, content, features of users, unknown codes and the levels of the bias model are those of reference/acclimate_item.py; so are the rows that are drawn. With a = r - mean - b_u, s the standard deviation of ratings, p = w c_i:

users        U = z_u of the variational factorisation of reference/user_model.py after all ratings of the user, each entry divided by its root mean square over users
item         of ratings S: b(S) = (sum a + 5 p) / (n + 5), V(S) = (sum U U' + 30 I)^-1 sum U (a - b(S)) / s; 0 of none
towers       f(x) = W2 [tanh(W1 x); 1]; f_u of [U; 1; features], f_v of [V(S) / its root mean square over items, S all; 1; content]. Start: weights of U and V up to 1 / sqrt(d), those of hidden units up to
             1 / sqrt(hidden), uniform(seed, layer, place) with seed 21 of users and 22 of items; all others 0
step         200 of Adam (0.001) on 64 draws: an item by its ratings, which count up to 100, then a rater; U = 0 if a number is below the dropout, S none if another is; else S has 1, 3, 5, 10, 20, 30, 50 or all of the
             other ratings, a run of the item's raters in the order of uniform(23, item, place). Loss: half the mean over draws of (f_u f_v - (a - b(S)) / s)^2 and half the mean over all pairs of them of
             (f_u f_v - U V - (b - b(S)) / s)^2, V and b of all ratings
score        mean + b_u + b(S) + s f_u (g f_v + h (f_v(S) - f_v)), f_v without S that of V = 0, g = h = k / (k + 5) at the sizes 0, 1, 3, 5, 10, 20, 50 and linear in ln(1 + k) between them: fewer than ten items could be held out
clicks       the same of labels 0 and 1, then the logit of the score, held to a tenth of the overall rate from below and from above
"""

import numpy as np
import torch

import golden_file
from acclimate_item import FOLD_IN, GENRES, HELD, ROWS, USER, WIDTH, Data, content, dense, drawn, padded, people, stored
from golden_file import Source, tensors
from user_model import SIZES, FoldIn, ridge, uniform, with_one

ABOUT = "Scores of a new item by DropoutNet, from rows with codes. Formulas in reference/dropoutnet.py."
FACTORS, HIDDEN, BATCH, STEPS = FOLD_IN["factors"] + 1, 5, 64, 200
SHOWN = [1, 3, 5, 10, 20, 30, 50, 10**9]


class Towers:
    def __init__(self, data, dropout):
        every = np.concatenate(data.ratings)
        self.mean, self.scale, self.data = every.mean(), every.std(), data
        self.raters = [[(u, data.ratings[u][row.index(i)]) for u, row in enumerate(data.rows) if i in row] for i in range(data.items)]
        self.levels()
        self.factors()
        self.learn(dropout)

    def levels(self):
        data, users = self.data, np.zeros(len(self.data.rows))
        sums = lambda: np.array([sum(r - self.mean - users[u] for u, r in of) for of in self.raters])
        for _ in range(5):
            items = sums() / (data.counts + 2.0)
            users = np.array([(r - self.mean - items[row]).sum() / (len(row) + 5.0) for row, r in zip(data.rows, data.ratings)])
        n = data.counts
        self.weights = ridge(with_one(data.content), (sums() / np.maximum(n, 1))[:, None], n / (n + 5.0), np.r_[0.0, np.full(WIDTH, 5.0)])[:, 0]
        self.of_users = users

    def level(self, about, rest):
        return (sum(rest) + 5.0 * np.r_[1.0, about] @ self.weights) / (len(rest) + 5.0)

    def fold(self, about, vectors, rest):
        """b(S) and V(S)."""
        b, u = self.level(about, rest), np.reshape(vectors, (-1, FACTORS))
        return b, np.linalg.solve(u.T @ u + 30.0 * np.eye(FACTORS), u.T @ (np.array(rest) - b) / self.scale)

    def factors(self):
        data = self.data
        self.rest = [[r - self.mean - self.of_users[u] for u, r in of] for of in self.raters]
        fit = FoldIn(data, FOLD_IN | {"variational": True})
        y = [(r - fit.mean) / fit.scale for r in data.ratings]
        known = lambda u, row: fit.posterior(data.people[u] @ fit.people, fit.items[row], fit.covariances[row], np.zeros(len(row)), y[u])[0]
        users = np.array([known(u, row) for u, row in enumerate(data.rows)])
        self.users = users / np.sqrt((users**2).mean(axis=0))
        self.items = [self.fold(about, [self.users[u] for u, _ in of], rest) for about, of, rest in zip(data.content, self.raters, self.rest)]

    def learn(self, dropout):
        data, rated = self.data, [i for i in range(self.data.items) if self.raters[i]]
        self.unit = np.sqrt(np.mean([self.items[i][1] ** 2 for i in rated], axis=0))
        order = [sorted(range(len(of)), key=lambda at: uniform(23, i, at)) for i, of in enumerate(self.raters)]
        draws = [i for i in rated for _ in range(min(len(self.raters[i]), 100))]

        def start(seed, columns):
            first = [[(2.0 * uniform(seed, 0, k * HIDDEN + h) - 1.0) / np.sqrt(FACTORS) for h in range(HIDDEN)] for k in range(FACTORS)]
            last = [[(2.0 * uniform(seed, 1, h * (FACTORS + 1) + o) - 1.0) / np.sqrt(HIDDEN) for o in range(FACTORS + 1)] for h in range(HIDDEN)]
            return [torch.tensor(np.vstack(w)).requires_grad_() for w in ([first, np.zeros((columns, HIDDEN))], [last, np.zeros((1, FACTORS + 1))])]

        self.towers = [start(21, data.people.shape[1]), start(22, 1 + WIDTH)]
        adam = torch.optim.Adam([w for tower in self.towers for w in tower], lr=0.001)
        for step in range(STEPS):
            inputs, users, items, levels, ratings = [[], []], [], [], [], []
            for j in range(BATCH):
                x = [uniform(24, step, 5 * j + at) for at in range(5)]
                i = draws[int(x[0] * len(draws))]
                drawn_at = int(x[1] * len(self.raters[i]))
                u = self.raters[i][drawn_at][0]
                kept, n = (x[3] - dropout) / (1.0 - dropout), len(order[i])
                shown = 0 if kept < 0.0 else SHOWN[int(kept * 8)]
                run = [at for at in np.roll(order[i], -int(x[4] * n)) if at != drawn_at][:shown]
                b, v = self.fold(data.content[i], [self.users[self.raters[i][at][0]] for at in run], [self.rest[i][at] for at in run])
                inputs[0].append(np.r_[self.users[u] * (x[2] >= dropout), data.people[u]])
                inputs[1].append(np.r_[v / self.unit, 1.0, data.content[i]])
                users.append(self.users[u]), items.append(self.items[i][1]), levels.append((self.items[i][0] - b) / self.scale), ratings.append((self.rest[i][drawn_at] - b) / self.scale)
            wanted = torch.tensor(np.array(users) @ np.array(items).T + np.array(levels))
            f_u, f_v = [self.apply(which, np.array(rows)) for which, rows in enumerate(inputs)]
            said = f_u @ f_v.T
            adam.zero_grad()
            (0.5 * ((said - wanted) ** 2).mean() + 0.5 * ((said.diagonal() - torch.tensor(np.array(ratings))) ** 2).mean()).backward()
            adam.step()

    def apply(self, which, rows):
        first, last = self.towers[which]
        hidden = torch.tanh(torch.tensor(rows) @ first)
        return torch.hstack([hidden, torch.ones(len(hidden), 1, dtype=torch.float64)]) @ last

    def user(self, codes):
        """U and the level, 0 for who is not known."""
        if codes[USER] in self.data.users:
            at = self.data.users.index(codes[USER])
            return self.users[at], self.of_users[at]
        return np.zeros(FACTORS), 0.0

    def answer(self, support, query):
        about, k = dense(content(*query[0][:2])), len(support)
        known = [self.user(codes) for codes, _, _ in support]
        b, v = self.fold(about, [u for u, _ in known], [r - self.mean - level for (_, level), (*_, r) in zip(known, support)])
        asked = [self.user(codes) for codes, _, _ in query]
        with torch.no_grad():
            f_u = self.apply(0, np.array([np.r_[u, people(codes)] for (u, _), (codes, _, _) in zip(asked, query)])).numpy()
            f_v, with_ratings = self.apply(1, np.array([np.r_[vector, 1.0, about] for vector in (0.0 * v, v / self.unit)])).numpy()
        g = np.interp(np.log1p(k), np.log1p(SIZES), [n / (n + 5.0) for n in SIZES])
        return self.mean + np.array([level for _, level in asked]) + b + self.scale * f_u @ (g * f_v + g * (with_ratings - f_v))


def case(source, name, dropout, clicks=False):
    world, rows, tasks = drawn(source)
    if clicks:
        click = lambda codes, genres, r: (codes, genres, float(r >= 4))
        rows = [(t, *click(*row)) for t, *row in rows]
        tasks = [tuple([click(*row) for row in part] for part in task) for task in tasks]
    data = Data(rows)
    assert sum(uniform(11, i, 0) < 0.5 for i in range(data.items) if data.counts[i] >= 2) < 10, "so many items could be held out that they are chosen by"
    model = Towers(data, dropout)
    scores = np.concatenate([model.answer(*task) for task in tasks])
    if clicks:
        p = np.clip(scores, 0.1 * model.mean, 1.0 - 0.1 * (1.0 - model.mean))
        HELD.append((p != scores).any())
        scores = np.log(p / (1.0 - p))
    (shown_rows, shown_mask), (asked_rows, asked_mask) = padded(world, tasks, 0), padded(world, tasks, 1)
    keys = f"user = 'user'\nitem = 'item'\nfactors = {FACTORS - 1}\nhidden = {HIDDEN}\ndropout = {dropout}"
    return {
        "name": name,
        "config": {"method": "dropoutnet", "keys": keys, "loss": "logistic" if clicks else "squared_error", "rows": [*ROWS, GENRES]},
        "inputs": tensors(
            stored("", [(codes, genres, r) for _, codes, genres, r in rows])
            | {"tasks": torch.tensor([t for t, *_ in rows])}
            | stored("support_", shown_rows)
            | {"support_mask": shown_mask}
            | stored("query_", asked_rows)
            | {"query_mask": asked_mask}
        ),
        # Of real rows alone.
        "outputs": tensors({"scores": scores}),
    }


def build():
    cases = [case(Source(3), "half", 0.5), case(Source(4), "without_dropout", 0.0), case(Source(20), "clicks", 0.5, clicks=True)]
    assert any(HELD), "no click is held to its ends, choose another seed"
    return cases


if __name__ == "__main__":
    golden_file.run("dropoutnet", ABOUT, build)
