"""Joint training: the loss of rows of the source and of the target as one list, and its gradients.

    L = (sum_{i in S} l_i + sum_{i in T} l_i) / (|S| + |T|)

so that a row of either counts the same, whatever the sizes of the lists; the rows of both stand in `x` one after the other, `source` says how many are of the source.
Caruana, "Multitask Learning", Machine Learning 1997; Li and Hoiem, "Learning without Forgetting", TPAMI 2017 (joint training).
"""

import golden_file
from adapter import tower_parameters
from controls import LOSS, WIDTHS, head, loss_case, states
from golden_file import Source

ABOUT = "Joint training on two lists of rows: the loss, and its gradients. Formulas in reference/joint.py."


def case(source, name, objective, of_source, of_target):
    n = of_source + of_target
    y = source.integers(2, 1, n).double() if objective == "logistic" else source.normal(1, n)

    def loss(v):
        losses = LOSS[objective](head(v, states(v, v["x"])), v["y"])[0]
        return (losses[:of_source].sum() + losses[of_source:].sum()) / n

    config = {"keys": "", "objective": objective, "widths": WIDTHS, "source": of_source}
    return loss_case(name, config, {"x": source.normal(1, n, WIDTHS[0]), "y": y}, tower_parameters(source, WIDTHS, False), loss)


def build():
    source = Source(31)
    return [case(source, "clicks", "logistic", 7, 3), case(source, "ratings", "squared_error", 2, 5)]


if __name__ == "__main__":
    golden_file.run("joint", ABOUT, build)
