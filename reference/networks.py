"""The networks that score rows: what a case of theirs holds, their input side and their towers.

A case names the fields of its rows, `fields = [[feature, vocabulary], ..]`, its lists, `lists` alike, and its numbers. Inputs: `codes [R, F]`, `list.NAME [R, T]` with
`mask.NAME`, `numbers [R, C]`, R = G N rows. Parameters: `table.VOCABULARY [rows, d]` and the network's own, named as the product names them. `y` is `[G, N, 1]`.

    x0 = [E[c_1]; ..; E[c_F]; mean_j E[c_bj] for each list; numbers]
"""

import torch

import golden_file
from golden_file import KINKS

GROUPS, ROWS, D = 2, 3, 3
VOCABULARIES = {"item": 5, "user": 4, "tag": 4}
FIELDS = [["user_id", "user"], ["item_id", "item"]]
LISTS = [["clicked", "item"], ["tags", "tag"]]
NUMBERS = ["age", "hour"]


def inputs(source):
    """Codes, lists (one of them empty) and numbers of all rows."""
    r = GROUPS * ROWS
    values = {"codes": torch.stack([source.integers(VOCABULARIES[v], r) for _, v in FIELDS], 1)}
    for name, vocabulary in LISTS:
        length = source.integers(4, r)
        length[1], length[2] = 0, 3
        values[f"mask.{name}"] = (torch.arange(3)[None] < length[:, None]).long()
        values[f"list.{name}"] = (1 + source.integers(VOCABULARIES[vocabulary] - 1, r, 3)) * values[f"mask.{name}"]
    return values | {"numbers": source.normal(r, len(NUMBERS))}


def tables(source, prefix="table", d=D):
    return {f"{prefix}.{name}": source.normal(rows, d, scale=0.7) for name, rows in VOCABULARIES.items()}


def embedded(v, prefix="table", pooled=None):
    """One vector a feature, `[R, d]` each, fields before lists; `pooled` replaces the mean of some lists."""
    vectors = [v[f"{prefix}.{vocabulary}"][v["codes"][:, f]] for f, (_, vocabulary) in enumerate(FIELDS)]
    for name, vocabulary in LISTS:
        if pooled and name in pooled:
            vectors.append(pooled[name])
            continue
        mask = v[f"mask.{name}"].double()
        total = (v[f"{prefix}.{vocabulary}"][v[f"list.{name}"]] * mask[..., None]).sum(1)
        vectors.append(total / mask.sum(1, keepdim=True).clamp(min=1.0))
    return vectors


def row(v, pooled=None):
    """x0 `[R, width]`."""
    return torch.cat([*embedded(v, pooled=pooled), v["numbers"]], 1)


def width():
    return D * (len(FIELDS) + len(LISTS)) + len(NUMBERS)


def linear_parameters(source, path, d_in, d_out, scale=0.4):
    return {f"{path}.weight": source.normal(d_in, d_out, scale=scale), f"{path}.bias": source.normal(d_out, scale=0.3)}


def layer_parameters(source, path, d_in, widths):
    """`PATH.i.linear` of hidden layers."""
    parameters = {}
    for i, (a, b) in enumerate(zip([d_in, *widths], widths)):
        parameters |= linear_parameters(source, f"{path}.{i}.linear", a, b)
    return parameters


def linear(v, path, x):
    return x @ v[f"{path}.weight"] + v[f"{path}.bias"]


def hidden(v, path, x):
    """ReLU layers `PATH.0.linear`, `PATH.1.linear`, .."""
    i = 0
    while f"{path}.{i}.linear.weight" in v:
        x, i = KINKS.relu(linear(v, f"{path}.{i}.linear", x)), i + 1
    return x


def scores(s):
    """`[R, 1]` to `[G, N, 1]`."""
    return s.reshape(GROUPS, ROWS, 1)


def case(name, backbone, source, parameters, forward, values=None, domains=()):
    config = {
        "backbone": {"embedding": D, **backbone},
        "vocabularies": list(VOCABULARIES.items()),
        "fields": FIELDS,
        "lists": LISTS,
        "numbers": NUMBERS,
        "domains": list(domains),
        "groups": GROUPS,
    }
    return golden_file.layer_case(name, config, values or inputs(source), parameters, forward, source)
