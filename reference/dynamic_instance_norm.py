"""Dynamic instance norms on self-attention and on a tower: forward and gradients of `sum(y * cotangent)`.

    e = common + embedding[p]                                              p the domain of the group
    out = relu(e V1 + c1) V2 + c2,   of each site k + 1 vectors: K_0 - 1, K_1, .., K_{k-1}, b
    y_t + g * (D_t - y_t),   D_t = b + sum_j K_j z_{t-j},   z_t = (y_t - mean_t) / sqrt(v'_t),   v'_t = (n_t v_t + 4) / (n_t + 4)

- sasrec: at the end of each block; mean_t and v_t are over the n_t real positions s <= t, channel by channel; z is 0 at padding and before the first position.
- tower: after each hidden linear, before its activation; mean and variance are over the d units of the row, n = d, and k = 1.
- identity: g is 0, so y is that of the plain network.

Moments are computed position by position from the definition. The paper has those of a whole image, no shrinking and no gate, and writes kernel and bias from the features of a style image.
Parameters have the product's names.
Jing et al., "Dynamic Instance Normalization for Arbitrary Style Transfer", AAAI 2020.
"""

import torch

import golden_file
import sasrec
from adapter import tower, tower_parameters
from golden_file import KINKS, Source, layer_case

ABOUT = "Dynamic instance norms: y, and gradients of sum(y * cotangent). Formulas in reference/dynamic_instance_norm.py."
WIDTHS, CONDITION, DOMAINS, HIDDEN, PRIOR = [4, 5, 3], 3, 3, 5, 4.0


def own_parameters(source, width, taps, identity=False):
    return {
        "condition.common": source.normal(CONDITION),
        "condition.embedding": source.normal(DOMAINS, CONDITION, scale=0.5),
        "generator.0.weight": source.normal(CONDITION, HIDDEN),
        "generator.0.bias": source.normal(HIDDEN, scale=0.5, shift=0.3),
        "generator.1.weight": source.normal(HIDDEN, (taps + 1) * width, scale=0.4),
        "generator.1.bias": source.normal((taps + 1) * width, scale=0.4),
        "gate": source.normal(width, scale=0.0 if identity else 0.5),
    }


def written(v, domain, first, d, taps):
    """Kernel and bias of the site whose columns begin at `first`: k tensors `[G, 1, d]` and one more."""
    e = v["condition.common"] + v["condition.embedding"][torch.tensor(domain)][:, None]
    out = KINKS.relu(e @ v["generator.0.weight"] + v["generator.0.bias"]) @ v["generator.1.weight"] + v["generator.1.bias"]
    parts = out[..., (taps + 1) * first : (taps + 1) * (first + d)].split(d, -1)
    return [parts[0] + 1.0, *parts[1:taps]], parts[taps]


def gated(v, y, found, first, d):
    return y + v["gate"][first : first + d] * (found - y)


def over_positions(y, real):
    """z of one sequence `[L, d]`."""
    rows = []
    for t in range(len(real)):
        if not real[t]:
            rows.append(torch.zeros_like(y[t]))
            continue
        seen = y[[s for s in range(t + 1) if real[s]]]
        n, mean = len(seen), seen.mean(0)
        variance = ((seen - mean) ** 2).mean(0)
        rows.append((y[t] - mean) / torch.sqrt((n * variance + PRIOR) / (n + PRIOR)))
    return torch.stack(rows)


def sequence_case(source, name, taps, identity=False, blocks=2):
    domain, d, mask = [2, 0], sasrec.WIDTH, torch.tensor(sasrec.PADDED)

    class Normed(sasrec.Plain):
        def hidden(self, v, site, x, y):
            first = d * int(site.split(".")[1])
            kernel, bias = written(v, domain, first, d, taps)
            z = torch.stack([over_positions(group, real) for group, real in zip(y, mask)])
            found = bias.expand_as(z)
            for j, tap in enumerate(kernel):
                before = torch.zeros_like(z)
                before[:, j:] = z[:, : z.shape[1] - j]
                found = found + tap * before
            return gated(v, y, found, first, d)

    def own(source):
        return own_parameters(source, blocks * d, taps, identity)

    keys = f"embedding = {CONDITION}\nhidden = {HIDDEN}\nkernel = {taps}"
    return sasrec.case(source, name, sasrec.PADDED, own, Normed(), keys, blocks=blocks, domain=domain)


def tower_case(source, name, identity=False):
    domain, total = [2, 0], sum(WIDTHS[1:])
    parameters = tower_parameters(source, WIDTHS, False) | own_parameters(source, total, 1, identity)

    def forward(v):
        def hidden(i, x, y):
            first, d = sum(WIDTHS[1 : i + 1]), WIDTHS[i + 1]
            (gain,), bias = written(v, domain, first, d, 1)
            centred = y - y.mean(-1, keepdim=True)
            variance = (centred**2).mean(-1, keepdim=True)
            z = centred / torch.sqrt((d * variance + PRIOR) / (d + PRIOR))
            return gated(v, y, gain * z + bias, first, d)

        return tower(v, hidden, False)

    inputs = {"x": source.normal(2, 3, WIDTHS[0])}
    if identity:
        assert torch.equal(tower(inputs | parameters, lambda i, x, y: y, False), forward(inputs | parameters)), "gates of 0 must leave the tower as it is"
    config = {"keys": f"embedding = {CONDITION}\nhidden = {HIDDEN}", "norm": "none", "widths": WIDTHS, "domains": DOMAINS}
    found = layer_case(name, config, inputs, parameters, forward, source)
    found["inputs"]["domain"] = golden_file.tensor(torch.tensor(domain))
    return found


def build():
    source = Source(72)
    return [
        sequence_case(source, "three_taps", 3),
        sequence_case(source, "one_tap", 1),
        sequence_case(source, "identity", 2, identity=True),
        tower_case(source, "tower"),
        tower_case(source, "tower_identity", identity=True),
    ]


if __name__ == "__main__":
    golden_file.run("dynamic_instance_norm", ABOUT, build)
