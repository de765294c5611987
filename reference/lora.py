"""Low-rank additions on a tower: forward and gradients of `sum(y * cotangent)`.

    y = x (W + (alpha / r) A B) + b        A [d_in, r], B [r, d_out], at each hidden linear, before its activation

Per domain: `A, B` and a bias `[D, ..]`; group g uses those of `domain[g]`, `y = x (W + (alpha / r) A_p B_p) + b + b_p`.
The weight is formed in full here, not as two products. Hu et al., "LoRA", ICLR 2022; Yang et al., "MLoRA", RecSys 2024.
"""

import torch

import golden_file
import sasrec
from adapter import tower_parameters
from golden_file import KINKS, Source, layer_case

ABOUT = "Low-rank additions to weights: y, and gradients of sum(y * cotangent). Formulas in reference/lora.py."
WIDTHS = [4, 5, 3]


def tower(v, linear):
    """MLP whose hidden linear i is `linear(i, x, W, b)`, and whose head is `linear(None, x, W, b)`."""
    h, i = v["x"], 0
    while f"tower.{i}.weight" in v:
        h, i = KINKS.relu(linear(i, h, v[f"tower.{i}.weight"], v[f"tower.{i}.bias"])), i + 1
    return linear(None, h, v["head.weight"], v["head.bias"])


def lora_parameters(source, prefix, rank, lead=(), biased=False):
    """`A`, `B` (and a bias) of each hidden linear, named as the product names them."""
    parameters = {}
    for i, (d_in, d_out) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        site = f"{prefix}tower.{i}.linear"
        parameters |= {f"{site}.lora_a": source.normal(*lead, d_in, rank, scale=0.5), f"{site}.lora_b": source.normal(*lead, rank, d_out, scale=0.5)}
        if biased:
            parameters |= {f"{site}.lora_bias": source.normal(*lead, 1, d_out, scale=0.3)}
    return parameters


def lora(v, prefix, scale):
    """The linear map with the addition of `prefix`."""

    def linear(i, x, weight, bias):
        if i is None:
            return x @ weight + bias
        site = f"{prefix}tower.{i}.linear"
        return x @ (weight + scale * v[f"{site}.lora_a"] @ v[f"{site}.lora_b"]) + bias + v.get(f"{site}.lora_bias", 0.0)

    return linear


def shared_case(source, rank, alpha):
    parameters = tower_parameters(source, WIDTHS, False) | lora_parameters(source, "", rank)
    config = {"keys": f"rank = {rank}\nalpha = {alpha:.1f}", "norm": "none", "widths": WIDTHS}
    forward = lambda v: tower(v, lora(v, "", alpha / rank))
    return layer_case(f"rank_{rank}", config, {"x": source.normal(2, 3, 4)}, parameters, forward, source)


def domain_case(source):
    rank, domain = 2, torch.tensor([2, 0])
    parameters = tower_parameters(source, WIDTHS, False) | lora_parameters(source, "", rank, lead=(3,), biased=True)

    def forward(v):
        chosen = {n: p[domain] if "lora" in n else p for n, p in v.items()}
        return tower(chosen, lora(chosen, "", 1.0))

    config = {"keys": "rank = 2\nalpha = 2.0\nper_domain = true", "norm": "none", "widths": WIDTHS, "domains": 3}
    case = layer_case("per_domain", config, {"x": source.normal(2, 3, 4)}, parameters, forward, source)
    case["inputs"]["domain"] = golden_file.tensor(domain)
    return case


class Additions(sasrec.Plain):
    def linear(self, v, site, x):
        return x @ (v[f"{site}.weight"] + 2.0 * v[f"{site}.lora_a"] @ v[f"{site}.lora_b"]) + v[f"{site}.bias"]


def sequence_case(source):
    """Every map of attention and of the feed-forward part; rank 1, alpha 2."""

    def own(source):
        maps = [f"attention.{name}" for name in ("query", "key", "value", "output")] + ["feed_forward.in", "feed_forward.out"]
        widths = {"feed_forward.in": (sasrec.WIDTH, 6), "feed_forward.out": (6, sasrec.WIDTH)}
        found = {}
        for name in maps:
            d_in, d_out = widths.get(name, (sasrec.WIDTH, sasrec.WIDTH))
            found |= {f"block.0.{name}.lora_a": source.normal(d_in, 1, scale=0.5), f"block.0.{name}.lora_b": source.normal(1, d_out, scale=0.5)}
        return found

    return sasrec.case(source, "sasrec", sasrec.PADDED, own, Additions(), "rank = 1\nalpha = 2.0", blocks=1, feed_forward=6)


def build():
    source = Source(11)
    return [shared_case(source, 1, 1.0), shared_case(source, 3, 4.0), domain_case(source), sequence_case(source)]


if __name__ == "__main__":
    golden_file.run("lora", ABOUT, build)
