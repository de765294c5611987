"""Bottleneck adapters on a tower and on a NextItNet block: forward and gradients of `sum(y * cotangent)`.

    A(x) = x + B(x),   B(x) = GELU(x W1 + b1) W2 + b2        W1 [d, m], W2 [m, d']

- serial: after each hidden linear, before its norm and activation: `h' = relu(norm(A(h W + b)))`. d = d' = width of the linear's output.
- parallel: a branch fed with the linear's input, without inner skip: `h' = relu(norm(h W + b + B(h)))`. d = input width, d' = output width.
- per domain: adapters `[D, ...]`; group g uses those of `domain[g]`, every other domain's gradient is zero.
- NextItNet block (PeterRec): S2 puts A after each convolution, before its norm; P2 adds B of the convolution's input, without inner skip.

`gelu` is `x Phi(x)` by the error function. `gelu_tanh` is the approximation of the original PeterRec program, and of the original adapter program too.
- Self-attention: serial, after the output map of each attention and the second of each feed-forward part.

The last linear of the tower (width 1) has no adapter. Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019;
Yuan et al., "Parameter-Efficient Transfer from Sequential Behaviors for User Modeling and Recommendation", SIGIR 2020.
"""

import torch
import torch.nn.functional as F

import golden_file
import sasrec
from golden_file import KINKS, Source, layer_case
from layers import block_parameters, layer_norm, nextitnet_block

ABOUT = "Bottleneck adapters: y, and gradients of sum(y * cotangent). Formulas in reference/adapter.py."
EPS = 1e-5
GELU = {"gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh")}


def branch(x, v, prefix, gelu):
    return GELU[gelu](x @ v[f"{prefix}.w1"] + v[f"{prefix}.b1"]) @ v[f"{prefix}.w2"] + v[f"{prefix}.b2"]


def adapter_parameters(source, prefix, d_in, d_out, bottleneck, lead=(), bias_lead=()):
    return {
        f"{prefix}.w1": source.normal(*lead, d_in, bottleneck, scale=0.5),
        f"{prefix}.b1": source.normal(*bias_lead, bottleneck, scale=0.5),
        f"{prefix}.w2": source.normal(*lead, bottleneck, d_out, scale=0.5),
        f"{prefix}.b2": source.normal(*bias_lead, d_out, scale=0.5),
    }


def tower_parameters(source, widths, norm):
    """`tower.i.weight/bias` (and `norm.i.gain/shift`) of the hidden linears, `head.weight/bias`."""
    parameters = {}
    for i, (d_in, d_out) in enumerate(zip(widths, widths[1:])):
        parameters |= {f"tower.{i}.weight": source.normal(d_in, d_out, scale=0.7), f"tower.{i}.bias": source.normal(d_out, scale=0.3)}
        if norm:
            parameters |= {f"norm.{i}.gain": source.normal(d_out, scale=0.3, shift=1.0), f"norm.{i}.shift": source.normal(d_out, scale=0.3)}
    return parameters | {"head.weight": source.normal(widths[-1], 1), "head.bias": source.normal(1)}


def tower(v, hidden, norm):
    """MLP with `hidden(i, linear input, linear output)` after hidden linear i."""
    h, i = v["x"], 0
    while f"tower.{i}.weight" in v:
        y = hidden(i, h, h @ v[f"tower.{i}.weight"] + v[f"tower.{i}.bias"])
        if norm:
            y = layer_norm(y, v[f"norm.{i}.gain"], v[f"norm.{i}.shift"], EPS)
        h, i = KINKS.relu(y), i + 1
    return h @ v["head.weight"] + v["head.bias"]


def tower_case(source, form, gelu, norm):
    widths, bottleneck = [4, 5, 3], 2
    parameters = tower_parameters(source, widths, norm)
    for i, (d_in, d_out) in enumerate(zip(widths, widths[1:])):
        parameters |= adapter_parameters(source, f"adapter.{i}", d_out if form == "serial" else d_in, d_out, bottleneck)

    def forward(v):
        def hidden(i, x, y):
            return y + branch(y if form == "serial" else x, v, f"adapter.{i}", gelu)

        return tower(v, hidden, norm)

    config = {"form": form, "gelu": gelu, "norm": "layer_norm" if norm else "none", "eps": EPS, "widths": widths, "bottleneck": bottleneck}
    name = f"tower_{form}_{gelu}" + ("_layer_norm" if norm else "")
    return layer_case(name, config, {"x": source.normal(2, 3, 4)}, parameters, forward, source)


def domain_case(source):
    widths, bottleneck, domain = [4, 5, 3], 2, torch.tensor([2, 0])
    parameters = tower_parameters(source, widths, False)
    for i, d in enumerate(widths[1:]):
        parameters |= adapter_parameters(source, f"adapter.{i}", d, d, bottleneck, lead=(3,), bias_lead=(3, 1))

    def forward(v):
        chosen = {n: p[domain] for n, p in v.items() if n.startswith("adapter.")}
        return tower(v, lambda i, x, y: y + branch(y, chosen, f"adapter.{i}", "gelu"), False)

    config = {"form": "serial", "gelu": "gelu", "norm": "none", "widths": widths, "bottleneck": bottleneck, "domains": 3}
    case = layer_case("tower_serial_gelu_per_domain", config, {"x": source.normal(2, 3, 4)}, parameters, forward, source)
    case["inputs"]["domain"] = golden_file.tensor(domain)
    return case


def block_case(source, form, gelu):
    width, bottleneck, dilation, eps = 4, 2, 2, 1e-8
    parameters = block_parameters(source, width)
    for half in ("1", "2"):
        parameters |= adapter_parameters(source, f"adapter.{half}", width, width, bottleneck)

    def forward(v):
        def patch(half):
            return lambda y, x: y + branch(y if form == "serial" else x, v, f"adapter.{half}", gelu)

        return nextitnet_block(v, dilation, eps, patch("1"), patch("2"))

    config = {"form": form, "gelu": gelu, "kernel": 3, "dilations": [dilation, 2 * dilation], "eps": eps, "bottleneck": bottleneck}
    name = f"nextitnet_{'s2' if form == 'serial' else 'p2'}_{gelu}"
    return layer_case(name, config, {"x": source.normal(2, 7, width)}, parameters, forward, source)


class AfterSubLayers(sasrec.Plain):
    def linear(self, v, site, x):
        y = super().linear(v, site, x)
        return y + branch(y, v, site, "gelu") if f"{site}.w1" in v else y


def sequence_case(source):
    def own(source):
        sites = [f"block.{i}.{site}" for i in range(2) for site in ("attention.output", "feed_forward.out")]
        return {n: p for site in sites for n, p in adapter_parameters(source, site, sasrec.WIDTH, sasrec.WIDTH, 2).items()}

    return sasrec.case(source, "sasrec", sasrec.PADDED, own, AfterSubLayers(), "bottleneck = 2")


def build():
    source = Source(3)
    towers = [("serial", "gelu", False), ("serial", "gelu", True), ("serial", "gelu_tanh", False), ("parallel", "gelu", False), ("parallel", "gelu_tanh", True)]
    cases = [tower_case(source, *choice) for choice in towers]
    cases.append(domain_case(source))
    cases += [block_case(source, form, gelu) for form in ("serial", "parallel") for gelu in ("gelu", "gelu_tanh")]
    return cases + [sequence_case(source)]


if __name__ == "__main__":
    golden_file.run("adapter", ABOUT, build)
