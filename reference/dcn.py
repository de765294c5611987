"""Cross network with a tower: forward and gradients of `sum(y * cotangent)`.

    x_{l+1} = x_0 * (x_l W_l + b_l) + x_l,   with a rank  x_0 * ((x_l U_l + c_l) V_l + b_l) + x_l

parallel: `s = [x_L; h] w + b`, h the tower's hidden state of x_0; stacked: the tower reads x_L. Wang et al., "DCN V2", WWW 2021.
"""

import torch

import golden_file
from golden_file import Source
from networks import case, hidden, layer_parameters, linear, linear_parameters, row, scores, tables, width

ABOUT = "Cross network with a tower: y, and gradients of sum(y * cotangent). Formulas in reference/dcn.py."
WIDTHS = [4, 3]


def cross_case(source, form, layers, rank):
    d = width()
    parameters = tables(source) | layer_parameters(source, "tower", d, WIDTHS)
    for i in range(layers):
        if rank:
            parameters |= linear_parameters(source, f"cross.{i}.down", d, rank, 0.2) | linear_parameters(source, f"cross.{i}.up", rank, d, 0.2)
        else:
            parameters |= linear_parameters(source, f"cross.{i}", d, d, 0.2)
    parameters |= linear_parameters(source, "head", WIDTHS[-1] + (d if form == "parallel" else 0), 1)

    def forward(v):
        x0 = x = row(v)
        for i in range(layers):
            y = linear(v, f"cross.{i}.up", linear(v, f"cross.{i}.down", x)) if rank else linear(v, f"cross.{i}", x)
            x = x0 * y + x
        if form == "stacked":
            return scores(linear(v, "head", hidden(v, "tower", x)))
        return scores(linear(v, "head", torch.cat([x, hidden(v, "tower", x0)], 1)))

    backbone = {"kind": "dnn", "hidden": WIDTHS, "interaction": "cross", "cross_layers": layers, "cross_form": form}
    if rank:
        backbone["cross_rank"] = rank
    return case(f"{form}_{layers}_{rank or 'full'}", backbone, source, parameters, forward)


def build():
    source = Source(32)
    return [cross_case(source, "parallel", 2, None), cross_case(source, "stacked", 1, None), cross_case(source, "parallel", 3, 2)]


if __name__ == "__main__":
    golden_file.run("dcn", ABOUT, build)
