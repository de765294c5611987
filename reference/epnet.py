"""EPNet's gate on what enters a tower, conditioned on the domain of a group: forward and gradients of `sum(y * cotangent)`.

    e = common + embedding[p]                                        p the domain of the group
    delta = 2 sigmoid(relu([sg(x); e] V1 + c1) V2 + c2),   x' = delta * x,   then the tower of x'

sg stops the gradient: what the gate reads of x is a constant here, equal to x. V2 = 0 and c2 = 0 make delta 1.
Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized Prior Information", KDD 2023.
"""

import torch

import golden_file
from adapter import tower_parameters
from golden_file import KINKS, Source, layer_case
from lora import WIDTHS, tower

ABOUT = "EPNet: gates on what enters a tower: y, and gradients of sum(y * cotangent). Formulas in reference/epnet.py."
CONDITION, HIDDEN, DOMAINS = 2, 4, 3


def condition_parameters(source):
    return {"condition.common": source.normal(CONDITION), "condition.embedding": source.normal(DOMAINS, CONDITION, scale=0.5)}


def gate_parameters(source, path, width):
    """A gate of a vector of this width, which reads the tower's input and the condition."""
    return {
        f"{path}.0.weight": source.normal(WIDTHS[0] + CONDITION, HIDDEN, scale=0.5),
        f"{path}.0.bias": source.normal(HIDDEN, scale=0.5, shift=0.5),
        f"{path}.1.weight": source.normal(HIDDEN, width, scale=0.5),
        f"{path}.1.bias": source.normal(width, scale=0.5),
    }


def gate(v, path, held, domain):
    """`delta`, of the rows `held` [G, N, d] as constants."""
    e = (v["condition.common"] + v["condition.embedding"][domain])[:, None].expand(-1, held.shape[1], -1)
    h = KINKS.relu(torch.cat([held, e], 2) @ v[f"{path}.0.weight"] + v[f"{path}.0.bias"])
    return 2.0 / (1.0 + torch.exp(-(h @ v[f"{path}.1.weight"] + v[f"{path}.1.bias"])))


def linear(i, x, weight, bias):
    return x @ weight + bias


def case(source, name, identity=False):
    domain = torch.tensor([2, 0])
    parameters = tower_parameters(source, WIDTHS, False) | condition_parameters(source) | gate_parameters(source, "input.gate", WIDTHS[0])
    if identity:
        parameters |= {n: torch.zeros_like(parameters[n]) for n in ("input.gate.1.weight", "input.gate.1.bias")}
    inputs = {"x": source.normal(2, 3, WIDTHS[0])}
    held = inputs["x"].clone()

    def forward(v):
        return tower(v | {"x": gate(v, "input.gate", held, domain) * v["x"]}, linear)

    if identity:
        assert torch.equal(tower(inputs | parameters, linear), forward(inputs | parameters)), "untrained it must be the tower"
    config = {"keys": f"embedding = {CONDITION}\nhidden = {HIDDEN}", "norm": "none", "widths": WIDTHS, "domains": DOMAINS}
    found = layer_case(name, config, inputs, parameters, forward, source)
    found["inputs"]["domain"] = golden_file.tensor(domain)
    return found


def build():
    source = Source(62)
    return [case(source, "per_domain"), case(source, "identity", identity=True)]


if __name__ == "__main__":
    golden_file.run("epnet", ABOUT, build)
