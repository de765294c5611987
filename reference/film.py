"""FiLM on a tower: forward and gradients of `sum(y * cotangent)`.

    out = relu(c V1 + c1) V2 + c2,   V2 [h, 2 (d_0 + d_1 + ...)]
    site i: gamma_i = 1 + delta_i,   z_i = gamma_i * (h_i W_i + b_i) + beta_i,   h_{i+1} = relu(z_i)

Layout of `out`: for each hidden linear in order, `delta_i` (d_i numbers), then `beta_i` (d_i numbers): `[delta_0, beta_0, delta_1, beta_1, ...]`.
The condition c is `[G, 1, d_c]` (one for a group) or `[G, N, d_c]` (one for a row). The last linear of the tower (width 1) is not modulated.

- norm "none": as above.
- norm "after": `h' = relu(LN(gamma * (h W + b) + beta))`; LN with its own gain and shift.
- norm "before": `h' = relu(gamma * LN_plain(h W + b) + beta)`; LN without own gain and shift, FiLM replaces them.
- identity: V2 = 0 and c2 = 0, so y is that of the plain tower; V1 and c1 get gradient zero, V2 and c2 do not.

Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.
"""

import torch

import golden_file
from adapter import EPS, tower, tower_parameters
from golden_file import KINKS, Source, layer_case
from layers import layer_norm

ABOUT = "FiLM on a tower: y, and gradients of sum(y * cotangent). Formulas and output layout in reference/film.py."
WIDTHS, CONDITION, HIDDEN = [4, 5, 3], 3, 4


def generate(v):
    """`[(delta, beta), ...]`, one pair a site."""
    out = KINKS.relu(v["condition"] @ v["generator.0.weight"] + v["generator.0.bias"]) @ v["generator.1.weight"] + v["generator.1.bias"]
    parts = out.split([d for width in WIDTHS[1:] for d in (width, width)], -1)
    return list(zip(parts[0::2], parts[1::2]))


def film_case(source, name, condition_rows, norm, identity=False):
    outputs = 2 * sum(WIDTHS[1:])
    scale = 0.0 if identity else 0.5
    parameters = tower_parameters(source, WIDTHS, norm == "after") | {
        "generator.0.weight": source.normal(CONDITION, HIDDEN),
        "generator.0.bias": source.normal(HIDDEN, scale=0.5, shift=0.5),
        "generator.1.weight": source.normal(HIDDEN, outputs, scale=scale),
        "generator.1.bias": source.normal(outputs, scale=scale),
    }

    def forward(v):
        sites = generate(v)

        def hidden(i, x, y):
            delta, beta = sites[i]
            if norm == "before":
                y = layer_norm(y, 1.0, 0.0, EPS)
            return (1.0 + delta) * y + beta

        return tower(v, hidden, norm == "after")

    inputs = {"x": source.normal(2, 3, WIDTHS[0]), "condition": source.normal(2, condition_rows, CONDITION)}
    if identity:
        plain = tower(inputs | parameters, lambda i, x, y: y, False)
        assert torch.equal(plain, forward(inputs | parameters)), "a zero generator must leave the tower as it is"
    config = {"widths": WIDTHS, "condition": CONDITION, "hidden": HIDDEN, "norm": norm, "eps": EPS, "layout": ["delta", "beta"]}
    return layer_case(name, config, inputs, parameters, forward, source)


def build():
    source = Source(14)
    return [
        film_case(source, "per_group", 1, "none"),
        film_case(source, "per_row", 3, "none"),
        film_case(source, "norm_after", 1, "after"),
        film_case(source, "norm_before", 1, "before"),
        film_case(source, "identity", 1, "none", identity=True),
    ]


if __name__ == "__main__":
    golden_file.run("film", ABOUT, build)
