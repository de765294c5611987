"""Partitioned norms in a tower of batch norms: forward and gradients of `sum(y * cotangent)`, and the moments of a window of rows without labels.

    x_{l+1} = relu((g * g_p) (z - m) / sqrt(v + eps) + h + h_p),   z = x_l W + b,   p the domain of the group

m and v: in scoring the domain's running moments, m_0 + m_p and v_0 + v_p; in training mean and biased variance of the group's real rows, of which there must be 16, else the running
ones. Training moves the running moments of the domain by a tenth of the way to mean and unbiased variance.

Window: n rows of one domain, with mean mu and biased variance w at a norm that has m and v,

    m' = (N m + n mu) / (N + n),   v' = (N v + n w) / (N + n) + N n (mu - m)^2 / (N + n)^2,

norm after norm, each with what the norms before it give under their new moments. The formula is written here as the moments of N rows at m +- sqrt(v) and the n rows together.

Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR Prediction", CIKM 2021.
"""

import torch

import golden_file
from adapter import tower_parameters
from golden_file import KINKS, Source, layer_case

ABOUT = "Partitioned norms: y, gradients of sum(y * cotangent), running moments after a step, moments of a window. Formulas in reference/partitioned_norm.py."
WIDTHS = [4, 5, 3]
BLOCKS = 3
#: Rows below which a group is normalised by running moments.
LEAST = 16
EPS = 1e-5


def norm_parameters(source, widths):
    """Gain, shift and running moments of each hidden layer's batch norm, under the product's names."""
    own = {}
    for i, d in enumerate(widths[1:]):
        path = f"tower.{i}.norm"
        own |= {f"{path}.gain": source.normal(d, scale=0.3, shift=1.0), f"{path}.shift": source.normal(d, scale=0.3)}
        own |= {f"{path}.mean": source.normal(d, scale=0.5), f"{path}.variance": source.positive(d) + 0.5}
    return own


def domain_parameters(source, widths):
    own = {}
    for i, d in enumerate(widths[1:]):
        path = f"tower.{i}.norm.partitioned"
        own |= {f"{path}_gain": source.normal(BLOCKS, 1, d, scale=0.3, shift=1.0), f"{path}_shift": source.normal(BLOCKS, 1, d, scale=0.3)}
        own |= {f"{path}_mean": source.normal(BLOCKS, 1, d, scale=0.3), f"{path}_variance": 0.25 * source.positive(BLOCKS, 1, d)}
    return own


def running(v, i, p):
    path = f"tower.{i}.norm"
    return v[f"{path}.mean"] + v[f"{path}.partitioned_mean"][p, 0], v[f"{path}.variance"] + v[f"{path}.partitioned_variance"][p, 0]


def group_tower(v, x, p, moments):
    """The tower of one group of domain p; `moments(i, z)` are those of norm i."""
    for i in range(len(WIDTHS) - 1):
        path = f"tower.{i}.norm"
        z = x @ v[f"tower.{i}.weight"] + v[f"tower.{i}.bias"]
        mean, variance = moments(i, z)
        gain, shift = v[f"{path}.gain"] * v[f"{path}.partitioned_gain"][p, 0], v[f"{path}.shift"] + v[f"{path}.partitioned_shift"][p, 0]
        x = KINKS.relu((z - mean) / torch.sqrt(variance + EPS) * gain + shift)
    return x @ v["head.weight"] + v["head.bias"]


def norm_case(source, training):
    domain, rows = torch.tensor([2, 0, 1]), 18 if training else 3
    parameters = tower_parameters(source, WIDTHS, False) | norm_parameters(source, WIDTHS) | domain_parameters(source, WIDTHS)
    # The second group has too few rows, the third some padding.
    real = [rows, 5, 16] if training else [rows, 2, 3]
    mask = (torch.arange(rows)[None] < torch.tensor(real)[:, None]).long()
    seen = {}

    def forward(v):
        groups = []
        for g, p in enumerate(domain.tolist()):

            def moments(i, z):
                if not training or real[g] < LEAST:
                    return running(v, i, p)
                z = z[: real[g]]
                seen[i, p] = (z.detach().mean(0), z.detach().var(0, unbiased=True))
                return z.mean(0), z.var(0, unbiased=False)

            groups.append(group_tower(v, v["x"][g], p, moments))
        return torch.stack(groups) * mask[..., None]

    config = {"keys": "", "norm": "batch", "training": training, "widths": WIDTHS, "domains": BLOCKS}
    inputs = {"x": source.normal(3, rows, WIDTHS[0])}
    case = layer_case("training" if training else "scoring", config, inputs, parameters, forward, source)
    case["inputs"] |= golden_file.tensors({"domain": domain, "mask": mask})
    if training:
        seen.clear()
        forward(parameters | inputs)
        after = {name: value.clone() for name, value in parameters.items() if name.endswith(("partitioned_mean", "partitioned_variance"))}
        for (i, p), moments in seen.items():
            for name, old, new in zip(("mean", "variance"), running(parameters, i, p), moments):
                after[f"tower.{i}.norm.partitioned_{name}"][p, 0] = 0.9 * old + 0.1 * new - parameters[f"tower.{i}.norm.{name}"]
        case["outputs"] |= golden_file.tensors({f"moved.{name}": value for name, value in after.items()})
    return case


def together(mean, variance, z, pseudo_count):
    """Moments of `pseudo_count` rows, half at mean + sd and half at mean - sd, and of the rows z."""
    values = torch.cat([(mean + variance.sqrt())[None], (mean - variance.sqrt())[None], z])
    weights = torch.cat([torch.full((2,), pseudo_count / 2.0, dtype=torch.float64), torch.ones(len(z), dtype=torch.float64)])[:, None]
    new = (weights * values).sum(0) / weights.sum()
    return new, (weights * (values - new) ** 2).sum(0) / weights.sum()


def window_case(source, pseudo_count):
    p, rows = 1, 7
    v = tower_parameters(source, WIDTHS, False) | norm_parameters(source, WIDTHS) | domain_parameters(source, WIDTHS)
    x = source.normal(1, rows, WIDTHS[0], shift=0.5)
    out = {}

    def moments(i, z):
        mean, variance = together(*running(v, i, p), z, pseudo_count)
        out.update({f"tower.{i}.norm.mean": mean, f"tower.{i}.norm.variance": variance})
        return mean, variance

    KINKS.safe()
    out["scores"] = group_tower(v, x[0], p, moments)[None]
    assert KINKS.safe(), "an activation is too near to its kink, choose another seed"
    config = {"window": "", "pseudo_count": pseudo_count, "norm": "batch", "widths": WIDTHS, "domains": BLOCKS, "domain": p}
    return {
        "name": f"window_{pseudo_count:g}",
        "config": config,
        "inputs": golden_file.tensors({"x": x}),
        "parameters": golden_file.tensors(v),
        "outputs": golden_file.tensors(out),
    }


def build():
    source = Source(61)
    return [norm_case(source, False), norm_case(source, True), window_case(source, 16.0), window_case(source, 0.0)]


if __name__ == "__main__":
    golden_file.run("partitioned_norm", ABOUT, build)
