"""Boosted trees on protocol KRL-1, reading the numbers that the network `base_inputs` reads; writes their scores for `[[entrant]]`.

Inputs are the feature blocks of a data-set file: domain, hour, side features, and statistics of the rows strictly before a row, without lag. Of the rows before
(of the same key; weights w = 1, or w = 2^(-age / half_life)), n = sum w and s = sum w x:

    count   n
    rate    r_k = (s + m_k r_(k-1)) / (n + m_k) along the prefixes k of `by`, x = 1 where the column is above 0; r_0 = (s + p) / (n + 1), p the training mean
    mean    the same with x the column
    age     days since the last row

m_k of a rate has the highest beta-binomial likelihood of the training rows, of a mean it is within / between by moments:
within = sum (x - mean_key)^2 / (N - K), between = max(0, sum_key n (mean_key - parent)^2 - K within) / N.

`--state moving`: all rows of an earlier time are known. `--state frozen`: those of the training part only, to training rows the earlier of them.
Categories are the places of their texts in sorted order, missing where no training row has them; only the domain is a category to the trees as well. Left out:
histories and sequences, which trees do not read; ids (features with `min_count`), which reach the trees through the statistics; features with a `lag`;
`log1p`, `logit` and scales, which keep the order of numbers.

The setting with the highest validation AUC wins, each stopped where that is highest; test rows decide nothing. Rows of one user, video and time, which a file of
scores cannot tell apart, get their mean score.

Run: python bench/peer/lightgbm_krl1.py --state moving    Needs: lightgbm, numpy, pandas, scipy; ACCLIMATE_DATA
"""

import argparse
import json
import os
import re
import time
import tomllib
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import betaln
from scipy.stats import rankdata

ROOT = Path(__file__).resolve().parents[2]
TABS = ["1", "0", "4", "6", "2"]
TRAIN, VALIDATION, TEST = (20220425, 20220504), (20220505, 20220505), (20220506, 20220508)
FIXED = {"objective": "binary", "metric": "auc", "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1}
SETTINGS = [
    {"num_leaves": 63, "learning_rate": 0.05, "min_data_in_leaf": 50},
    {"num_leaves": 31, "learning_rate": 0.03, "min_data_in_leaf": 100},
    {"num_leaves": 15, "learning_rate": 0.05, "min_data_in_leaf": 200},
]
ROUNDS, PATIENCE = 2000, 100
DAY_MS = 86_400_000
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
STRENGTHS = (0.1, 1e6)
# Keys of a block; another one is refused.
KNOWN_KEYS = {"name", "kind", "from", "column", "transform", "scale", "value", "by", "half_life"}


def read(files, key=None):
    """The rows of some files as text, empty where a value is missing; `key` becomes the index."""
    paths = [re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], name) for name in files]
    rows = pd.concat([pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths], ignore_index=True)
    return rows if key is None else rows.set_index(key)


class Data:
    """The log with its side tables: rows in the order of the file."""

    def __init__(self, config):
        log = config["interactions"]
        self.log = read(log["files"])
        self.columns = {"user": log["user"], "item": log["item"], "domain": log["domain"]["column"]}
        self.tables = {side: [(t["key"], read(t["files"], t["key"])) for t in config[side]] for side in ("users", "items")}
        self.blocks = {block["name"]: block for block in config["feature"]}
        self.time = self.log[log["time"]["column"]].astype("int64").to_numpy()
        self.label = self.log[log["label"]["column"]].astype("int64").to_numpy()
        self.date = self.log["date"].astype("int64").to_numpy()
        self.tab = self.log[self.columns["domain"]].to_numpy(dtype=str)

    def within(self, days):
        """Whether the date of each row lies in a range, ends included."""
        return (days[0] <= self.date) & (self.date <= days[1])

    def text(self, block):
        """The column of a block, a text for each row."""
        column = block.get("column", block["name"])
        for key, table in self.tables.get(block.get("from"), ()):
            if column in table:
                return self.log[key].map(table[column]).fillna("")
        return self.log[column]

    def number(self, block):
        """The column of a block, a number for each row; NaN where it is missing."""
        return pd.to_numeric(self.text(block), errors="coerce").to_numpy(dtype=float)

    def category(self, name):
        """Texts of a categorical block, transformed; a column of the log where `name` is one of its roles."""
        if name in self.columns:
            return self.log[self.columns[name]]
        block = self.blocks[name]
        match block.get("transform"):
            case None:
                return self.text(block)
            case {"first": separator}:
                return self.text(block).str.split(separator).str[0]
        raise ValueError(f"{name}: transform {block['transform']} makes numbers")

    def key(self, names):
        """A number for each row that tells the values of some categorical blocks apart."""
        if not names:
            return np.zeros(len(self.log), dtype=np.int64)
        return self.log.groupby([self.category(name) for name in names], sort=False).ngroup().to_numpy()


class Earlier:
    """Sums over the known rows of a key whose time lies before a row's own."""

    def __init__(self, key, times, known, half_life=None):
        since = times - times.min()
        span = since.max() + 1
        place = key * span + since
        self.order = np.argsort(place, kind="stable")
        self.begin = np.searchsorted(place[self.order], key * span)
        self.end = np.searchsorted(place[self.order], place)
        self.growth = np.exp2(since / half_life) if half_life else np.ones(len(times))
        self.known = known
        self.times = times

    def sum(self, x):
        """sum w x of each row, w = 2^((t_earlier - t) / half_life)."""
        total = np.concatenate([[0.0], np.cumsum((x * self.growth * self.known)[self.order])])
        return (total[self.end] - total[self.begin]) / self.growth

    def last(self):
        """Time of the last row; NaN where there is none."""
        at = np.where(self.known[self.order], np.arange(len(self.order)), -1)
        at = np.concatenate([[-1], np.maximum.accumulate(at)])[self.end]
        return np.where(at >= self.begin, self.times[self.order][at], np.nan)


def strength(value, key, x, prior, train):
    """How many rows the parent's value counts for, and what it makes of each key of the training rows: a value for each row of the log."""
    n, s = np.bincount(key, train), np.bincount(key, x * train)
    parent = np.zeros(len(n))
    parent[key] = prior
    of = n > 0
    count, total, p = n[of], s[of], parent[of]
    if value == "rate":
        p = np.clip(p, 1e-6, 1 - 1e-6)

        def loss(log_m):
            a, b = np.exp(log_m) * p, np.exp(log_m) * (1 - p)
            return -(betaln(a + total, b + count - total) - betaln(a, b)).sum()

        m = float(np.exp(minimize_scalar(loss, bounds=np.log(STRENGTHS), method="bounded", options={"xatol": 1e-6}).x))
    else:
        mean = s / np.maximum(n, 1)
        within = (train * (x - mean[key]) ** 2).sum() / max(n.sum() - len(count), 1)
        between = max((count * (mean[of] - p) ** 2).sum() - len(count) * within, 0) / n.sum()
        m = STRENGTHS[1] if between == 0 else float(np.clip(within / between, *STRENGTHS))
    return m, (s[key] + m * prior) / (n[key] + m)


def duration(text):
    """Milliseconds of a length of time such as `2d`."""
    return int(text[:-1]) * UNITS_MS[text[-1]]


def statistic(data, block, known, train):
    """The value of each row, and the strengths of its levels."""
    value, by = block["value"], block.get("by", [])
    half_life = duration(block["half_life"]) if "half_life" in block else None
    one = np.ones(len(data.time))
    if value == "count":
        return Earlier(data.key(by), data.time, known, half_life).sum(one), []
    if value == "age":
        return (data.time - Earlier(data.key(by), data.time, known).last()) / DAY_MS, []
    if value not in ("rate", "mean"):
        raise ValueError(f"{block['name']}: value {value} is not known here")
    x = data.number(block) if "column" in block else data.label.astype(float)
    x = (x > 0).astype(float) if value == "rate" else x
    p = x[train].mean()
    at, prior, strengths = np.full(len(x), p), np.full(len(x), p), [1.0]
    for k in range(len(by) + 1):
        key = data.key(by[:k])
        if k > 0:
            m, prior = strength(value, key, x, prior, train)
            strengths.append(m)
        earlier = Earlier(key, data.time, known, half_life)
        at = (earlier.sum(x) + strengths[k] * at) / (earlier.sum(one) + strengths[k])
    return at, strengths


def inputs(data, known, train):
    """All inputs of all rows, one column a block."""
    made = {}
    for name, block in data.blocks.items():
        kind, transform = block["kind"], block.get("transform")
        if kind in ("history", "sequence") or "lag" in block or "min_count" in block:
            continue
        if unknown := set(block) - KNOWN_KEYS:
            raise ValueError(f"{name}: {sorted(unknown)} not known here")
        if kind == "statistic":
            made[name] = statistic(data, block, known, train)[0]
        elif kind == "numeric":
            made[name] = data.number(block)
        elif isinstance(transform, dict) and "divide" in transform:
            made[name] = data.number(block) // transform["divide"]
        elif isinstance(transform, dict) and "log2" in transform:
            made[name] = np.floor(np.log2(1 + data.number(block) / transform["log2"]))
        elif kind in ("categorical", "domain"):
            texts = data.category("domain" if kind == "domain" else name)
            codes = pd.Index(sorted(set(texts[train]) - {""})).get_indexer(texts)
            made[name] = pd.Categorical(codes) if kind == "domain" else np.where(codes < 0, np.nan, codes)
        else:
            raise ValueError(f"{name}: kind {kind} is not known here")
    return pd.DataFrame(made)


def auc(label, score):
    """Area under the ROC curve, ties counting half."""
    positive = label == 1
    n = positive.sum()
    return (rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * (len(label) - n))


def trained(x, y, train, validation, setting, args):
    """A model with its validation AUC."""
    fixed = {**FIXED, "seed": args.seed, "num_threads": args.threads, "deterministic": True, "force_row_wise": True, "verbosity": -1}
    learned = lightgbm.Dataset(x[train], y[train])
    checked = learned.create_valid(x[validation], y[validation])
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    model = lightgbm.train({**fixed, **setting}, learned, ROUNDS, valid_sets=[checked], callbacks=[stop])
    return model, model.best_score["valid_0"]["auc"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", choices=["moving", "frozen"], default="moving", help="which rows are known")
    parser.add_argument("--dataset", type=Path, default=ROOT / "examples" / "kuairand-inputs.toml", help="data-set file with the feature blocks")
    parser.add_argument("--out", type=Path, help="file of scores; default target/lightgbm/krl1-STATE.csv")
    parser.add_argument("--threads", type=int, default=1, help="threads of LightGBM")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    start = time.perf_counter()

    data = Data(tomllib.loads(args.dataset.read_text()))
    part_train = data.within(TRAIN)
    known = part_train if args.state == "frozen" else np.ones(len(part_train), dtype=bool)
    x = inputs(data, known, part_train)
    made = time.perf_counter() - start
    wanted = np.isin(data.tab, TABS)
    train, validation, test = (wanted & data.within(days) for days in (TRAIN, VALIDATION, TEST))

    models = [trained(x, data.label, train, validation, setting, args) for setting in SETTINGS]
    best = max(range(len(models)), key=lambda i: models[i][1])
    measured = validation | test
    scores = pd.DataFrame({
        "user": data.log[data.columns["user"]][measured],
        "item": data.log[data.columns["item"]][measured],
        "time": data.time[measured],
        "score": models[best][0].predict(x[measured], num_threads=args.threads),
    })
    scores["score"] = scores.groupby(["user", "item", "time"])["score"].transform("mean")
    out = args.out or ROOT / "target" / "lightgbm" / f"krl1-{args.state}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    scores.to_csv(out, index=False, float_format="%.9g")

    score = scores["score"].reindex(data.log.index).to_numpy()
    by_tab = {tab: auc(data.label[rows], score[rows]) for tab in TABS for rows in [test & (data.tab == tab)]}
    print(json.dumps({
        "name": "lightgbm_krl1",
        "state": args.state,
        "macro_auc": round(float(np.mean(list(by_tab.values()))), 6),
        "auc": {tab: round(float(value), 6) for tab, value in by_tab.items()},
        "setting": SETTINGS[best],
        "rounds": models[best][0].best_iteration,
        "validation_auc": [round(value, 6) for _, value in models],
        "rows": {"train": int(train.sum()), "validation": int(validation.sum()), "test": int(test.sum())},
        "inputs": x.shape[1],
        "seconds_inputs": round(made, 1),
        "seconds": round(time.perf_counter() - start, 1),
        "threads": args.threads,
        "seed": args.seed,
        "lightgbm": lightgbm.__version__,
    }))


if __name__ == "__main__":
    main()
