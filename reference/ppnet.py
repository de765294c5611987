"""PPNet's gates on what each linear of a tower reads, conditioned on the domain of a group: forward and gradients of `sum(y * cotangent)`.

    e = common + embedding[p]                                        p the domain of the group
    h_{l+1} = relu((delta_l * h_l) W_l + b_l),   s = (delta_L * h_L) w + b,   h_0 = x
    delta_l = 2 sigmoid(relu([sg(x); e] V1 + c1) V2 + c2)            a gate of its own for each l

sg stops the gradient: what the gates read of x is a constant here, equal to x; the tower reads x itself.
Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized Prior Information", KDD 2023.
"""

import torch

import golden_file
from adapter import tower_parameters
from epnet import CONDITION, DOMAINS, HIDDEN, condition_parameters, gate, gate_parameters
from golden_file import Source, layer_case
from lora import WIDTHS, tower

ABOUT = "PPNet: gates on what each linear of a tower reads: y, and gradients of sum(y * cotangent). Formulas in reference/ppnet.py."


def path(i):
    return "head" if i is None else f"tower.{i}.linear"


def case(source, name, gated, sites):
    domain = torch.tensor([2, 0])
    parameters = tower_parameters(source, WIDTHS, False) | condition_parameters(source)
    for i in gated:
        parameters |= gate_parameters(source, f"{path(i)}.gate", WIDTHS[-1 if i is None else i])
    inputs = {"x": source.normal(2, 3, WIDTHS[0])}
    held = inputs["x"].clone()

    def forward(v):
        def linear(i, h, weight, bias):
            return (gate(v, f"{path(i)}.gate", held, domain) * h if i in gated else h) @ weight + bias

        return tower(v, linear)

    keys = f"embedding = {CONDITION}\nhidden = {HIDDEN}\nsites = {sites}"
    found = layer_case(name, {"keys": keys, "norm": "none", "widths": WIDTHS, "domains": DOMAINS}, inputs, parameters, forward, source)
    found["inputs"]["domain"] = golden_file.tensor(domain)
    return found


def build():
    source = Source(63)
    return [case(source, "every_layer", [0, 1, None], '["*"]'), case(source, "hidden_layers", [1, None], '["tower.1.*", "head"]')]


if __name__ == "__main__":
    golden_file.run("ppnet", ABOUT, build)
