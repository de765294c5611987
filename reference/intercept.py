"""The offset of logits that labelled rows ask for, one for all or one a domain, by bisection of the derivative.

    a   = argmin sum_i loss(z_i + a, y_i) + a^2 / (2 S^2)                       S = 3
    u_d = argmin sum_{i in d} loss(z_i + a + u_d, y_i) + u_d^2 / (2 tau^2),     tau^2 <- mean_d(u_d^2 + 1 / curvature_d) until it stands

with the logistic loss and the curvature at u_d, prior included. The last domain is that of all unknown ones. (No gradients; a layout of its own within the
usual one: scores, labels, domain under `inputs`, the offsets under `outputs`.)
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
    y = (source.positive(rows) < 0.25 + rate).double()
    domain = source.integers(blocks, rows)
    common, _ = mode(z, y, SD * SD)
    offsets = torch.full((blocks if per_domain else 1,), common, dtype=torch.float64)
    if per_domain:
        parts = [(d, z[domain == d] + common, y[domain == d]) for d in range(blocks) if (domain == d).any()]
        variance = 1.0
        for _ in range(500):
            found = [(d, *mode(zs, ys, variance)) for d, zs, ys in parts]
            variance = max(sum(u * u + 1 / c for _, u, c in found) / len(found), 1e-8)
        for d, zs, ys in parts:
            offsets[d] += mode(zs, ys, variance)[0]
    return {
        "name": name,
        "config": {"keys": "per_domain = true" if per_domain else "", "widths": [4, 5, 3], "norm": "none", "domains": blocks},
        "inputs": golden_file.tensors({"scores": z, "labels": y, "domain": domain}),
        "outputs": golden_file.tensors({"offsets": offsets}),
    }


def build():
    source = Source(14)
    return [case(source, "one", False, 3, 60, 0.2), case(source, "one_class", False, 3, 20, 2.0), case(source, "per_domain", True, 5, 150, 0.4)]


if __name__ == "__main__":
    golden_file.run("intercept", ABOUT, build)
