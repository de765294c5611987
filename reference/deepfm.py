"""DeepFM: forward and gradients of `sum(y * cotangent)`.

    s = tower(x0) + sum_f w_f + <v, numbers> + sum_{f < g} <e_f, e_g>

e_f and w_f: vector and first-order weight of a feature, of a list the means. The pairs are summed one by one here. Guo et al., IJCAI 2017.
"""

import golden_file
from golden_file import Source
from networks import NUMBERS, case, embedded, hidden, layer_parameters, linear, linear_parameters, row, scores, tables, width

ABOUT = "DeepFM: y, and gradients of sum(y * cotangent). Formulas in reference/deepfm.py."
WIDTHS = [4, 3]


def forward(v):
    e, w = embedded(v), embedded(v, prefix="first")
    pairs = sum((a * b).sum(1, keepdim=True) for i, a in enumerate(e) for b in e[:i])
    s = linear(v, "head", hidden(v, "tower", row(v)))
    return scores(s + sum(w) + linear(v, "first.numbers", v["numbers"]) + pairs)


def build():
    source = Source(31)
    parameters = tables(source) | tables(source, "first", 1) | layer_parameters(source, "tower", width(), WIDTHS)
    parameters |= linear_parameters(source, "head", WIDTHS[-1], 1) | linear_parameters(source, "first.numbers", len(NUMBERS), 1)
    return [case("deepfm", {"kind": "dnn", "hidden": WIDTHS, "interaction": "fm"}, source, parameters, forward)]


if __name__ == "__main__":
    golden_file.run("deepfm", ABOUT, build)
