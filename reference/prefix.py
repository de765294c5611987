"""Learned keys and values on self-attention over item sequences: scores, and gradients of `sum(y * cotangent)`.

    y_h + tanh(g_h) softmax(q_h K_h^T / sqrt(d / H)) V_h          for each head h, K, V [P, d] of each attention, seen by every position

Per domain: `K, V, g` `[D, ..]`; group i uses those of `domain[i]`. The network is that of `sasrec.py`.
Li and Liang, "Prefix-Tuning", ACL 2021; the gate is that of Zhang et al., "LLaMA-Adapter", ICLR 2024.
"""

import math

import torch

import golden_file
from golden_file import Source
from sasrec import PADDED, WIDTH, Plain, case, heads_of

ABOUT = "Learned keys and values behind a gate: scores, and gradients of sum(y * cotangent). Formulas in reference/prefix.py."


class Prefix(Plain):
    def __init__(self, heads, domain=None):
        self.heads, self.domain = heads, domain

    def attended(self, v, site, q, y):
        keys, values, gate = (v[f"{site}.prefix_{part}"] for part in ("keys", "values", "gate"))
        if self.domain is not None:
            keys, values, gate = (x[self.domain] for x in (keys, values, gate))
        q, keys, values = (heads_of(x, self.heads) for x in (q, keys, values))
        scores = q @ keys.transpose(-1, -2) / math.sqrt(WIDTH // self.heads)
        attended = torch.softmax(scores, -1) @ values
        return y + (torch.tanh(gate).reshape(-1, self.heads, 1, 1) * attended).transpose(-2, -3).flatten(-2)


def own(length, heads, blocks, lead=()):
    def draw(source):
        found = {}
        for i in range(blocks):
            site = f"block.{i}.attention"
            found[f"{site}.prefix_keys"] = source.normal(*lead, length, WIDTH)
            found[f"{site}.prefix_values"] = source.normal(*lead, length, WIDTH)
            found[f"{site}.prefix_gate"] = source.normal(*lead, 1, heads, scale=0.7)
        return found

    return draw


def build():
    source = Source(22)
    domain = [2, 0]
    return [
        case(source, "three", PADDED, own(3, 2, 2), Prefix(2), "length = 3"),
        case(source, "one_head", PADDED, own(2, 1, 1), Prefix(1), "length = 2", blocks=1, heads=1),
        case(source, "per_domain", PADDED, own(2, 2, 2, (3,)), Prefix(2, domain), "length = 2\nper_domain = true", domain=domain),
    ]


if __name__ == "__main__":
    golden_file.run("prefix", ABOUT, build)
