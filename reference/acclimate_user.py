"""A user is adapted to by one solve of a Bayesian model of ratings, from rows with codes: its features, and its scores.

The models are those of reference/user_model.py, with the product's settings: 10 sweeps, 2 and 20 rows at the prior, an item of n ratings weighs n / (n + 1000) in the regression on content, penalties 5
and 100; regressions of 6 sweeps, the kernel with n_0 = 100, weight 1/2 and all its eigenvectors (128 hold these few items).

    user      a task that has rated an item with a code; what is known of it are the 1 and the codes of narrow features of users (up to 24 rows of the vocabulary), of its first row
    item      a code above 0 that a row of `codes` has; its content of its first row: codes of narrow features of items, each a column of value 1, and of wider ones, value 1/2,
              those that at least three items have; code 0 is unknown everywhere. The regressions read narrow content only. Features of rows and wide ones of users are not read
    any other item, of code 0 or of a code without rows, is what its row's content says
    bias      mean + b_i + b_u, b_i = sum (r - mean) / (n + 10), for all items without ratings of their own that of the rows of code 0; b_u = sum (r - mean - b_i) / (n + 5) over the support rows
    score     bias + g_k (model - bias); g = 1 without guard, k / (k + 5) at the sizes 0, 1, 3, 5, 10, 20, 50 and linear in ln(1 + k) between them with it: fewer than ten users could be held out
    clicks    the same of labels 0 and 1, always guarded, then the logit of the score, held to a tenth of the overall rate from below and from above

Columns of `codes`: an age of users, the id of the item, a wide feature of items, one of the row, a narrow feature of items, a wide feature of users. The list `genres` is a narrow feature of items. Of the tasks to adapt
to one has no support row, one rated items that are not known, one more than there are features; what stands in padding rows is no zero.
"""

import numpy as np
import torch

import golden_file
from golden_file import Source, tensors
from user_model import FIT, REGRESSION, SIZES, FoldIn, Regression, uniform

ABOUT = "Scores of a user by one solve, from rows with codes. Formulas in reference/acclimate_user.py."
AGE, ITEM, MAKER, DEVICE, COUNTRY, TOWN = range(6)
# Rows of each vocabulary; the genres are a list.
ROWS, GENRES = [4, 18, 40, 3, 4, 30], 6
NARROW, LEAST, WIDE_VALUE = ROWS[COUNTRY] + GENRES, 3, 0.5
FOLD_IN = FIT | {"factors": 3, "variational": False, "loading_rows": 20.0, "content_rows": 1000.0, "content_penalty": 5.0, "people_penalty": 100.0}
BODIES = {
    "regression": REGRESSION | {"people_penalty": 100.0},
    "plus": REGRESSION | {"people_penalty": 100.0, "sets": True, "kernel_rank": ROWS[ITEM], "kernel_shrink": 100.0},
}


class World:
    """Items, users and rows of them."""

    def __init__(self, source):
        self.source, items = source, ROWS[ITEM]
        # Two items without a code, 0, come after those with one.
        self.maker = source.integers(9, items + 2)
        self.country = source.integers(ROWS[COUNTRY], items + 2)
        self.genres = [[g for g in range(1, GENRES) if source.integers(3, 1) == 0] for _ in range(items + 2)]
        self.maker[items + 1], self.country[items + 1], self.genres[items + 1] = 0, 0, []
        self.level, self.taste = source.normal(items + 2, scale=0.5), source.normal(items + 2, 3, scale=0.8)

    def user(self):
        return {"age": int(self.source.integers(ROWS[AGE], 1)), "town": int(self.source.integers(ROWS[TOWN], 1)), "z": self.source.normal(3, scale=0.8), "level": self.source.normal(1, scale=0.4)}

    def row(self, user, item):
        """Codes, genres and the rating."""
        code = item if item < ROWS[ITEM] else 0
        codes = [user["age"], code, int(self.maker[item]), int(self.source.integers(ROWS[DEVICE], 1)), int(self.country[item]), user["town"]]
        rating = 3.25 + self.level[item] + user["level"] + self.taste[item] @ user["z"] + self.source.normal(1, scale=0.3)
        return codes, self.genres[item], float(torch.clamp(torch.round(rating), 1, 5))

    def some(self, high, n):
        """So many different items from 1 up to below `high`."""
        return (1 + torch.randperm(high - 1, generator=self.source.generator)[:n]).tolist()


def content(codes, genres):
    """Columns with values."""
    narrow = [codes[COUNTRY]] if codes[COUNTRY] else []
    return {c: 1.0 for c in narrow} | {ROWS[COUNTRY] + g: 1.0 for g in genres} | ({NARROW + codes[MAKER]: WIDE_VALUE} if codes[MAKER] else {})


def dense(rows, width):
    return np.array([[row.get(c, 0.0) for c in range(width)] for row in rows])


def people(codes):
    return np.eye(1 + ROWS[AGE])[0] + (np.eye(1 + ROWS[AGE])[1 + codes[AGE]] if codes[AGE] else 0.0)


class Data:
    """What the rows say, as the models read it; after the items come those that rows to adapt to have without ratings."""

    def __init__(self, rows, unrated):
        self.items, self.narrow = ROWS[ITEM], NARROW
        of_task, of_item = {}, {}
        for task, codes, genres, r in rows:
            if codes[ITEM]:
                of_task.setdefault(task, []).append((codes[ITEM], r))
                of_item.setdefault(codes[ITEM], content(codes, genres))
        first = {task: people(codes) for task, codes, _, _ in reversed(rows)}
        tasks = sorted(of_task)
        self.rows, self.ratings = [[i for i, _ in of_task[t]] for t in tasks], [np.array([r for _, r in of_task[t]]) for t in tasks]
        self.people = np.array([first[t] for t in tasks])
        self.counts = np.bincount(np.concatenate(self.rows), minlength=self.items)
        width = NARROW + ROWS[MAKER]
        fitted = dense([of_item.get(i, {}) for i in range(self.items)], width)
        fitted[:, np.r_[np.zeros(NARROW, dtype=bool), (fitted[:, NARROW:] > 0).sum(axis=0) < LEAST]] = 0.0
        self.content = np.vstack([fitted, dense(unrated, width)])

    def units(self):
        every = np.concatenate(self.ratings)
        return every.mean(), every.std()


class Asking:
    """Somebody to adapt to, as the models read it."""

    def __init__(self, known, shown, answers):
        self.asking, self.shown, self.answers = known, shown, np.array(answers)


def drawn(source):
    """Rows to fit to, and those of tasks to adapt to."""
    world, rows = World(source), []
    rated = ROWS[ITEM] - 1
    for task in range(18):
        user, many = world.user(), 1 if task < 3 else 6 + int(source.integers(10, 1))
        of_task = [world.row(user, item) for item in world.some(rated, many)]
        if task == 4:
            of_task = []
        if task in (4, 6, 9):
            of_task += [world.row(user, ROWS[ITEM] + k) for k in (0, 1)]
        rows += [(task, *row) for row in of_task]
    rows = [rows[i] for i in torch.randperm(len(rows), generator=source.generator)]
    tasks = []
    for shown in ([*world.some(rated, 4)], [], [ROWS[ITEM], *world.some(rated, 2), rated, ROWS[ITEM] + 1], 2 * world.some(rated, 10)):
        user = world.user()
        asked = [*world.some(rated, 4), rated, ROWS[ITEM], ROWS[ITEM] + 1][: 7 if shown else 6]
        tasks.append(([world.row(user, i) for i in shown], [world.row(user, i) for i in asked]))
    return world, rows, tasks


def padded(world, tasks, part):
    """The rows of tasks, filled up with rows that are none."""
    n = max(len(task[part]) for task in tasks)
    user = world.user()
    rows = [row for task in tasks for row in task[part] + [world.row(user, 1) for _ in range(n - len(task[part]))]]
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


def case(source, name, method, keys, body, guard, clicks=False):
    world, rows, tasks = drawn(source)
    if clicks:
        click = lambda codes, genres, r: (codes, genres, float(r >= 4))
        rows = [(t, *click(*row)) for t, *row in rows]
        tasks = [tuple([click(*row) for row in part] for part in task) for task in tasks]
    fitted_codes = {codes[ITEM] for _, codes, _, _ in rows}
    unrated = []

    def item(codes, genres):
        if codes[ITEM] and codes[ITEM] in fitted_codes:
            return codes[ITEM]
        unrated.append(content(codes, genres))
        return ROWS[ITEM] + len(unrated) - 1

    tasks_of_items = [tuple([item(codes, genres) for codes, genres, _ in part] for part in task) for task in tasks]
    data = Data(rows, unrated)
    users = [u for u, row in enumerate(data.rows) if len(row) >= 2]
    assert sum(uniform(11, u, 0) < 0.5 for u in users) < 10, "so many users are chosen by that they could be held out"
    model = FoldIn(data, FOLD_IN)
    model = Regression(data, model, BODIES[body]) if body else model

    mean, _ = data.units()
    level = np.zeros(len(data.content))
    for row, r in zip(data.rows, data.ratings):
        np.add.at(level, row, r - mean)
    level[: data.items] /= data.counts + 10.0
    unknown = [r - mean for _, codes, _, r in rows if codes[ITEM] == 0]
    level[np.r_[data.counts == 0, np.ones(len(unrated), dtype=bool)]] = sum(unknown) / (len(unknown) + 10.0)
    scores, masks = [], []
    (shown_rows, shown_mask), (asked_rows, asked_mask) = padded(world, tasks, 0), padded(world, tasks, 1)
    for (support, query), (shown, asked) in zip(tasks, tasks_of_items):
        r = [rating for _, _, rating in support]
        _, said, _ = model.answer(Asking(people(query[0][0]), shown, r), len(shown))
        bias = mean + level[asked] + sum(x - mean - level[i] for i, x in zip(shown, r)) / (len(r) + 5.0)
        g = np.interp(np.log1p(len(r)), np.log1p(SIZES), [k / (k + 5.0) for k in SIZES]) if guard else 1.0
        score = bias + g * (said[asked] - bias)
        if clicks:
            p = np.clip(score, 0.1 * mean, 1.0 - 0.1 * (1.0 - mean))
            HELD.append((p != score).any())
            score = np.log(p / (1.0 - p))
        scores += list(score)
    return {
        "name": name,
        "config": {"method": method, "keys": keys, "loss": "logistic" if clicks else "squared_error", "rows": [*ROWS, GENRES]},
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
    keys = "item = 'item'\nfactors = 3"
    own = lambda body, guard: f"{keys}\nbody = '{body}'\nvariational = 'never'\nguard = {str(guard).lower()}"
    cases = [
        case(Source(3), "fold_in", "fold_in", keys, None, False),
        case(Source(5), "regression", "acclimate_user", own("regression", False), "regression", False),
        case(Source(6), "plus", "acclimate_user", own("plus", False), "plus", False),
        case(Source(7), "plus_guarded", "acclimate_user", own("plus", True), "plus", True),
        case(Source(8), "clicks", "fold_in", keys, None, True, clicks=True),
        case(Source(16), "clicks_plus", "acclimate_user", own("plus", False), "plus", True, clicks=True),
    ]
    assert any(HELD), "no click is held to its ends, choose another seed"
    return cases


if __name__ == "__main__":
    golden_file.run("acclimate_user", ABOUT, build)
