"""Distillation from the network before training: the loss, and its gradients.

    logistic:        L = (1 - w) mean l(y, s) + w T^2 mean l(sigmoid(s0 / T), s / T)        l(p, s) = softplus(s) - p s
    squared error:   L = (1 - w) mean (s - y)^2 + w mean (s - s0)^2

s the scores of the network, s0 those of the network with the parameters `start.*` on the same rows, which no gradient enters; means over groups of the mean over a group's real rows.
Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Li and Hoiem, "Learning without Forgetting", TPAMI 2017.
"""

import torch

import golden_file
from adapter import tower_parameters
from controls import LOSS, WIDTHS, head, loss_case, mean_of_groups, states
from golden_file import Source

ABOUT = "Distillation from the network before training: the loss, and its gradients. Formulas in reference/distillation.py."


def case(source, name, objective, weight, temperature):
    parameters = tower_parameters(source, WIDTHS, False)
    start = {f"start.{n}": p + source.normal(*p.shape, scale=0.3) for n, p in parameters.items()}
    x = source.normal(2, 4, WIDTHS[0])
    y = source.integers(2, 2, 4).double() if objective == "logistic" else source.normal(2, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    l = LOSS[objective]
    s0 = head(start, states(start, x, "start."), "start.")

    def loss(v):
        s = head(v, states(v, v["x"]))
        if objective == "logistic":
            distance = temperature**2 * l(s / temperature, torch.sigmoid(s0 / temperature))
        else:
            distance = l(s, s0)
        return (1 - weight) * mean_of_groups(l(s, v["y"]), mask) + weight * mean_of_groups(distance, mask)

    config = {"keys": f"weight = {weight}\ntemperature = {temperature}", "objective": objective, "widths": WIDTHS}
    return loss_case(name, config, {"x": x, "y": y, "mask": mask}, parameters | start, loss, {"teacher": s0})


def build():
    source = Source(32)
    return [
        case(source, "clicks", "logistic", 0.5, 1.0),
        case(source, "clicks_temperature", "logistic", 0.75, 2.5),
        case(source, "ratings", "squared_error", 0.25, 1.0),
    ]


if __name__ == "__main__":
    golden_file.run("distillation", ABOUT, build)
