"""Alternating least squares on implicit feedback (implicit), new users folded in from their support rows, on protocol P-MeLU: a peer by order alone, judged by nDCG@3.

A film counts as liked, with a weight, or not at all: `rated` (every rating alike), `stars` (as many times as it has stars), `liked` (4 stars and more). A new user is one solve on the film vectors of
the training rows. A new film has no vector, and all of them are tied: what `new_item` and `both` show is a random order. With `--films support` the support rows of a setting are among the
training rows too: then its films have vectors, learned from users who are measured, which is a bound and no method for films that come later.

Feedback, factors and penalty are those that order the query rows of the validation users best; test rows decide nothing. Errors are those of the scores, which are no ratings, and not reported.

Run: python bench/peer/implicit_pmelu.py    Needs: implicit, numpy, pandas, scipy; ACCLIMATE_DATA
"""

import argparse
import json
import time
from pathlib import Path

import implicit
import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse

from pmelu import QUERY, SETTINGS, Protocol, report

ROOT = Path(__file__).resolve().parents[2]
FEEDBACK = {"rated": lambda stars: np.ones(len(stars)), "stars": lambda stars: stars, "liked": lambda stars: (stars >= 4.0) * 1.0}
FACTORS, PENALTIES = [16, 64], [0.01, 0.1, 1.0]
# What is not rated weighs 1, and this many times as much what is.
ALPHA = 10.0


def feedback(protocol, rows, user, users, kind):
    """Weights of user and film, a row for each user."""
    weights = ALPHA * FEEDBACK[kind](protocol.label[rows])
    matrix = sparse.csr_matrix((weights, (user, protocol.film[rows])), shape=(users, len(protocol.films)), dtype=np.float32)
    matrix.eliminate_zeros()
    return matrix


def fitted(protocol, rows, kind, factors, penalty, args):
    model = AlternatingLeastSquares(factors, regularization=penalty, alpha=1.0, iterations=args.sweeps, random_state=args.seed, num_threads=args.threads)
    model.fit(feedback(protocol, rows, protocol.user[rows], len(protocol.users), kind), show_progress=False)
    return model


def scores_of(protocol, model, part, kind):
    """Scores of the query rows: each task's user is folded in from its support."""
    tasks = protocol.tasks[part]
    owner = np.repeat(np.arange(len(tasks)), [len(support) for support, _ in tasks])
    known = feedback(protocol, protocol.support(part), owner, len(tasks), kind)
    users = model.recalculate_user(np.arange(len(tasks)), known)
    films = model.item_factors[protocol.film[protocol.query(part)]].reshape(-1, QUERY, model.factors)
    return np.einsum("td,tqd->tq", users, films).reshape(-1).astype(float)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", choices=["train", "support"], default="train", help="rows that films have vectors from")
    parser.add_argument("--sweeps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file of scores; default target/peer/implicit-FILMS.csv")
    args = parser.parse_args()
    start, protocol = time.perf_counter(), Protocol()
    train = protocol.rows["train"]

    def judged(kind, factors, penalty):
        model = fitted(protocol, train, kind, factors, penalty, args)
        value = protocol.metrics("validation", scores_of(protocol, model, "validation", kind))["ndcg@3"]
        return value, (kind, factors, penalty), model

    tried = [judged(kind, factors, penalty) for kind in FEEDBACK for factors in FACTORS for penalty in PENALTIES]
    best, (kind, factors, penalty), model = max(tried, key=lambda one: one[0])
    scores = {}
    for part in SETTINGS:
        if args.films == "support":
            model = fitted(protocol, np.concatenate([train, protocol.support(part)]), kind, factors, penalty, args)
        scores[part] = scores_of(protocol, model, part, kind)
    protocol.save(args.out or ROOT / "target" / "peer" / f"implicit-{args.films}.csv", scores)
    print(json.dumps({"name": "validation", "ndcg@3": {" ".join(map(str, setting)): value for value, setting, _ in tried}}))
    settings = {"films": args.films, "feedback": kind, "factors": factors, "penalty": penalty, "validation": best, "seed": args.seed, "implicit": implicit.__version__}
    report(protocol, "implicit", scores, start, errors=False, **settings)


if __name__ == "__main__":
    main()
