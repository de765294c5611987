"""Star topology on a tower: forward and gradients of `sum(y * cotangent)`.

    y = x (W * W_p) + b + b_p                                 at every linear, the head included, p the domain of the group
    s = s_star + relu([e_p; x0] V1 + c1) v2                   x0 the network's input, with the auxiliary network
    z' = (g * g_p) (z - m) / sqrt(v + eps) + h + h_p          partitioned norm of the tower's input

m and v: in scoring the domain's running moments, m_0 + m_p and v_0 + v_p; in training mean and biased variance of the group's real rows, of which there must be 16, else the running
ones. Training moves the running moments of the domain by a tenth of the way to mean and unbiased variance.

Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR Prediction", CIKM 2021.
"""

import torch

import golden_file
from adapter import tower_parameters
from golden_file import KINKS, Source, layer_case
from lora import WIDTHS, tower

ABOUT = "Star topology: y, and gradients of sum(y * cotangent). Formulas in reference/star.py."
BLOCKS = 3
#: Rows below which a group is normalised by running moments.
LEAST = 16
EPS = 1e-5


def star_parameters(source):
    sites = [f"tower.{i}.linear" for i in range(len(WIDTHS) - 1)] + ["head"]
    own = {}
    for site, d_in, d_out in zip(sites, WIDTHS, WIDTHS[1:] + [1]):
        own |= {f"{site}.star_weight": source.normal(BLOCKS, d_in, d_out, scale=0.3, shift=1.0), f"{site}.star_bias": source.normal(BLOCKS, 1, d_out, scale=0.3)}
    return own


def star_tower(v, domain):
    """The tower of each group's domain."""

    def linear(i, x, weight, bias):
        site = "head" if i is None else f"tower.{i}.linear"
        return torch.stack([x[g] @ (weight * v[f"{site}.star_weight"][p]) + bias + v[f"{site}.star_bias"][p] for g, p in enumerate(domain)])

    return tower(v, linear)


def star_case(source, auxiliary):
    domain = torch.tensor([2, 0])
    parameters = tower_parameters(source, WIDTHS, False)
    own = star_parameters(source)
    if auxiliary:
        own |= {
            "auxiliary.embedding": source.normal(BLOCKS, 1, 2, scale=0.5),
            "auxiliary.0.weight": source.normal(2 + WIDTHS[0], auxiliary, scale=0.5),
            "auxiliary.0.bias": source.normal(auxiliary, scale=0.3),
            "auxiliary.1.weight": source.normal(auxiliary, 1, scale=0.5),
        }

    def forward(v):
        y = star_tower(v, domain)
        if auxiliary:
            e = v["auxiliary.embedding"][domain].expand(-1, v["x"].shape[1], -1)
            h = KINKS.relu(torch.cat([e, v["x"]], 2) @ v["auxiliary.0.weight"] + v["auxiliary.0.bias"])
            y = y + h @ v["auxiliary.1.weight"]
        return y

    config = {"keys": f"auxiliary = {auxiliary}\nembedding = 2", "norm": "none", "widths": WIDTHS, "domains": BLOCKS}
    case = layer_case(f"auxiliary_{auxiliary}", config, {"x": source.normal(2, 3, 4)}, parameters | own, forward, source)
    case["inputs"]["domain"] = golden_file.tensor(domain)
    return case


def norm_case(source, training):
    domain, d, rows = torch.tensor([2, 0, 1]), WIDTHS[0], 18 if training else 3
    parameters = tower_parameters(source, WIDTHS, False) | star_parameters(source)
    parameters |= {"input.norm.gain": source.normal(d, scale=0.3, shift=1.0), "input.norm.shift": source.normal(d, scale=0.3)}
    parameters |= {"input.norm.mean": source.normal(d), "input.norm.variance": source.positive(d) + 0.5}
    parameters |= {"input.norm.star_gain": source.normal(BLOCKS, 1, d, scale=0.3, shift=1.0), "input.norm.star_shift": source.normal(BLOCKS, 1, d, scale=0.3)}
    parameters |= {"input.norm.star_mean": source.normal(BLOCKS, 1, d, scale=0.3), "input.norm.star_variance": 0.25 * source.positive(BLOCKS, 1, d)}
    # The second group has too few rows, the third some padding.
    real = [rows, 5, 16] if training else [rows, 2, 3]
    mask = (torch.arange(rows)[None] < torch.tensor(real)[:, None]).long()

    def moments(v, g, p):
        z = v["x"][g, : real[g]]
        if training and real[g] >= LEAST:
            return z.mean(0), z.var(0, unbiased=False)
        return v["input.norm.mean"] + v["input.norm.star_mean"][p, 0], v["input.norm.variance"] + v["input.norm.star_variance"][p, 0]

    def forward(v):
        normed = []
        for g, p in enumerate(domain):
            mean, variance = moments(v, g, p)
            gain, shift = v["input.norm.gain"] * v["input.norm.star_gain"][p], v["input.norm.shift"] + v["input.norm.star_shift"][p]
            normed.append((v["x"][g] - mean) / torch.sqrt(variance + EPS) * gain + shift)
        return star_tower(v | {"x": torch.stack(normed)}, domain) * mask[..., None]

    config = {"keys": "auxiliary = 0", "norm": "none", "input_norm": "batch", "training": training, "widths": WIDTHS, "domains": BLOCKS}
    case = layer_case(f"partitioned_norm_{'training' if training else 'scoring'}", config, {"x": source.normal(3, rows, d)}, parameters, forward, source)
    case["inputs"] |= golden_file.tensors({"domain": domain, "mask": mask})
    if training:
        x = torch.tensor(case["inputs"]["x"]["data"], dtype=torch.float64).reshape(3, rows, d)
        after = {name: parameters[name].clone() for name in ("input.norm.star_mean", "input.norm.star_variance")}
        for g, p in enumerate(domain):
            z = x[g, : real[g]]
            if real[g] >= LEAST:
                for name, base, seen in (("star_mean", "mean", z.mean(0)), ("star_variance", "variance", z.var(0, unbiased=True))):
                    running = parameters[f"input.norm.{base}"] + after[f"input.norm.{name}"][p, 0]
                    after[f"input.norm.{name}"][p, 0] = 0.9 * running + 0.1 * seen - parameters[f"input.norm.{base}"]
        case["outputs"] |= golden_file.tensors({f"moved.{name}": value for name, value in after.items()})
    return case


def build():
    source = Source(13)
    return [star_case(source, 0), star_case(source, 4), norm_case(source, False), norm_case(source, True)]


if __name__ == "__main__":
    golden_file.run("star", ABOUT, build)
