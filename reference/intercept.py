"""The offset of logits that labelled rows ask for, one for all or one a domain, by bisection of the derivative.

    a   = argmin sum_i loss(z_i + a, y_i) + a^2 / (2 S^2)                       S = 3
    m_d = argmin sum_{i in d} loss(z_i + a + m_d, y_i) + m_d^2 / (2 S^2),       c_d the curvature there, prior included
    tau^2 = argmax sum_d log N(m_d; 0, tau^2 + 1 / c_d)                         on a grid of 200,000 values from 1e-8 to 100
    u_d = argmin sum_{i in d} loss(z_i + a + u_d, y_i) + u_d^2 / (2 tau^2)

with the logistic loss. The last domain is that of all unknown ones. (No gradients; a layout of its own within the usual one: scores, labels, domain under
`inputs`, a and the u_d under `outputs`.)
"""

import torch

import golden_file
from golden_file import Source

ABOUT = "Exact intercepts of logits. Formulas in reference/intercept.py."
SD = 3.0


def mode(z, y, variance):
    """Minimum by bisection, and the curvature there."""
    slope = lambda a: float((torch.sigmoid(z + a) - y).sum() + a / variance)
    low, high = -50.0, 50.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    p = torch.sigmoid(z + low)
    return low, float((p * (1 - p)).sum() + 1 / variance)


def case(source, name, per_domain, blocks, rows, rate):
    z = source.normal(rows, scale=1.5)
    domain = source.integers(blocks - 1, rows)
    y = (source.positive(rows) < 0.25 + rate * (1 + domain) / blocks).double()
    common, _ = mode(z, y, SD * SD)
    outputs = {"common": torch.tensor([common], dtype=torch.float64)}
    if per_domain:
        parts = [(d, z[domain == d] + common, y[domain == d]) for d in range(blocks) if (domain == d).any()]
        own = torch.tensor([mode(zs, ys, SD * SD) for _, zs, ys in parts], dtype=torch.float64)
        grid = torch.logspace(-8, 2, 200_000, dtype=torch.float64)
        spread = grid[:, None] + 1 / own[:, 1]
        variance = float(grid[torch.argmax((-0.5 * (spread.log() + own[:, 0] ** 2 / spread)).sum(1))])
        deviations = torch.zeros(blocks, dtype=torch.float64)
        for d, zs, ys in parts:
            deviations[d] = mode(zs, ys, variance)[0]
        outputs |= {"domain": deviations}
    return {
        "name": name,
        "config": {"keys": "per_domain = true" if per_domain else "", "widths": [4, 5, 3], "norm": "none", "domains": blocks},
        "inputs": golden_file.tensors({"scores": z, "labels": y, "domain": domain}),
        "outputs": golden_file.tensors(outputs),
    }


def build():
    source = Source(14)
    return [case(source, "one", False, 3, 60, 0.2), case(source, "one_class", False, 3, 20, 9.0), case(source, "per_domain", True, 5, 150, 0.4)]


if __name__ == "__main__":
    golden_file.run("intercept", ABOUT, build)
