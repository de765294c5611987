"""Conditional batch norm in a tower: forward and gradients of `sum(y * cotangent)`, and the moments that are measured before training.

    x_{l+1} = relu((g + dg) (z - m) / sqrt(v + eps) + h + dh),   z = x_l W + b
    dg = relu(e V1 + c1) V2,   dh = relu(e U1 + d1) U2           two networks a norm, no bias at their ends
    e = e_0 + r_p                                                p the domain of the group

m and v are the running moments m_0 and v_0 of the norm (`frozen`), or m_0 + m_c and v_0 + v_c from a parameter `moments` with one row for all (`reestimated`) or one for each domain
(`per_condition`), the columns of each norm behind each other: mean, then variance.

Measured: of the n rows of a code (or all rows), with mean mu and biased variance w of z at a norm,

    m_c = (N m_0 + n mu) / (N + n) - m_0,   v_c = (N v_0 + n w) / (N + n) + N n (mu - m_0)^2 / (N + n)^2 - v_0,

norm after norm, each with those before it in place, in the network before training, where dg = dh = 0. A code without rows has 0.

The published program recomputes moments in each training batch and keeps moving ones for scoring; here both use what was measured once.

de Vries et al., "Modulating early visual processing by language", NeurIPS 2017.
"""

import torch

import golden_file
from adapter import tower_parameters
from golden_file import KINKS, Source, layer_case
from partitioned_norm import BLOCKS, EPS, WIDTHS, norm_parameters

ABOUT = "Conditional batch norm: y, gradients of sum(y * cotangent), measured moments. Formulas in reference/conditional_batch_norm.py."
CONDITION, HIDDEN = 3, 4
WIDTH = 2 * sum(WIDTHS[1:])


def own_parameters(source, moments, at_start=False):
    own = {"condition.common": source.normal(CONDITION, scale=0.5), "condition.embedding": source.normal(BLOCKS, CONDITION, scale=0.0 if at_start else 0.5)}
    for i, d in enumerate(WIDTHS[1:]):
        for delta in ("gain_delta", "shift_delta"):
            path = f"tower.{i}.norm.{delta}"
            own |= {f"{path}.0.weight": source.normal(CONDITION, HIDDEN), f"{path}.0.bias": source.normal(HIDDEN, scale=0.3, shift=0.3)}
            own |= {f"{path}.1.weight": source.normal(HIDDEN, d, scale=0.0 if at_start else 0.4)}
    rows = {"frozen": 0, "reestimated": 1, "per_condition": BLOCKS}[moments]
    # Half of the width are variances, which stay above 0.
    return own | ({"moments": source.normal(rows, WIDTH, scale=0.1)} if rows else {})


def places(i):
    """Columns of norm i: its mean and its variance."""
    begin, d = 2 * sum(WIDTHS[1 : i + 1]), WIDTHS[i + 1]
    return slice(begin, begin + d), slice(begin + d, begin + 2 * d)


def network(v, x, e, moments):
    """The tower on rows x `[N, d]` of one condition e; `moments(i, z)` are those of norm i."""
    for i in range(len(WIDTHS) - 1):
        path = f"tower.{i}.norm"
        z = x @ v[f"tower.{i}.weight"] + v[f"tower.{i}.bias"]
        mean, variance = moments(i, z)

        def delta(name):
            hidden = KINKS.relu(e @ v[f"{path}.{name}.0.weight"] + v[f"{path}.{name}.0.bias"])
            return hidden @ v[f"{path}.{name}.1.weight"]

        gain, shift = v[f"{path}.gain"] + delta("gain_delta"), v[f"{path}.shift"] + delta("shift_delta")
        x = KINKS.relu((z - mean) / torch.sqrt(variance + EPS) * gain + shift)
    return x @ v["head.weight"] + v["head.bias"]


def scoring_case(source, moments):
    domain = torch.tensor([2, 0])
    parameters = tower_parameters(source, WIDTHS, False) | norm_parameters(source, WIDTHS) | own_parameters(source, moments)

    def forward(v):
        def of_group(x, p):
            def at(i, z):
                base = v[f"tower.{i}.norm.mean"], v[f"tower.{i}.norm.variance"]
                if moments == "frozen":
                    return base
                row = v["moments"][p if moments == "per_condition" else 0]
                return tuple(b + row[columns] for b, columns in zip(base, places(i)))

            return network(v, x, v["condition.common"] + v["condition.embedding"][p], at)

        return torch.stack([of_group(v["x"][g], p) for g, p in enumerate(domain.tolist())])

    keys = f"moments = '{moments}'\nembedding = {CONDITION}\nhidden = {HIDDEN}"
    config = {"keys": keys, "norm": "batch", "widths": WIDTHS, "domains": BLOCKS}
    case = layer_case(moments, config, {"x": source.normal(2, 3, WIDTHS[0])}, parameters, forward, source)
    case["inputs"]["domain"] = golden_file.tensor(domain)
    return case


def measured_case(source, moments, pseudo_count):
    """Rows of two domains in three batches' order; nothing is known of the third domain."""
    domain = torch.tensor([0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0])
    x = source.normal(len(domain), WIDTHS[0], shift=0.25)
    v = tower_parameters(source, WIDTHS, False) | norm_parameters(source, WIDTHS)
    codes = [[p] for p in range(BLOCKS)] if moments == "per_condition" else [list(range(BLOCKS))]
    out, h = torch.zeros(len(codes), WIDTH, dtype=torch.float64), x
    for i in range(len(WIDTHS) - 1):
        path = f"tower.{i}.norm"
        z = h @ v[f"tower.{i}.weight"] + v[f"tower.{i}.bias"]
        normed = torch.empty_like(z)
        for row, of_code in enumerate(codes):
            is_of = torch.isin(domain, torch.tensor(of_code))
            m_0, v_0, n, rows = v[f"{path}.mean"], v[f"{path}.variance"], int(is_of.sum()), z[is_of]
            mean, variance = m_0, v_0
            if n:
                mu, w = rows.mean(0), rows.var(0, unbiased=False)
                mean = (pseudo_count * m_0 + n * mu) / (pseudo_count + n)
                variance = (pseudo_count * v_0 + n * w) / (pseudo_count + n) + pseudo_count * n * (mu - m_0) ** 2 / (pseudo_count + n) ** 2
            for columns, new, old in zip(places(i), (mean, variance), (m_0, v_0)):
                out[row, columns] = new - old
            normed[is_of] = (rows - mean) / torch.sqrt(variance + EPS)
        h = torch.relu(normed * v[f"{path}.gain"] + v[f"{path}.shift"])
    keys = f"moments = '{moments}'\npseudo_count = {pseudo_count:.1f}"
    config = {"measured": keys, "norm": "batch", "widths": WIDTHS, "domains": BLOCKS}
    inputs = golden_file.tensors({"x": x, "domain": domain})
    return {"name": f"measured_{moments}", "config": config, "inputs": inputs, "parameters": golden_file.tensors(v), "outputs": golden_file.tensors({"moments": out})}


def build():
    source = Source(62)
    cases = [scoring_case(source, moments) for moments in ("frozen", "reestimated", "per_condition")]
    return cases + [measured_case(source, "reestimated", 8.0), measured_case(source, "per_condition", 5.0), measured_case(source, "per_condition", 0.0) | {"name": "measured_unshrunk"}]


if __name__ == "__main__":
    golden_file.run("conditional_batch_norm", ABOUT, build)
