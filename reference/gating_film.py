"""Gating-FiLM on a tower, conditioned on the domain of a group: forward and gradients of `sum(y * cotangent)`.

    e = common + embedding[p]                                        p the domain of the group
    gamma = tanh(e Wg), beta = tanh(e Wb), eta = tanh(e We), delta = sigmoid(e Wd)
    gamma' = 1 + gamma delta + eta (1 - delta),   beta' = beta delta + eta (1 - delta)
    h' = relu(gamma' * (h W + b) + beta')

The four matrices have no bias; the columns of a hidden linear follow those of the one before. The published decoder has no 1 in gamma', and its e is what a support set says of a user.
Lin et al., "Task-adaptive Neural Process for User Cold-Start Recommendation", WWW 2021.
"""

import torch

import golden_file
from adapter import tower, tower_parameters
from golden_file import Source, layer_case

ABOUT = "Gating-FiLM on a tower: y, and gradients of sum(y * cotangent). Formulas in reference/gating_film.py."
WIDTHS, CONDITION, DOMAINS = [4, 5, 3], 3, 3
NAMES = ["gain", "shift", "common", "gate"]


def modulated(v, domain):
    e = v["condition.common"] + v["condition.embedding"][domain][:, None]
    gamma, beta, eta, logit = (e @ v[f"gating.{name}.weight"] for name in NAMES)
    gamma, beta, eta, delta = torch.tanh(gamma), torch.tanh(beta), torch.tanh(eta), 1.0 / (1.0 + torch.exp(-logit))
    gains = (1.0 + gamma * delta + eta * (1.0 - delta)).split(WIDTHS[1:], -1)
    shifts = (beta * delta + eta * (1.0 - delta)).split(WIDTHS[1:], -1)
    return tower(v, lambda i, x, y: gains[i] * y + shifts[i], False)


def case(source, name, identity=False):
    domain, scale = torch.tensor([2, 0]), 0.0 if identity else 0.5
    parameters = tower_parameters(source, WIDTHS, False) | {
        "condition.common": source.normal(CONDITION),
        "condition.embedding": source.normal(DOMAINS, CONDITION, scale=0.5),
    }
    for own in NAMES:
        parameters[f"gating.{own}.weight"] = source.normal(CONDITION, sum(WIDTHS[1:]), scale=0.5 if own == "gate" else scale)

    def forward(v):
        return modulated(v, domain)

    inputs = {"x": source.normal(2, 3, WIDTHS[0])}
    if identity:
        assert torch.equal(tower(inputs | parameters, lambda i, x, y: y, False), forward(inputs | parameters)), "untrained it must be the tower"
    config = {"keys": f"embedding = {CONDITION}", "norm": "none", "widths": WIDTHS, "domains": DOMAINS}
    found = layer_case(name, config, inputs, parameters, forward, source)
    found["inputs"]["domain"] = golden_file.tensor(domain)
    return found


def build():
    source = Source(61)
    return [case(source, "per_domain"), case(source, "identity", identity=True)]


if __name__ == "__main__":
    golden_file.run("gating_film", ABOUT, build)
