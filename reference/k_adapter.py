"""Networks beside self-attention over item sequences, and beside a tower: scores, and gradients of `sum(y * cotangent)`.

    I_k = Y_k + O_{k-1} (mapped where widths differ),  O_k = I_k + T_k(I_k D_k + d_k) U_k + u_k,  O_0 = 0          Y_k the hidden states that are read
    T_k: layers a = LN(s + Attn(s) A + a'),  LN(a + GELU(a B + b) C + c)                 no attention on a tower
    concatenate: Y + [Y; O^1; ..; O^S] F + f          sum: Y + sum_s g_s O^s             at the last hidden state Y, O^s of stack s

The network is that of `sasrec.py`, the tower that of `lora.py`; there hidden states are what its linear layers give.
Wang et al., "K-Adapter", Findings of ACL 2021.
"""

import torch
import torch.nn.functional as F

import golden_file
from adapter import tower_parameters
from golden_file import Source, layer_case
from layers import layer_norm
from lora import WIDTHS, tower
from sasrec import PADDED, WIDTH, Plain, attend, case, causal

ABOUT = "Networks beside a network: scores, and gradients of sum(y * cotangent). Formulas in reference/k_adapter.py."
M, EPS = 4, 1e-5


class Beside:
    """The stacks: `read` a state at each site, `end` at the last."""

    def __init__(self, sites, stacks, layers, fusion, heads=1, seen=None):
        self.sites, self.stacks, self.layers, self.fusion, self.heads, self.seen = sites, stacks, layers, fusion, heads, seen
        self.states = {}

    def map(self, v, path, x):
        y = x @ v[f"{path}.weight"]
        return y + v[f"{path}.bias"] if f"{path}.bias" in v else y

    def norm(self, v, path, x):
        return layer_norm(x, v[f"{path}.gain"], v[f"{path}.shift"], EPS)

    def layer(self, v, path, s):
        if self.seen is not None:
            q, k, w = (self.map(v, f"{path}.attention.{name}", s) for name in ("query", "key", "value"))
            s = self.norm(v, f"{path}.norm_attention", s + self.map(v, f"{path}.attention.output", attend(q, k, w, self.heads, self.seen)))
        z = self.map(v, f"{path}.feed_forward.out", F.gelu(self.map(v, f"{path}.feed_forward.in", s)))
        return self.norm(v, f"{path}.norm_feed_forward", s + z)

    def stack(self, v, number):
        out = None
        for k, site in enumerate(self.sites):
            path = f"stack.{number}.{k}"
            into = self.states[site]
            if out is not None:
                into = into + (self.map(v, f"{path}.carried", out) if f"{path}.carried.weight" in v else out)
            s = self.map(v, f"{path}.down", into)
            for layer in range(self.layers):
                s = self.layer(v, f"{path}.layer.{layer}", s)
            out = into + self.map(v, f"{path}.up", s)
        return out

    def at(self, v, site, y, is_end):
        if site in self.sites:
            self.states[site] = y
        if not is_end:
            return y
        outs = [self.stack(v, s) for s in range(self.stacks)]
        if self.fusion == "sum":
            return y + sum(out * v[f"fusion.{s}.gain"] for s, out in enumerate(outs))
        matrix = torch.cat([v["fusion.base.weight"], *(v[f"fusion.{s}.weight"] for s in range(self.stacks))])
        return y + torch.cat([y, *outs], -1) @ matrix + v["fusion.base.bias"]


class OnBlocks(Plain):
    def __init__(self, beside, blocks):
        self.beside, self.last = beside, f"block.{blocks - 1}"

    def hidden(self, v, site, x, y):
        return self.beside.at(v, site, y, site == self.last)


def own(widths, stacks, layers, fusion, d_end, attention):
    """`widths` are those of the states that are read."""

    def draw(source):
        found = {}

        def map(path, d_in, d_out, bias=True):
            found[f"{path}.weight"] = source.normal(d_in, d_out, scale=0.5)
            if bias:
                found[f"{path}.bias"] = source.normal(d_out, scale=0.3)

        def norm(path):
            found.update({f"{path}.gain": source.normal(M, scale=0.3, shift=1.0), f"{path}.shift": source.normal(M, scale=0.3)})

        for s in range(stacks):
            before = widths[0]
            for k, d in enumerate(widths):
                path = f"stack.{s}.{k}"
                if before != d:
                    map(f"{path}.carried", before, d)
                map(f"{path}.down", d, M)
                for l in range(layers):
                    layer = f"{path}.layer.{l}"
                    if attention:
                        map(f"{layer}.attention.query", M, M)
                        map(f"{layer}.attention.key", M, M, bias=False)
                        map(f"{layer}.attention.value", M, M)
                        map(f"{layer}.attention.output", M, M)
                        norm(f"{layer}.norm_attention")
                    map(f"{layer}.feed_forward.in", M, 4 * M)
                    map(f"{layer}.feed_forward.out", 4 * M, M)
                    norm(f"{layer}.norm_feed_forward")
                map(f"{path}.up", M, d)
                before = d
        if fusion == "concatenate":
            map("fusion.base", d_end, d_end)
            for s in range(stacks):
                map(f"fusion.{s}", widths[-1], d_end, bias=False)
        else:
            for s in range(stacks):
                found[f"fusion.{s}.gain"] = source.normal(d_end, scale=0.5)
        return found

    return draw


def sequence_case(source, name, sites, stacks, layers, fusion, keys):
    beside = Beside(sites, stacks, layers, fusion, 2, causal(torch.tensor(PADDED)))
    parameters = own([WIDTH] * len(sites), stacks, layers, fusion, WIDTH, True)
    keys = f"stacks = {stacks}\nlayers = {layers}\nfusion = '{fusion}'\nwidth = {M}\nheads = 2\n{keys}"
    return case(source, name, PADDED, parameters, OnBlocks(beside, 2), keys)


def tower_case(source, name, sites, fusion, keys):
    layers = [f"tower.{i}.linear" for i in range(len(WIDTHS) - 1)]
    widths = [WIDTHS[1:][layers.index(site)] for site in sites]
    beside = Beside(sites, 1, 1, fusion)
    parameters = tower_parameters(source, WIDTHS, False) | own(widths, 1, 1, fusion, WIDTHS[-1], False)(source)

    def linear(v):
        def of(i, x, weight, bias):
            y = x @ weight + bias
            return y if i is None else beside.at(v, layers[i], y, i == len(layers) - 1)

        return of

    config = {"keys": f"fusion = '{fusion}'\nwidth = {M}\n{keys}", "norm": "none", "widths": WIDTHS}
    return layer_case(name, config, {"x": source.normal(2, 3, WIDTHS[0])}, parameters, lambda v: tower(v, linear(v)), source)


def build():
    source = Source(24)
    return [
        sequence_case(source, "concatenate", ["block.0", "block.1"], 1, 1, "concatenate", ""),
        sequence_case(source, "two_stacks_of_two_layers", ["block.0"], 2, 2, "concatenate", "sites = ['block.0']"),
        sequence_case(source, "sum", ["block.0", "block.1"], 1, 1, "sum", ""),
        tower_case(source, "tower_concatenate", ["tower.0.linear", "tower.1.linear"], "concatenate", ""),
        tower_case(source, "tower_sum", ["tower.1.linear"], "sum", "sites = ['*.1.*']"),
    ]


if __name__ == "__main__":
    golden_file.run("k_adapter", ABOUT, build)
