"""Self-attention over item sequences: scores of every item at the positions asked for, and gradients of `sum(y * cotangent)`.

    h = x + P[n]                              n the number of real positions after it, at most rows(P) - 1
    u = h + Attn(LN(h)),  h' = u + relu(LN(u) W1 + b1) W2 + b2          in each block, then LN
    y[t, j] = <h[t], Q_j> + b_j               rows [Q_j, b_j] of `head`

Attn is causal with H heads: `concat_h(softmax(q_h k_h^T / sqrt(d / H)) v_h) Wo + bo`; keys of padding are left out, and a position without any key gets zeros. Parameters have the product's names.
Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.
"""

import math

import torch
import torch.nn.functional as F

import golden_file
from golden_file import KINKS, Source, layer_case
from layers import layer_norm

ABOUT = "Self-attention over item sequences: scores, and gradients of sum(y * cotangent). Formulas in reference/sasrec.py."
WIDTH, ITEMS, EPS = 4, 3, 1e-8


def heads_of(x, heads):
    """`[..., N, d]` to `[..., H, N, d / H]`."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def weights(q, k, seen):
    """Softmax over the keys that are seen; zeros where none is."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~seen, -1e30)
    return torch.softmax(scores, -1) * seen


def attend(q, k, v, heads, seen):
    q, k, v = (heads_of(x, heads) for x in (q, k, v))
    return (weights(q, k, seen[:, None]) @ v).transpose(-2, -3).flatten(-2)


def causal(mask):
    """`[G, L, L]`: who sees whom."""
    length = mask.shape[1]
    return torch.ones(length, length, dtype=torch.bool).tril() & mask.bool()[:, None, :]


class Plain:
    """What a method may change, and what it is without one."""

    def linear(self, v, site, x):
        return x @ v[f"{site}.weight"] + v[f"{site}.bias"]

    def attended(self, v, site, q, y):
        return y

    def hidden(self, v, site, x, y):
        return y


def attention(v, path, x, heads, seen, method):
    q, k, w = (method.linear(v, f"{path}.{name}", x) for name in ("query", "key", "value"))
    return method.linear(v, f"{path}.output", method.attended(v, path, q, attend(q, k, w, heads, seen)))


def network(v, mask, blocks, heads, method=Plain()):
    """The last hidden states `[G, L, d]` for rows `x` `[G, L, d]`."""

    def norm(path, x):
        return layer_norm(x, v[f"{path}.gain"], v[f"{path}.shift"], EPS)

    mask = mask.long()
    following = mask.flip(1).cumsum(1).flip(1) - mask
    h = v["x"] + v["input.positions"][following.clamp(max=v["input.positions"].shape[0] - 1)]
    for i in range(blocks):
        path, x = f"block.{i}", h
        h = h + attention(v, f"{path}.attention", norm(f"{path}.norm_attention", h), heads, causal(mask), method)
        z = KINKS.relu(method.linear(v, f"{path}.feed_forward.in", norm(f"{path}.norm_feed_forward", h)))
        h = method.hidden(v, path, x, h + method.linear(v, f"{path}.feed_forward.out", z))
    return norm("norm", h)


def parameters(source, blocks, positions, feed_forward=WIDTH):
    found = {"input.positions": source.normal(positions, WIDTH, scale=0.5)}

    def linear(path, d_in, d_out):
        found.update({f"{path}.weight": source.normal(d_in, d_out, scale=0.5), f"{path}.bias": source.normal(d_out, scale=0.3)})

    def norm(path):
        found.update({f"{path}.gain": source.normal(WIDTH, scale=0.3, shift=1.0), f"{path}.shift": source.normal(WIDTH, scale=0.3)})

    for i in range(blocks):
        path = f"block.{i}"
        norm(f"{path}.norm_attention")
        for name in ("query", "key", "value", "output"):
            linear(f"{path}.attention.{name}", WIDTH, WIDTH)
        norm(f"{path}.norm_feed_forward")
        linear(f"{path}.feed_forward.in", WIDTH, feed_forward)
        linear(f"{path}.feed_forward.out", feed_forward, WIDTH)
    norm("norm")
    return found


def case(source, name, mask, own=None, method=Plain(), keys=None, blocks=2, heads=2, positions=4, feed_forward=WIDTH, domain=None):
    """A case of the network, changed by a method with parameters `own` and config `keys`. Real positions are scored."""
    mask = torch.tensor(mask)
    groups, length = mask.shape
    inputs = {"x": source.normal(groups, length, WIDTH), "head": source.normal(ITEMS, WIDTH + 1)}

    def forward(v):
        h = network(v, mask, blocks, heads, method)[mask.bool()]
        return h @ v["head"][:, :-1].T + v["head"][:, -1]

    config = {"heads": heads, "blocks": blocks, "length": positions, "feed_forward": feed_forward}
    if keys is not None:
        config["sequence_keys"] = keys
    values = parameters(source, blocks, positions, feed_forward) | (own(source) if own else {})
    case = layer_case(name, config, inputs, values, forward, source)
    case["inputs"]["mask"] = golden_file.tensor(mask)
    if domain is not None:
        config["domains"] = 3
        case["inputs"]["domain"] = golden_file.tensor(torch.tensor(domain))
    return case


PADDED = [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]


def check_attention(source):
    q, k, v = (source.normal(2, 5, WIDTH) for _ in range(3))
    seen = torch.ones(5, 5, dtype=torch.bool).tril().expand(2, 5, 5)
    library = F.scaled_dot_product_attention(*(heads_of(x, 2) for x in (q, k, v)), is_causal=True)
    assert torch.allclose(attend(q, k, v, 2, seen), library.transpose(-2, -3).flatten(-2), rtol=1e-12, atol=1e-12)


def build():
    source = Source(21)
    check_attention(source)
    return [
        case(source, "two_heads", PADDED),
        case(source, "one_head_wide", PADDED, heads=1, blocks=1, positions=7, feed_forward=6),
        case(source, "padded_at_the_end", [[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]),
    ]


if __name__ == "__main__":
    golden_file.run("sasrec", ABOUT, build)
