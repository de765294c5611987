"""FiLM on a tower: forward and gradients of `sum(y * cotangent)`.

    out = relu(c V1 + c1) V2 + c2,   V2 [h, 2 (d_0 + d_1 + ...)]
    site i: gamma_i = 1 + delta_i,   z_i = gamma_i * (h_i W_i + b_i) + beta_i,   h_{i+1} = relu(z_i)

Layout of `out`: for each hidden linear in order, `delta_i` (d_i numbers), then `beta_i` (d_i numbers): `[delta_0, beta_0, delta_1, beta_1, ...]`.
The condition c is `[G, 1, d_c]` (one for a group) or `[G, N, d_c]` (one for a row). The last linear of the tower (width 1) is not modulated.

- norm "none": as above.
- norm "after": `h' = relu(LN(gamma * (h W + b) + beta))`; LN with its own gain and shift.
- norm "before": `h' = relu(gamma * LN_plain(h W + b) + beta)`; LN without own gain and shift, FiLM replaces them.
- identity: V2 = 0 and c2 = 0, so y is that of the plain tower; V1 and c1 get gradient zero, V2 and c2 do not.

Conditions of several features, one a row, for the generators `mlp` (above), `linear` (`out = c V + c1`) and `table`:

    c = [e_s + R_s[segment]; e_t + mean_j R_t[tag_j]; age]         e_t alone for a row without tags
    table: out = R_s[segment] + mean_j R_t[tag_j];   of one feature, with post, out = e_s + R_s[segment]
    post:  gamma_i = 1 + gamma0_i * delta_i,  beta_i = beta0_i * beta'_i,  loss term lambda/2 sum(post^2),  post = [gamma0_0, beta0_0, gamma0_1, ..]

Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018; Oreshkin et al., "TADAM", NeurIPS 2018.
"""

import json

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


SEGMENTS, TAGS, AGES = [[1, 2, 0], [2, 2, 1]], [[[1, 3], [2], []], [[3, 3, 1], [], [2]]], [[0.5, -1.25, 2.0], [0.25, 0.0, -0.5]]
CODES = {"segment": 3, "tags": 4}


def embedded(v, name):
    """`common + row`, or `common + mean of rows`, of each row of the batch."""
    path = "condition" if "condition.embedding" in v or "condition.table" in v else f"condition.{name}"
    table = v[f"{path}.embedding"] if f"{path}.embedding" in v else v[f"{path}.table"]
    lists = [[[code] for code in group] for group in SEGMENTS] if name == "segment" else TAGS
    means = [torch.stack([table[codes].mean(0) if codes else torch.zeros_like(table[0]) for codes in group]) for group in lists]
    return torch.stack(means) + v.get(f"{path}.common", 0.0)


def condition_case(source, name, features, generator, post=None):
    """One condition a row; features are read in the order of their list."""
    width = 2 * sum(WIDTHS[1:])
    parameters = tower_parameters(source, WIDTHS, False)
    embedded_features = [feature for feature in features if feature != "age"]
    for feature in embedded_features:
        path = "condition" if len(features) == 1 else f"condition.{feature}"
        d, rows = (width, "table") if generator == "table" else (CONDITION, "embedding")
        if generator != "table" or post:
            parameters[f"{path}.common"] = source.normal(d, scale=0.5)
        parameters[f"{path}.{rows}"] = source.normal(CODES[feature], d, scale=0.5)
    d = CONDITION * len(embedded_features) + features.count("age")
    layers = {"table": [], "linear": [d, width], "mlp": [d, HIDDEN, width]}[generator]
    for i, (d_in, d_out) in enumerate(zip(layers, layers[1:])):
        parameters |= {f"generator.{i}.weight": source.normal(d_in, d_out, scale=0.5), f"generator.{i}.bias": source.normal(d_out, scale=0.5, shift=0.2)}
    if post:
        parameters["post"] = source.normal(width, scale=0.5)

    def forward(v):
        parts = [torch.tensor(AGES, dtype=torch.float64)[..., None] if feature == "age" else embedded(v, feature) for feature in features]
        out = sum(parts) if generator == "table" else torch.cat(parts, -1)
        for i in range(len(layers) - 1):
            out = (out if i == 0 else KINKS.relu(out)) @ v[f"generator.{i}.weight"] + v[f"generator.{i}.bias"]
        out = out * v["post"] if post else out
        parts = out.split([d for width in WIDTHS[1:] for d in (width, width)], -1)
        return tower(v, lambda i, x, y: (1.0 + parts[2 * i]) * y + parts[2 * i + 1], False)

    keys = f"condition = {json.dumps(features)}\ngenerator = '{generator}'\nembedding = {CONDITION}\nhidden = {HIDDEN}"
    keys += f"\npost = true\npost_penalty = {post}" if post else ""
    lists = [codes for group in TAGS for codes in group]
    config = {"film": keys, "widths": WIDTHS, "segment": sum(SEGMENTS, []), "tags": lists, "age": sum(AGES, [])}
    case = layer_case(name, config, {"x": source.normal(2, 3, WIDTHS[0])}, parameters, forward, source)
    if post:
        case["outputs"]["penalty"] = golden_file.tensor(post / 2.0 * (parameters["post"] ** 2).sum())
    return case


def build():
    source = Source(14)
    return [
        film_case(source, "per_group", 1, "none"),
        film_case(source, "per_row", 3, "none"),
        film_case(source, "norm_after", 1, "after"),
        film_case(source, "norm_before", 1, "before"),
        film_case(source, "identity", 1, "none", identity=True),
        condition_case(source, "conditions_linear", ["segment", "tags", "age"], "linear"),
        condition_case(source, "conditions_mlp_post", ["tags", "age"], "mlp", post=0.01),
        condition_case(source, "conditions_table", ["tags", "segment"], "table"),
        condition_case(source, "conditions_table_post", ["segment"], "table", post=0.5),
    ]


if __name__ == "__main__":
    golden_file.run("film", ABOUT, build)
