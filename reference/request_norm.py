"""A tower whose hidden features are standardised over the rows of a request: forward and gradients of `sum(y * cotangent)`.

    mu, v = mean and variance of z_j = h_j W_l + b_l           over the real rows j of a request, M of them
    r = relu(mean_j sg(x_j) V + b),   [gamma_0; beta_0; ..] = r W
    z' = z + g t * ((1 + gamma) (z - mu) / sqrt(v + 1e-3) + beta - z),   t = (M - 1) / (M - 1 + kappa),   h' = relu(z')

sg stops the gradient. g = 0 leaves the tower as it is, and so does a request of one row. Padding has y = 0 here.
"""

import torch

import golden_file
from adapter import tower, tower_parameters
from golden_file import KINKS, Source, layer_case

ABOUT = "A tower standardised over a request's rows: y, and gradients of sum(y * cotangent). Formulas in reference/request_norm.py."
WIDTHS, WIDTH, KAPPA, EPS = [4, 5, 3], 3, 2.0, 1e-3
#: Real rows of each request, which stand first.
REAL = [4, 2, 1]


def case(source, name, identity=False):
    sites = sum(WIDTHS[1:])
    inputs = {"x": source.normal(len(REAL), max(REAL), WIDTHS[0])}
    held = inputs["x"].clone()
    parameters = tower_parameters(source, WIDTHS, False) | {
        "summary.weight": source.normal(WIDTHS[0], WIDTH, scale=0.5),
        "summary.bias": source.normal(WIDTH, scale=0.3, shift=0.5),
        "generator.weight": source.normal(WIDTH, 2 * sites, scale=0.3),
        "gate": source.normal(sites, scale=0.0 if identity else 0.5),
    }
    mask = (torch.arange(max(REAL))[None] < torch.tensor(REAL)[:, None]).long()

    def standardised(v, z, parts, g_of_site, i):
        out = []
        for g, rows in enumerate(REAL):
            real = z[g, :rows]
            mean, variance = real.mean(0), real.var(0, unbiased=False)
            r = parts[g]
            gamma, beta = r[2 * i], r[2 * i + 1]
            trust = (rows - 1.0) / (rows - 1.0 + KAPPA)
            standard = (z[g] - mean) / torch.sqrt(variance + EPS)
            out.append(z[g] + g_of_site * trust * ((1.0 + gamma) * standard + beta - z[g]))
        return torch.stack(out)

    def forward(v):
        parts = []
        for g, rows in enumerate(REAL):
            r = KINKS.relu(held[g, :rows].mean(0) @ v["summary.weight"] + v["summary.bias"]) @ v["generator.weight"]
            parts.append(r.split([d for width in WIDTHS[1:] for d in (width, width)]))
        gates = v["gate"].split(WIDTHS[1:])
        return tower(v, lambda i, x, z: standardised(v, z, parts, gates[i], i), False) * mask[..., None]

    if identity:
        plain = tower(inputs | parameters, lambda i, x, y: y, False) * mask[..., None]
        assert torch.equal(plain, forward(inputs | parameters)), "untrained it must be the tower"
    config = {"keys": f"width = {WIDTH}\nshrink = {KAPPA}", "norm": "none", "widths": WIDTHS}
    found = layer_case(name, config, inputs, parameters, forward, source)
    found["inputs"]["mask"] = golden_file.tensor(mask)
    return found


def build():
    source = Source(98)
    return [case(source, "within_requests"), case(source, "identity", identity=True)]


if __name__ == "__main__":
    golden_file.run("request_norm", ABOUT, build)
