"""Target attention: forward and gradients of `sum(y * cotangent)`.

    u = sum_j a(e_j, e_t) e_j,   a(e, t) = relu([e; t; e - t; e * t] V1 + c1) v2 + c2        not normalised; no entry gives 0

u stands in place of the mean of the list `clicked`; e_t is the vector of `item_id`. Zhou et al., "Deep Interest Network", KDD 2018.
"""

import torch

import golden_file
from golden_file import KINKS, Source
from networks import D, case, hidden, layer_parameters, linear, linear_parameters, row, scores, tables, width

ABOUT = "Target attention: y, and gradients of sum(y * cotangent). Formulas in reference/din.py."
WIDTHS = [4, 3]
UNIT = 4


def forward(v):
    target = v["table.item"][v["codes"][:, 1]]
    pooled = []
    for t, codes, mask in zip(target, v["list.clicked"], v["mask.clicked"]):
        total = torch.zeros(D, dtype=torch.float64)
        for e in v["table.item"][codes[mask == 1]]:
            h = KINKS.relu(linear(v, "attention.clicked.0", torch.cat([e, t, e - t, e * t])))
            total = total + linear(v, "attention.clicked.1", h) * e
        pooled.append(total)
    return scores(linear(v, "head", hidden(v, "tower", row(v, {"clicked": torch.stack(pooled)}))))


def build():
    source = Source(33)
    parameters = tables(source) | layer_parameters(source, "tower", width(), WIDTHS) | linear_parameters(source, "head", WIDTHS[-1], 1)
    parameters |= linear_parameters(source, "attention.clicked.0", 4 * D, UNIT) | linear_parameters(source, "attention.clicked.1", UNIT, 1)
    return [case("din", {"kind": "dnn", "hidden": WIDTHS, "attention": ["clicked"], "attention_hidden": UNIT}, source, parameters, forward)]


if __name__ == "__main__":
    golden_file.run("din", ABOUT, build)
