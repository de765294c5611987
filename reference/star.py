"""Star topology on a tower: forward and gradients of `sum(y * cotangent)`.

    y = x (W * W_p) + b + b_p                                 at every linear, the head included, p the domain of the group
    s = s_star + relu([e_p; x0] V1 + c1) v2                   x0 the tower's input, with the auxiliary network

Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR Prediction", CIKM 2021.
"""

import torch

import golden_file
from adapter import tower_parameters
from golden_file import KINKS, Source, layer_case
from lora import WIDTHS, tower

ABOUT = "Star topology: y, and gradients of sum(y * cotangent). Formulas in reference/star.py."
BLOCKS = 3


def star_case(source, auxiliary):
    domain = torch.tensor([2, 0])
    parameters = tower_parameters(source, WIDTHS, False)
    sites = [f"tower.{i}.linear" for i in range(len(WIDTHS) - 1)] + ["head"]
    own = {}
    for site, d_in, d_out in zip(sites, WIDTHS, WIDTHS[1:] + [1]):
        own |= {f"{site}.star_weight": source.normal(BLOCKS, d_in, d_out, scale=0.3, shift=1.0), f"{site}.star_bias": source.normal(BLOCKS, 1, d_out, scale=0.3)}
    if auxiliary:
        own |= {
            "auxiliary.embedding": source.normal(BLOCKS, 1, 2, scale=0.5),
            "auxiliary.0.weight": source.normal(2 + WIDTHS[0], auxiliary, scale=0.5),
            "auxiliary.0.bias": source.normal(auxiliary, scale=0.3),
            "auxiliary.1.weight": source.normal(auxiliary, 1, scale=0.5),
        }

    def forward(v):
        def linear(i, x, weight, bias):
            site = "head" if i is None else f"tower.{i}.linear"
            return torch.stack([x[g] @ (weight * v[f"{site}.star_weight"][p]) + bias + v[f"{site}.star_bias"][p] for g, p in enumerate(domain)])

        y = tower(v, linear)
        if auxiliary:
            e = v["auxiliary.embedding"][domain].expand(-1, v["x"].shape[1], -1)
            h = KINKS.relu(torch.cat([e, v["x"]], 2) @ v["auxiliary.0.weight"] + v["auxiliary.0.bias"])
            y = y + h @ v["auxiliary.1.weight"]
        return y

    config = {"keys": f"auxiliary = {auxiliary}\nembedding = 2", "norm": "none", "widths": WIDTHS, "domains": BLOCKS}
    case = layer_case(f"auxiliary_{auxiliary}", config, {"x": source.normal(2, 3, 4)}, parameters | own, forward, source)
    case["inputs"]["domain"] = golden_file.tensor(domain)
    return case


def build():
    source = Source(13)
    return [star_case(source, 0), star_case(source, 4)]


if __name__ == "__main__":
    golden_file.run("star", ABOUT, build)
