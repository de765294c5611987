"""Projected attention layers beside the blocks of self-attention over item sequences: scores, and gradients of `sum(y * cotangent)`.

    attention   H' + GELU(Attn_l(H E + e) D + c)          E, e, D, c for all blocks; queries, keys and values of each block's own, no output map, keys without bias
    low_rank    H' + GELU(H E_l + e_l) D_l + c_l          of each block's own

H is what enters a block, H' what it makes of it. Per domain all are `[D, ..]`; group i uses those of `domain[i]`. The network is that of `sasrec.py`.
Stickland and Murray, "BERT and PALs", ICML 2019.
"""

import torch
import torch.nn.functional as F

import golden_file
from golden_file import Source
from sasrec import PADDED, WIDTH, Plain, attend, case, causal

ABOUT = "Projected attention layers: scores, and gradients of sum(y * cotangent). Formulas in reference/pals.py."
M = 4


class Pals(Plain):
    def __init__(self, form, mask, heads=1, domain=None):
        self.form, self.seen, self.heads, self.domain = form, causal(torch.tensor(mask)), heads, domain

    def map(self, v, path, x):
        pick = lambda p: p if self.domain is None else p[self.domain]
        y = x @ pick(v[f"{path}.weight"])
        return y + pick(v[f"{path}.bias"]) if f"{path}.bias" in v else y

    def hidden(self, v, site, x, y):
        if self.form == "low_rank":
            return y + self.map(v, f"{site}.pals.decoder", F.gelu(self.map(v, f"{site}.pals.encoder", x)))
        z = self.map(v, "pals.encoder", x)
        q, k, w = (self.map(v, f"{site}.pals.{name}", z) for name in ("query", "key", "value"))
        return y + F.gelu(self.map(v, "pals.decoder", attend(q, k, w, self.heads, self.seen)))


def own(form, blocks=2, lead=()):
    def draw(source):
        found = {}

        def map(path, d_in, d_out, bias=True):
            found[f"{path}.weight"] = source.normal(*lead, d_in, d_out, scale=0.5)
            if bias:
                found[f"{path}.bias"] = source.normal(*(lead and (*lead, 1)), d_out, scale=0.3)

        if form == "attention":
            map("pals.encoder", WIDTH, M)
            map("pals.decoder", M, WIDTH)
        for i in range(blocks):
            site = f"block.{i}.pals"
            if form == "low_rank":
                map(f"{site}.encoder", WIDTH, M)
                map(f"{site}.decoder", M, WIDTH)
            else:
                map(f"{site}.query", M, M)
                map(f"{site}.key", M, M, bias=False)
                map(f"{site}.value", M, M)
        return found

    return draw


def build():
    source = Source(23)
    domain = [2, 0]
    keys = f"width = {M}\nheads = 2\nunfreeze = []"
    return [
        case(source, "attention", PADDED, own("attention"), Pals("attention", PADDED, 2), keys),
        case(source, "low_rank", PADDED, own("low_rank"), Pals("low_rank", PADDED), f"form = 'low_rank'\nwidth = {M}\nunfreeze = []"),
        case(source, "per_domain", PADDED, own("attention", 2, (3,)), Pals("attention", PADDED, 2, domain), f"{keys}\nper_domain = true", domain=domain),
    ]


if __name__ == "__main__":
    golden_file.run("pals", ABOUT, build)
