"""A Bayesian factorisation machine (myFM, Gibbs sampling) on protocol P-MeLU, with the support rows of the measured users among its training rows.

That is a bound, and no method for users who come later: every setting has a fit of its own, of all training rows and the support rows of that setting's tasks, and a user who comes afterwards
needs another one. `--features ids` reads user and film, `all` beside them what `fold_in_floor` reads: gender, age and occupation; rate, genres, directors and actors (rare codes left out, wide
features at half weight). The predicted rating is the mean over kept samples.

Run: python bench/peer/myfm_pmelu.py --features all    Needs: myfm, numpy, pandas, scipy; ACCLIMATE_DATA
"""

import argparse
import time
from importlib.metadata import version
from pathlib import Path

import myfm
import numpy as np
import pandas as pd
from scipy import sparse

from pmelu import LEAST_ITEMS, NARROW, SETTINGS, WIDE_WEIGHT, Protocol, report

ROOT = Path(__file__).resolve().parents[2]
USER = [("user", "gender", None), ("user", "age", None), ("user", "occupation", None)]
FILM = [("extra", "rate", None), ("extra", "genre", ", "), ("extra", "director", ", "), ("extra", "actors", ", "), ("movie", "genres", "|")]


def codes(protocol, known, side, column, separator):
    """A column for each value that enough known rows of the side's table have."""
    texts = protocol.sides[side][column].fillna("")
    lists = texts.str.split(separator, regex=False) if separator else texts.map(lambda text: [text])
    pairs = pd.DataFrame({"at": np.arange(len(lists)), "value": lists.to_numpy()}).explode("value")
    pairs = pairs[pairs["value"] != ""].drop_duplicates()
    counts = pairs.loc[known[pairs["at"]], "value"].value_counts()
    wide = len(counts) > NARROW
    columns = pd.Index(counts.index[counts >= (LEAST_ITEMS if wide else 1)])
    at = columns.get_indexer(pairs["value"])
    pairs, at = pairs[at >= 0], at[at >= 0]
    values = np.full(len(at), WIDE_WEIGHT if wide else 1.0)
    return sparse.csr_matrix((values, (pairs["at"], at)), shape=(len(texts), len(columns)))


def block(protocol, ids, index, read):
    """One-hot ids beside features, and their widths."""
    known = np.zeros(len(ids), dtype=bool)
    known[index[protocol.rows["train"]]] = True
    parts = [sparse.identity(len(ids), format="csr"), *(codes(protocol, known, *of) for of in read)]
    return sparse.hstack(parts, format="csr"), [part.shape[1] for part in parts]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", choices=["ids", "all"], default="all")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--samples", type=int, default=60, help="sweeps of the sampler")
    parser.add_argument("--kept", type=int, default=40, help="the last so many make the mean")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--out", type=Path, help="file of scores; default target/peer/myfm-FEATURES.csv")
    args = parser.parse_args()
    start, protocol = time.perf_counter(), Protocol()
    reads = (USER, FILM) if args.features == "all" else ([], [])
    (users, of_users), (films, of_films) = block(protocol, protocol.users, protocol.user, reads[0]), block(protocol, protocol.films, protocol.film, reads[1])

    def relations(rows):
        return [myfm.RelationBlock(protocol.user[rows], users), myfm.RelationBlock(protocol.film[rows], films)]

    scores = {}
    for part in args.settings:
        rows = np.concatenate([protocol.rows["train"], protocol.support(part)])
        model = myfm.MyFMRegressor(rank=args.rank, random_seed=args.seed)
        model.fit(None, protocol.label[rows], X_rel=relations(rows), group_shapes=of_users + of_films, n_iter=args.samples, n_kept_samples=args.kept)
        scores[part] = model.predict(None, X_rel=relations(protocol.query(part)))
    protocol.save(args.out or ROOT / "target" / "peer" / f"myfm-{args.features}.csv", scores)
    settings = {"features": args.features, "rank": args.rank, "samples": args.samples, "kept": args.kept, "seed": args.seed}
    report(protocol, "myfm", scores, start, **settings, myfm=version("myfm"))


if __name__ == "__main__":
    main()
