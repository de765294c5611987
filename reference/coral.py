"""Deep CORAL with labels on both sides: the loss, and its gradients.

    L = (L_S + L_T) / 2 + lambda |C_S - C_T|_F^2 / (4 d^2)

The first half of the groups is of the source, the other of the target; L_S and L_T are means over groups of the mean over a group's real rows, C the covariances (n - 1 below the line) of what the head
reads, d wide, over all real rows of either half. `torch.cov` computes them. Sun and Saenko, "Deep CORAL", ECCV 2016 workshops.
"""

import torch

import golden_file
from adapter import tower_parameters
from controls import LOSS, WIDTHS, head, loss_case, mean_of_groups, states
from golden_file import Source

ABOUT = "Deep CORAL: the loss of source and target with the distance of their covariances, and its gradients. Formulas in reference/coral.py."


def case(source, name, objective, weight, real):
    groups, rows = len(real), max(real)
    mask = (torch.arange(rows)[None] < torch.tensor(real)[:, None]).long()
    y = source.integers(2, groups, rows).double() if objective == "logistic" else source.normal(groups, rows)

    def loss(v):
        h = states(v, v["x"])

        def covariance(chosen):
            return torch.cov(torch.cat([h[g, : real[g]] for g in chosen]).T)

        apart = covariance(range(groups // 2)) - covariance(range(groups // 2, groups))
        distance = (apart**2).sum() / (4 * WIDTHS[-1] ** 2)
        losses = LOSS[objective](head(v, h), v["y"])
        halves = [mean_of_groups(losses[half], mask[half]) for half in (slice(0, groups // 2), slice(groups // 2, None))]
        return (halves[0] + halves[1]) / 2 + weight * distance

    config = {"keys": f"weight = {weight}", "objective": objective, "widths": WIDTHS}
    inputs = {"x": source.normal(groups, rows, WIDTHS[0]), "y": y, "mask": mask}
    return loss_case(name, config, inputs, tower_parameters(source, WIDTHS, False), loss)


def build():
    source = Source(33)
    return [
        case(source, "two_groups", "logistic", 1.0, [6, 6]),
        case(source, "padded", "logistic", 4.0, [5, 3]),
        case(source, "four_groups", "squared_error", 0.5, [3, 4, 2, 4]),
    ]


if __name__ == "__main__":
    golden_file.run("coral", ABOUT, build)
