"""Protocol P-MeLU on MovieLens-1M for the peers of new users and films: the parts and tasks of examples/movielens-cold-start.toml, and its metrics.

    users    in the order of SHA-256 of `user:<id>`: the first 80 % exist, of these the first 10 % are validation users, the others training users; the rest are test users
    films    new from 1998 on
    parts    train and validation: their users on existing films; new_user: test users on existing films; new_item: training and validation users on new films;
             both: test users on new films
    tasks    users of 13 to 100 rows in a part, their rows in the order of SHA-256 of `q:<user>:<film>`: 10 query, then support

Metrics are those of `acclimate compare`, means over users: errors of predictions that are clipped to 1..5, the root of each user's own mean square; nDCG@3 with the stars as gain, ties the mean
over their orders.
"""

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

SETTINGS = ["new_user", "new_item", "both"]
ROWS = {"train": 592_106, "validation": 63_788, "new_user": 148_243, "new_item": 158_838, "both": 37_221}
TASKS = {"validation": 249, "new_user": 678, "new_item": 2865, "both": 721}
QUERY, LEAST_ROWS, MOST_ROWS = 10, 13, 100
# Those of the published protocol, and those that its validation users choose for `acclimate compare`.
BIAS = [(10.0, 5.0), (10.0, 10.0)]
# Codes of wide features that fewer training films have are not read, and the others weigh half: as `fold_in_floor` reads them.
LEAST_ITEMS, NARROW, WIDE_WEIGHT = 3, 24, 0.5


def sha(text):
    return hashlib.sha256(text.encode()).digest()


class Protocol:
    """Rows as columns, with the part of each, and support and query rows of each part's tasks."""

    def __init__(self):
        folder = Path(os.environ["ACCLIMATE_DATA"]) / "movielens-1m"
        table = {name: pd.read_csv(folder / f"{name}.csv.gz", dtype=str, keep_default_na=False) for name in ("ratings", "users", "movies", "movies_extra")}
        log = table["ratings"]
        self.users, self.films = (pd.Index(log[column].unique()) for column in ("user_id", "movie_id"))
        self.user, self.film = self.users.get_indexer(log["user_id"]), self.films.get_indexer(log["movie_id"])
        self.label = log["rating"].astype(float).to_numpy()
        order = sorted(range(len(self.users)), key=lambda u: sha(f"user:{self.users[u]}"))
        existing = len(order) * 80 // 100
        role = np.zeros(len(order), dtype=int)
        role[order[: existing * 10 // 100]] = 1
        role[order[existing:]] = 2
        extra = table["movies_extra"].set_index("movie_id")
        years = pd.to_numeric(extra["year"], errors="coerce").reindex(self.films)
        is_new = (years >= 1998).to_numpy()[self.film]
        role = role[self.user]
        self.rows = {
            "train": np.flatnonzero((role == 0) & ~is_new),
            "validation": np.flatnonzero((role == 1) & ~is_new),
            "new_user": np.flatnonzero((role == 2) & ~is_new),
            "new_item": np.flatnonzero((role != 2) & is_new),
            "both": np.flatnonzero((role == 2) & is_new),
        }
        assert {part: len(rows) for part, rows in self.rows.items()} == ROWS, "these are other data, or another split"
        self.tasks = {part: self.tasks_of(self.rows[part]) for part in TASKS}
        assert {part: len(tasks) for part, tasks in self.tasks.items()} == TASKS, "these are other tasks"
        self.sides = {"user": table["users"].set_index("user_id").reindex(self.users), "movie": table["movies"].set_index("movie_id").reindex(self.films)}
        self.sides["extra"] = extra.reindex(self.films)

    def tasks_of(self, rows):
        """Support and query rows of each user."""
        tasks = []
        for _, own in pd.Series(rows).groupby(self.user[rows]):
            if LEAST_ROWS <= len(own) <= MOST_ROWS:
                own = sorted(own, key=lambda row: sha(f"q:{self.users[self.user[row]]}:{self.films[self.film[row]]}"))
                tasks.append((np.array(own[QUERY:]), np.array(own[:QUERY])))
        return tasks

    def support(self, part):
        return np.concatenate([support for support, _ in self.tasks[part]])

    def query(self, part):
        return np.concatenate([query for _, query in self.tasks[part]])

    def metrics(self, part, scores):
        """Of scores of the query rows, one task after the other."""
        labels = self.label[self.query(part)]
        errors = (np.clip(scores, 1.0, 5.0) - labels).reshape(-1, QUERY)
        lists = zip(labels.reshape(-1, QUERY), np.asarray(scores).reshape(-1, QUERY))
        return {
            "mae": round(float(np.abs(errors).mean()), 4),
            "rmse": round(float(np.sqrt((errors**2).mean(axis=1)).mean()), 4),
            "ndcg@3": round(float(np.mean([ndcg(3, own, said) for own, said in lists])), 4),
        }

    def bias(self, part, item_shrink, user_shrink):
        """`mu + b_i + b_u`: what the rows and metrics are checked by."""
        train = self.rows["train"]
        mean = self.label[train].mean()
        count, total = (np.bincount(self.film[train], weights, len(self.films)) for weights in (None, self.label[train] - mean))
        level = total / (count + item_shrink)
        said = []
        for support, query in self.tasks[part]:
            rest = self.label[support] - mean - level[self.film[support]]
            said.append(mean + level[self.film[query]] + rest.sum() / (len(rest) + user_shrink))
        return np.concatenate(said)

    def save(self, path, scores):
        """Scores of the query rows of all settings, for an `[[entrant]]` of `acclimate compare`."""
        rows = np.concatenate([self.query(part) for part in scores])
        columns = {"user": self.users[self.user[rows]], "item": self.films[self.film[rows]], "score": np.concatenate(list(scores.values()))}
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(columns).to_csv(path, index=False, float_format="%.9g")


def ndcg(k, labels, scores):
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ties = np.round(scores * 1e7)
    mean_of_tie = np.array([labels[ties == tie].mean() for tie in ties])
    order = np.argsort(-ties, kind="stable")[:k]
    return (mean_of_tie[order] * discount).sum() / (np.sort(labels)[::-1][:k] * discount).sum()


def report(protocol, name, scores, start, errors=True, **more):
    """A JSON line a setting for the bias model with each pair of shrinkages, and one for the peer; scores that are no ratings have no errors."""
    for part in scores:
        for shrinks in BIAS:
            print(json.dumps({"name": "bias", "shrinks": shrinks, "setting": part, **protocol.metrics(part, protocol.bias(part, *shrinks))}))
    for part, said in scores.items():
        found = protocol.metrics(part, said)
        found = found if errors else {"ndcg@3": found["ndcg@3"]}
        print(json.dumps({"name": name, "setting": part, **found, **more}))
    print(json.dumps({"name": name, "seconds": round(time.perf_counter() - start, 1)}), flush=True)
