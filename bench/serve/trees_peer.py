"""Boosted trees beside the server's plan: what they are worth on protocol KRL-1, and how long 200 rows take.

Trains the trees of bench/peer/lightgbm_krl1.py (the setting and the number of rounds by validation rows), then times them on test rows that lie ready as numbers: LightGBM's own
predictor, and the same trees compiled by lleaves. One line of JSON for each; one that can not run is named with the reason. One thread.

Run: python bench/serve/trees_peer.py --rounds 200    Needs: lightgbm, numpy, pandas, scipy, lleaves (with llvmlite below 0.45); ACCLIMATE_DATA
"""

import argparse
import json
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "peer"))
import lightgbm_krl1 as trees  # noqa: E402

CANDIDATES, REQUESTS = 200, 64


def median_ms(score, rows, rounds):
    """Median milliseconds of scoring `rows`, after a quarter of the rounds as a warm-up."""
    times = []
    for _ in range(rounds + rounds // 4):
        began = time.perf_counter()
        score(rows)
        times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times[rounds // 4:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1, help="threads of training; scoring takes one")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    data = trees.Data(tomllib.loads((ROOT / "examples" / "kuairand-inputs.toml").read_text()))
    part_train = data.within(trees.TRAIN)
    x = trees.inputs(data, np.ones(len(part_train), dtype=bool), part_train)
    wanted = np.isin(data.tab, trees.TABS)
    train, validation, test = (wanted & data.within(days) for days in (trees.TRAIN, trees.VALIDATION, trees.TEST))
    models = [trees.trained(x, data.label, train, validation, setting, args) for setting in trees.SETTINGS]
    model = max(models, key=lambda found: found[1])[0]
    score = np.full(len(data.label), np.nan)
    score[test] = model.predict(x[test], num_threads=1)
    auc = {tab: float(trees.auc(data.label[rows], score[rows])) for tab in trees.TABS for rows in [test & (data.tab == tab)]}
    about = {"macro_auc": float(np.mean(list(auc.values()))), "trees": model.best_iteration, "inputs": x.shape[1], "seed": args.seed}

    # Both predictors read plain numbers; the one category as its code.
    numbers = x.assign(**{name: x[name].cat.codes for name in x.columns if x[name].dtype == "category"}).to_numpy(dtype=np.float64)
    many = np.ascontiguousarray(numbers[test][: CANDIDATES * REQUESTS])
    one = many[:CANDIDATES].copy()
    # As the quality was measured: plain numbers must say the same as the table.
    expected = model.predict(x[test][: CANDIDATES * REQUESTS], num_threads=1)

    def said(system, predict):
        found = predict(many)
        # A category that training has not met is another one to each of the two.
        if np.abs(found - expected).max() > 1e-6:
            raise ValueError(f"differs from LightGBM by {np.abs(found - expected).max()}")
        sizes = {f"ms_{count}x{CANDIDATES}": median_ms(predict, rows, max(rounds, 3)) for count, rows, rounds in
                 [(1, one, args.rounds), (REQUESTS, many, args.rounds // 16)]}
        print(json.dumps({"system": system, **about, **sizes}), flush=True)

    said("lightgbm", lambda rows: model.predict(rows, num_threads=1))
    try:
        import lleaves

        with tempfile.TemporaryDirectory() as folder:
            model.save_model(f"{folder}/trees.txt", num_iteration=model.best_iteration)
            compiled = lleaves.Model(model_file=f"{folder}/trees.txt")
            compiled.compile()
            said("lightgbm_lleaves", lambda rows: compiled.predict(rows, n_jobs=1))
    except Exception as error:  # noqa: BLE001
        print(json.dumps({"system": "lightgbm_lleaves", "left_out": f"{type(error).__name__}: {error}"}), flush=True)


if __name__ == "__main__":
    main()
