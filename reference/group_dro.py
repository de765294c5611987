"""Group DRO: steps of algorithm 1 on the domains of a batch; q after each step, the loss, and its gradients.

    q_g <- q_g exp(eta l_g)                   l_g the mean loss of the batch's real rows of domain g
    L = sum_g q_g l_g / sum_g q_g             over the domains in the batch; no gradient through q

q is kept as logarithms (`dro.log_q`), which the sum below the line does not change; domains beyond the last block are of the last block; domains that are not in the batch keep theirs.
`moved.dro.log_q` is what stands after the step.
Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020.
"""

import torch

import golden_file
from adapter import tower_parameters
from controls import LOSS, WIDTHS, head, loss_case, states
from golden_file import Source

ABOUT = "Group DRO: weights of domains after a step, the loss, and its gradients. Formulas in reference/group_dro.py."
BLOCKS = 4


def case(source, name, objective, rate, domain, real):
    domain = torch.tensor(domain)
    groups, rows = domain.shape
    mask = (torch.arange(rows)[None] < torch.tensor(real)[:, None]).long()
    y = source.integers(2, groups, rows).double() if objective == "logistic" else source.normal(groups, rows)
    parameters = tower_parameters(source, WIDTHS, False)
    log_q = source.normal(BLOCKS)
    x = source.normal(groups, rows, WIDTHS[0])
    of_rows = [[(g, i) for g in range(groups) for i in range(rows) if mask[g, i] and min(int(domain[g, i]), BLOCKS - 1) == d] for d in range(BLOCKS)]

    def losses(v):
        l = LOSS[objective](head(v, states(v, v["x"])), y)
        return {d: torch.stack([l[g, i] for g, i in places]).mean() for d, places in enumerate(of_rows) if places}

    q, after = torch.exp(log_q), log_q.clone()
    for d, l in losses(parameters | {"x": x}).items():
        q[d] = q[d] * torch.exp(rate * l)
        after[d] = torch.log(q[d])

    def loss(v):
        found = losses(v)
        return sum(q[d] * l for d, l in found.items()) / sum(q[d] for d in found)

    config = {"keys": f"rate = {rate}", "objective": objective, "widths": WIDTHS, "domains": BLOCKS}
    inputs = {"x": x, "y": y, "mask": mask, "domain": domain}
    return loss_case(name, config, inputs, parameters | {"dro.log_q": log_q.reshape(BLOCKS, 1, 1)}, loss, {"moved.dro.log_q": after})


def build():
    source = Source(34)
    return [
        case(source, "one_group", "logistic", 0.01, [[0, 2, 2, 0, 1, 0, 2]], [7]),
        case(source, "groups_and_a_new_domain", "logistic", 0.5, [[0, 0, 7, 3], [2, 2, 2, 1]], [4, 3]),
        case(source, "ratings", "squared_error", 0.25, [[1, 0, 1], [0, 1, 2]], [3, 2]),
    ]


if __name__ == "__main__":
    golden_file.run("group_dro", ABOUT, build)
