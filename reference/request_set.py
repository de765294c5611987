"""A tower modulated by the set of a request: forward and gradients of `sum(y * cotangent)`.

    s_j = tanh(sg(x_j) V + b)                                  over the real rows j of a request, M of them
    c = [mean_j s_j; mean_j s_j^2; ln M]
    [gamma_0; beta_0; gamma_1; ..] = c W t,   t = M / (M + kappa)
    h' = relu((1 + gamma) * (h W_l + b_l) + beta)
    t = 0 where (c - m)' (P - m m' + 1e-6 I)^-1 (c - m) exceeds the 99.9 % quantile of chi^2 with 2 k + 1 degrees of freedom, once enough requests have been seen

m and P are running means of c and c c'. sg stops the gradient. W = 0 leaves the tower as it is. Padding has y = 0 here.
After Zhang et al., "Adaptive Risk Minimization: Learning to Adapt to Domain Shift", NeurIPS 2021.
"""

import torch

import golden_file
from adapter import tower, tower_parameters
from golden_file import Source, layer_case

ABOUT = "A tower modulated by a request's set: y, and gradients of sum(y * cotangent). Formulas in reference/request_set.py."
WIDTHS, WIDTH, KAPPA = [4, 5, 3], 3, 2.0
#: 99.9 % quantile of chi^2 with 2 * 3 + 1 degrees of freedom, from a table.
LIMIT = 24.322
#: Real rows of each request, which stand first.
REAL = [4, 2, 1]


def summaries(v, held):
    found = []
    for g, rows in enumerate(REAL):
        s = torch.tanh(held[g, :rows] @ v["summary.weight"] + v["summary.bias"])
        found.append(torch.cat([s.mean(0), s.square().mean(0), torch.log(torch.tensor([float(rows)], dtype=s.dtype))]))
    return torch.stack(found)


def case(source, name, identity=False, far=()):
    sites = sum(WIDTHS[1:])
    inputs = {"x": source.normal(len(REAL), max(REAL), WIDTHS[0])}
    held = inputs["x"].clone()
    parameters = tower_parameters(source, WIDTHS, False) | {
        "summary.weight": source.normal(WIDTHS[0], WIDTH, scale=0.5),
        "summary.bias": source.normal(WIDTH, scale=0.3, shift=0.5),
        "generator.weight": source.normal(2 * WIDTH + 1, 2 * sites, scale=0.0 if identity else 0.3),
    }
    c = summaries(parameters, held)
    # So wide that every set of the batch is near, or so narrow around others that those in `far` are not.
    centre = c.mean(0) if not far else c[[g for g in range(len(REAL)) if g not in far]].mean(0)
    spread = source.normal(len(centre), len(centre), scale=0.1)
    covariance = (4.0 if not far else 0.05) * (torch.eye(len(centre), dtype=centre.dtype) + spread @ spread.T)
    parameters |= {
        "seen.mean": centre,
        "seen.product": covariance + torch.outer(centre, centre),
        "seen.requests": torch.tensor([1000.0], dtype=centre.dtype),
    }
    metric = torch.linalg.inv(covariance + 1e-6 * torch.eye(len(centre), dtype=centre.dtype))
    distance = ((c - centre) @ metric * (c - centre)).sum(1)
    assert [g for g, d in enumerate(distance) if d > LIMIT] == list(far), f"{name}: distances {distance.tolist()} and the limit {LIMIT}"
    assert all(abs(d / LIMIT - 1.0) > 0.05 for d in distance.tolist()), f"{name}: a distance is too near to the limit"
    mask = (torch.arange(max(REAL))[None] < torch.tensor(REAL)[:, None]).long()

    def forward(v):
        trust = torch.tensor([0.0 if g in far else rows / (rows + KAPPA) for g, rows in enumerate(REAL)], dtype=held.dtype)
        out = (summaries(v, held) @ v["generator.weight"] * trust[:, None])[:, None]
        parts = out.split([d for width in WIDTHS[1:] for d in (width, width)], -1)
        y = tower(v, lambda i, x, y: (1.0 + parts[2 * i]) * y + parts[2 * i + 1], False)
        return y * mask[..., None]

    if identity:
        plain = tower(inputs | parameters, lambda i, x, y: y, False) * mask[..., None]
        assert torch.equal(plain, forward(inputs | parameters)), "untrained it must be the tower"
    config = {"keys": f"width = {WIDTH}\nshrink = {KAPPA}", "norm": "none", "widths": WIDTHS}
    found = layer_case(name, config, inputs, parameters, forward, source)
    found["inputs"]["mask"] = golden_file.tensor(mask)
    return found


def build():
    source = Source(97)
    return [case(source, "near"), case(source, "one_is_far", far=(0,)), case(source, "identity", identity=True)]


if __name__ == "__main__":
    golden_file.run("request_set", ABOUT, build)
