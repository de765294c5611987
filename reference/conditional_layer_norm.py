"""Conditional layer norms on a tower and on self-attention, and what levels add to a sequence: forward and gradients of `sum(y * cotangent)`.

    e = common + embedding[p]                                              p the domain of the group
    norm l:   y = gain_l (1 + e W_l^gain) (x - mean) / sqrt(var + eps) + shift_l + e W_l^shift
    columns of W: [W_1^gain, W_1^shift, W_2^gain, ..], norms in the order in which the network has them
    condition level:  x_t + e U
    session level:    x_t + mean_s relu(x_s V1 + c1) V2,   s the real positions t - window + 1 .. t

- tower: a norm after each hidden linear; group g is of `domain[g]`, 2 the one that the base does not know.
- one_norm: only the second norm of the tower is changed.
- identity: W is 0, so y is that of the plain tower.
- sasrec: the norms of both blocks and the last one; without levels, with both, and with sessions of two positions.

The paper replaces gain and shift by E W; here those of a trained network are kept and changed, maps have no bias, and levels stand at the network's input. A session is read by one map a position
instead of two convolutions. Parameters have the product's names.
Chen et al., "AdaSpeech: Adaptive Text to Speech for Custom Voice", ICLR 2021.
"""

import torch

import golden_file
import sasrec
from adapter import EPS
from golden_file import KINKS, Source, layer_case
from layers import layer_norm

ABOUT = "Conditional layer norms: y, and gradients of sum(y * cotangent). Formulas in reference/conditional_layer_norm.py."
WIDTHS, CONDITION, DOMAINS, HIDDEN = [4, 5, 3], 3, 3, 5
DOMAIN = [2, 0]


def condition(v):
    """e of each group, `[G, 1, c]`."""
    return v["condition.common"] + v["condition.embedding"][torch.tensor(DOMAIN)][:, None]


class Norms:
    """The columns of W of each norm that is changed."""

    def __init__(self, widths):
        self.columns, at = {}, 0
        for path, d in widths.items():
            self.columns[path] = (slice(at, at + d), slice(at + d, at + 2 * d))
            at += 2 * d
        self.width = at

    def apply(self, v, path, x, eps):
        gain, shift = v[f"{path}.gain"], v[f"{path}.shift"]
        if path in self.columns:
            of_gain, of_shift = (condition(v) @ v["norms.weight"][:, part] for part in self.columns[path])
            gain, shift = gain * (1.0 + of_gain), shift + of_shift
        return layer_norm(x, gain, shift, eps)


def own_parameters(source, width, identity=False):
    return {
        "condition.common": source.normal(CONDITION),
        "condition.embedding": source.normal(DOMAINS, CONDITION, scale=0.5),
        "norms.weight": source.normal(CONDITION, width, scale=0.0 if identity else 0.3),
    }


def tower_case(source, name, changed=(0, 1), keys="", identity=False):
    norms = Norms({f"tower.{i}.norm": WIDTHS[i + 1] for i in changed})
    parameters = own_parameters(source, norms.width, identity)
    for i, (d_in, d_out) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        parameters |= {f"tower.{i}.weight": source.normal(d_in, d_out, scale=0.7), f"tower.{i}.bias": source.normal(d_out, scale=0.3)}
        parameters |= {f"tower.{i}.norm.gain": source.normal(d_out, scale=0.3, shift=1.0), f"tower.{i}.norm.shift": source.normal(d_out, scale=0.3)}
    parameters |= {"head.weight": source.normal(WIDTHS[-1], 1), "head.bias": source.normal(1)}

    def forward(v, norms=norms):
        h = v["x"]
        for i in range(len(WIDTHS) - 1):
            h = KINKS.relu(norms.apply(v, f"tower.{i}.norm", h @ v[f"tower.{i}.weight"] + v[f"tower.{i}.bias"], EPS))
        return h @ v["head.weight"] + v["head.bias"]

    inputs = {"x": source.normal(2, 3, WIDTHS[0])}
    if identity:
        assert torch.equal(forward(inputs | parameters, Norms({})), forward(inputs | parameters)), "maps of 0 must leave the tower as it is"
    config = {"keys": f"embedding = {CONDITION}\n{keys}", "norm": "after", "widths": WIDTHS, "domains": DOMAINS}
    found = layer_case(name, config, inputs, parameters, forward, source)
    found["inputs"]["domain"] = golden_file.tensor(torch.tensor(DOMAIN))
    return found


def session(v, mask, window):
    """The mean of what each position has behind it, by its definition, position by position."""
    read = KINKS.relu(v["x"] @ v["session.0.weight"] + v["session.0.bias"])
    rows = []
    for group, real in zip(read, mask):
        means = []
        for t in range(len(real)):
            seen = [s for s in range(t + 1) if real[s] and (window is None or t - s < window)]
            means.append(group[seen].mean(0) if seen else torch.zeros_like(group[0]))
        rows.append(torch.stack(means))
    return torch.stack(rows) @ v["session.1.weight"]


def sequence_case(source, name, levels=(), window=None, blocks=2, heads=2, positions=4):
    paths = [f"block.{i}.{norm}" for i in range(blocks) for norm in ("norm_attention", "norm_feed_forward")] + ["norm"]
    norms, mask = Norms({path: sasrec.WIDTH for path in paths}), torch.tensor(sasrec.PADDED)
    d = sasrec.WIDTH
    parameters = sasrec.parameters(source, blocks, positions) | own_parameters(source, norms.width)
    if "condition" in levels:
        parameters["condition.level.weight"] = source.normal(CONDITION, d, scale=0.5)
    if "session" in levels:
        parameters |= {
            "session.0.weight": source.normal(d, HIDDEN, scale=0.5),
            "session.0.bias": source.normal(HIDDEN, scale=0.3),
            "session.1.weight": source.normal(HIDDEN, d, scale=0.5),
        }

    def forward(v):
        x = v["x"]
        if "condition" in levels:
            x = x + condition(v) @ v["condition.level.weight"]
        if "session" in levels:
            x = x + session(v, mask, window)
        following = mask.flip(1).cumsum(1).flip(1) - mask
        h = x + v["input.positions"][following.clamp(max=positions - 1)]
        for i in range(blocks):
            path = f"block.{i}"
            z = norms.apply(v, f"{path}.norm_attention", h, sasrec.EPS)
            h = h + sasrec.attention(v, f"{path}.attention", z, heads, sasrec.causal(mask), sasrec.Plain())
            z = norms.apply(v, f"{path}.norm_feed_forward", h, sasrec.EPS)
            z = KINKS.relu(z @ v[f"{path}.feed_forward.in.weight"] + v[f"{path}.feed_forward.in.bias"])
            h = h + z @ v[f"{path}.feed_forward.out.weight"] + v[f"{path}.feed_forward.out.bias"]
        h = norms.apply(v, "norm", h, sasrec.EPS)[mask.bool()]
        return h @ v["head"][:, :-1].T + v["head"][:, -1]

    keys = f"embedding = {CONDITION}\nhidden = {HIDDEN}\nlevels = {list(levels)}"
    keys += f"\nwindow = {window}" if window else ""
    config = {"heads": heads, "blocks": blocks, "length": positions, "feed_forward": d, "sequence_keys": keys, "domains": DOMAINS}
    inputs = {"x": source.normal(*mask.shape, d), "head": source.normal(sasrec.ITEMS, d + 1)}
    found = layer_case(name, config, inputs, parameters, forward, source)
    found["inputs"] |= {"mask": golden_file.tensor(mask), "domain": golden_file.tensor(torch.tensor(DOMAIN))}
    return found


def build():
    source = Source(71)
    return [
        tower_case(source, "tower"),
        tower_case(source, "one_norm", (1,), "sites = ['tower.1.*']"),
        tower_case(source, "identity", identity=True),
        sequence_case(source, "sasrec"),
        sequence_case(source, "sasrec_levels", ("condition", "session")),
        sequence_case(source, "sasrec_short_sessions", ("session",), window=2),
    ]


if __name__ == "__main__":
    golden_file.run("conditional_layer_norm", ABOUT, build)
