"""One factor for each hidden feature of a tower: forward and gradients of `sum(y * cotangent)`.

    h_{i+1} = relu((l_i * h_i) W_i + b_i)        l_i for every linear but the first, the head included
    l_k * k, l_v * v, (l_ff * z) W2 + b2         keys, values and the hidden state of the feed-forward part in self-attention

Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", NeurIPS 2022.
"""

import golden_file
import sasrec
from adapter import tower_parameters
from golden_file import Source, layer_case
from lora import WIDTHS, tower

ABOUT = "Factors of hidden features: y, and gradients of sum(y * cotangent). Formulas in reference/ia3.py."


def ia3_parameters(source, prefix=""):
    sites = [f"tower.{i}.linear" for i in range(1, len(WIDTHS) - 1)] + ["head"]
    return {f"{prefix}{site}.ia3": source.normal(d, scale=0.3, shift=1.0) for site, d in zip(sites, WIDTHS[1:])}


def ia3(v, prefix, inner):
    """`inner` behind the factors of `prefix`."""

    def linear(i, x, weight, bias):
        site = "head" if i is None else f"tower.{i}.linear"
        return inner(i, x if i == 0 else x * v[f"{prefix}{site}.ia3"], weight, bias)

    return linear


class Published(sasrec.Plain):
    def linear(self, v, site, x):
        factor = v.get(f"{site}.ia3", 1.0)
        return super().linear(v, site, x * factor) if site.endswith("out") else super().linear(v, site, x) * factor


def sequence_case(source):
    def own(source):
        sites = [f"block.{i}.{site}" for i in range(2) for site in ("attention.key", "attention.value", "feed_forward.out")]
        return {f"{site}.ia3": source.normal(6 if site.endswith("out") else sasrec.WIDTH, scale=0.3, shift=1.0) for site in sites}

    return sasrec.case(source, "sasrec", sasrec.PADDED, own, Published(), "", feed_forward=6)


def build():
    source = Source(12)
    parameters = tower_parameters(source, WIDTHS, False) | ia3_parameters(source)
    forward = lambda v: tower(v, ia3(v, "", lambda i, x, weight, bias: x @ weight + bias))
    return [layer_case("tower", {"keys": "", "norm": "none", "widths": WIDTHS}, {"x": source.normal(2, 3, 4)}, parameters, forward, source), sequence_case(source)]


if __name__ == "__main__":
    golden_file.run("ia3", ABOUT, build)
