"""Rare ids: what is counted in training rows, the codes that are read of others, and the paths of rows whose codes are rare.

    c_f(v) = sum_i [codes[i, f] = v]                        f of the counted features
    read(codes)[f] = codes[f] if c_f(codes[f]) >= tau else 0

Features that are not counted are read as they are. A code that no training row has counts 0. With c_f the rows of the code that is read, 0 where that is code 0:

    u = 1 - mean_f min(1, ln(1 + c_f) / ln(1 + c0))         rows with u > theta on which some path leaves something out are taken
    path k = 0 .. K - 1 reads f as 0 if unit(k, f) < rho exp(-c_f / c1) and codes[f] != 0
    z = sum_k w_k z_k / sum_k w_k,  w_k = exp(-|z_k - median z| / s)

    unit(k, f) = (m(m(h ^ k) ^ f) >> 11) / 2^53,  h = 0, then for each code of the row, all features: h = m(h ^ code),  m of SplitMix64
    m(z): z += 0x9e3779b97f4a7c15; z = (z ^ z >> 30) 0xbf58476d1ce4e5b9; z = (z ^ z >> 27) 0x94d049bb133111eb; z ^ z >> 31,   all modulo 2^64

This project's reduction of MATT-CTR (2025) and UTTSI (2026): the mask goes by single features, not by combinations, and does not know of a network's gradients. Neither has published code.
"""

import numpy as np

import golden_file
from golden_file import Source

ABOUT = "Rare ids: counts of codes, codes as they are read, paths of rows of rare codes and what their scores become. Formulas in reference/rare_ids.py."
# Values of user_id, item_id and a third feature, code 0 among them.
SIZES, FIELDS = [9, 7, 4], ["user_id", "item_id", "hour"]
ROWS, QUERY = 40, 24
MASK = (1 << 64) - 1
NEAR = 1e-6


def draw(source, rows):
    """Codes, small ones more often."""
    return np.array([[min(int(source.integers(size, 1)), int(source.integers(size, 1))) for size in SIZES] for _ in range(rows)])


def m(z):
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def unit(codes, k, f):
    h = 0
    for code in codes:
        h = m(h ^ int(code))
    return (m(m(h ^ k) ^ f) >> 11) / 2.0**53


def rows_of(counts, codes):
    return {f: 0.0 if codes[f] == 0 else float(counts[f][codes[f]]) for f in counts}


def rarity(counts, codes, paths):
    return 1.0 - np.mean([min(1.0, np.log1p(c) / np.log1p(paths["known"])) for c in rows_of(counts, codes).values()])


def left_out(counts, codes, paths, k):
    """1 for each feature that path k reads as the unknown one."""
    out = [0] * len(FIELDS)
    for f, c in rows_of(counts, codes).items():
        chance = paths["drop"] * np.exp(-c / paths["fade"])
        assert abs(unit(codes, k, f) - chance) > NEAR, "too near to be told apart"
        out[f] = int(codes[f] != 0 and unit(codes, k, f) < chance)
    return out


def mean(z, spread):
    w = np.exp(-np.abs(z - np.median(z)) / spread)
    return float((w * z).sum() / w.sum())


def case(source, name, counted, least, paths=None):
    train, query = draw(source, ROWS), draw(source, QUERY)
    counts = {f: np.bincount(train[:, f], minlength=SIZES[f]) for f in counted}
    read = query.copy()
    for f in counted:
        read[counts[f][query[:, f]] < least, f] = 0
    assert least == 0 or (read != query).any(), f"{name}: nothing is rare"
    keys = f"features = {[FIELDS[f] for f in counted]}\nleast = {least}".replace("'", '"')
    inputs = {"train": train.tolist(), "query": query.tolist()}
    outputs = {f"counts.{FIELDS[f]}": counts[f].tolist() for f in counts} | {"counted": [ROWS], "read": read.tolist()}
    if paths:
        keys += "".join(f"\n{key} = {value}" for key, value in paths.items())
        u = np.array([rarity(counts, codes, paths) for codes in read])
        dropped = np.array([[left_out(counts, codes, paths, k) for k in range(paths["paths"])] for codes in read])
        assert np.abs(u - paths["threshold"]).min() > NEAR, f"{name}: a row is too near to the threshold"
        taken = (u > paths["threshold"]) & dropped.any((1, 2))
        assert 0 < taken.sum() < QUERY, f"{name}: all rows are alike"
        z = source.normal(QUERY, paths["paths"])
        inputs["z"] = z
        outputs |= {"rarity": u.tolist(), "dropped": dropped.tolist(), "taken": taken.astype(int).tolist()}
        outputs["mean"] = [mean(row, paths["spread"]) for row in z.numpy()]
    return {
        "name": name,
        "config": {"keys": keys, "sizes": SIZES, "fields": FIELDS, "paths": paths["paths"] if paths else 0},
        "inputs": golden_file.tensors(inputs),
        "outputs": golden_file.tensors({name: np.array(value) for name, value in outputs.items()}),
    }


def build():
    source = Source(61)
    paths = {"paths": 5, "threshold": 0.5, "known": 30.0, "drop": 0.75, "fade": 8.0, "spread": 0.5}
    return [
        case(source, "users_and_items", [0, 1], 5),
        case(source, "one_feature", [1], 8),
        case(source, "in_another_order", [2, 0], 9),
        case(source, "nothing_is_rare", [0, 1], 0),
        case(source, "paths", [0, 1], 0, paths),
        case(source, "paths_of_what_is_read", [1, 0, 2], 4, paths | {"paths": 8, "threshold": 0.45, "drop": 1.0, "spread": 2.0}),
    ]


if __name__ == "__main__":
    golden_file.run("rare_ids", ABOUT, build)
