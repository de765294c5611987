"""Optimisers over five steps, row-wise optimisers for embedding tables, and global-norm clipping.

Dense, per element, step t = 1..5, gradient g:

- adam: `g += decay p` (coupled L2); `m = b1 m + (1-b1) g`, `v = b2 v + (1-b2) g^2`, `p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)`.
- adamw: decoupled, `p -= lr decay p` first, then the same step without L2.

Row-wise: each step brings rows `ids` with one gradient each; gradients of equal ids are summed first, then only the touched rows and their moments change.
An untouched row neither moves, nor decays, nor has its moments decayed. t is the number of steps the *table* has taken (also those that did not touch the row).

- rowwise_adam: the formula of `adam` on touched rows; `rowwise_adam_sparse_eps` is `torch.optim.SparseAdam`, which adds eps to `sqrt(v)` before the correction:
  `p -= lr sqrt(1-b2^t) / (1-b1^t) * m / (sqrt(v) + eps)`. The two differ only through eps (1e-2 here, to make it visible; `eps_1e-08` is the usual setting).
- rowwise_adam_l2 / rowwise_adamw: coupled / decoupled decay on touched rows only.
- rowwise_adagrad: `s += g^2`, `p -= lr g / (sqrt(s) + eps)`, s starts at `initial`.
- rowwise_sgd: `p -= lr g`.

Clipping: `norm = sqrt(sum over all tensors of |g|^2)`; `g *= min(1, max_norm / (norm + 1e-6))`.
"""

import torch

import golden_file
from golden_file import Source, tensors

ABOUT = "Optimisers: parameters and states after each of five steps. Formulas in reference/optim.py."
STEPS, BETAS, LR = 5, (0.9, 0.999), 0.1


class Adam:
    """The Adam family on any slice of a parameter; `rows` selects what a step touches."""

    def __init__(self, parameter, eps, l2=0.0, decoupled=0.0, sparse_eps=False):
        self.eps, self.l2, self.decoupled, self.sparse_eps = eps, l2, decoupled, sparse_eps
        self.m, self.v, self.t = torch.zeros_like(parameter), torch.zeros_like(parameter), 0

    def step(self, p, g, rows=slice(None)):
        self.t += 1
        b1, b2 = BETAS
        p[rows] -= LR * self.decoupled * p[rows]
        g = g + self.l2 * p[rows]
        self.m[rows] = b1 * self.m[rows] + (1 - b1) * g
        self.v[rows] = b2 * self.v[rows] + (1 - b2) * g * g
        c1, c2 = 1 - b1**self.t, 1 - b2**self.t
        if self.sparse_eps:
            p[rows] -= LR * c2**0.5 / c1 * self.m[rows] / (self.v[rows].sqrt() + self.eps)
        else:
            p[rows] -= LR * (self.m[rows] / c1) / ((self.v[rows] / c2).sqrt() + self.eps)

    def state(self):
        return {"m": self.m.clone(), "v": self.v.clone()}


class Adagrad:
    def __init__(self, parameter, eps, initial):
        self.eps, self.sum = eps, torch.full_like(parameter, initial)

    def step(self, p, g, rows=slice(None)):
        self.sum[rows] += g * g
        p[rows] -= LR * g / (self.sum[rows].sqrt() + self.eps)

    def state(self):
        return {"sum": self.sum.clone()}


class Sgd:
    def step(self, p, g, rows=slice(None)):
        p[rows] -= LR * g

    def state(self):
        return {}


def record(name, config, inputs, start, step, state):
    """Runs five steps; outputs `p.t` and every state `<name>.t`."""
    p, outputs = start.clone(), {}
    for t in range(STEPS):
        step(t, p)
        outputs |= {f"p.{t + 1}": p.clone()} | {f"{n}.{t + 1}": s for n, s in state().items()}
    config = {"steps": STEPS, "lr": LR, "betas": list(BETAS)} | config
    return {"name": name, "config": config, "inputs": tensors(inputs), "parameters": tensors({"p": start}), "outputs": tensors(outputs)}, p


def run_library(optimiser, parameter, gradient):
    for t in range(STEPS):
        parameter.grad = gradient(t)
        optimiser.step()
    return parameter.detach()


def dense_case(source, name, library, **options):
    start, g = source.normal(2, 3), source.normal(STEPS, 2, 3, scale=0.5)
    own = Adam(start, 1e-8, **options)
    config = {"eps": 1e-8, "decay": options.get("l2", 0.0) + options.get("decoupled", 0.0)}
    case, p = record(name, config, {"g": g}, start, lambda t, p: own.step(p, g[t]), own.state)
    parameter = torch.nn.Parameter(start.clone())
    found = run_library(library([parameter], lr=LR, betas=BETAS, eps=1e-8, weight_decay=config["decay"]), parameter, lambda t: g[t])
    torch.testing.assert_close(found, p, rtol=1e-12, atol=1e-12)
    return case


def summed(ids, g):
    """Distinct ids in ascending order, and the sum of the gradients of each."""
    rows, place = ids.unique(return_inverse=True)
    return rows, torch.zeros(len(rows), g.shape[-1], dtype=g.dtype).index_add_(0, place, g)


def rowwise_case(source, name, own, config, library=None):
    start, g = source.normal(6, 3), source.normal(STEPS, 5, 3, scale=0.5)
    ids = torch.tensor([[0, 2, 2, 4, 0], [1, 1, 1, 1, 1], [0, 1, 2, 3, 4], [2, 4, 2, 4, 2], [3, 0, 3, 1, 2]])
    own = own(start)

    def step(t, p):
        rows, total = summed(ids[t], g[t])
        own.step(p, total, rows)

    case, p = record(name, config, {"ids": ids, "g": g}, start, step, own.state)
    assert torch.equal(p[5], start[5]), "an untouched row must not move"
    if library is not None:
        parameter = torch.nn.Parameter(start.clone())
        gradient = lambda t: torch.sparse_coo_tensor(ids[t][None], g[t], start.shape, check_invariants=True)
        torch.testing.assert_close(run_library(library([parameter]), parameter, gradient), p, rtol=1e-12, atol=1e-12)
    return case


def clip_case(source, name, max_norm):
    g = {"weight": source.normal(3, 4), "bias": source.normal(4), "rows": source.normal(2, 3)}
    norm = torch.sqrt(sum((v * v).sum() for v in g.values()))
    clipped = {n: v * torch.clamp(max_norm / (norm + 1e-6), max=1.0) for n, v in g.items()}
    copies = [torch.nn.Parameter(v.clone()) for v in g.values()]
    for copy, v in zip(copies, g.values()):
        copy.grad = v.clone()
    torch.testing.assert_close(torch.nn.utils.clip_grad_norm_(copies, max_norm), norm)
    for copy, v in zip(copies, clipped.values()):
        torch.testing.assert_close(copy.grad, v)
    return {"name": name, "config": {"max_norm": max_norm}, "inputs": tensors(g), "outputs": tensors({"norm": norm} | {f"clipped.{n}": v for n, v in clipped.items()})}


def build():
    source = Source(6)
    sparse = lambda eps: lambda p: torch.optim.SparseAdam(p, lr=LR, betas=BETAS, eps=eps)
    return [
        dense_case(source, "adam", torch.optim.Adam),
        dense_case(source, "adam_l2", torch.optim.Adam, l2=0.0625),
        dense_case(source, "adamw", torch.optim.AdamW, decoupled=0.0625),
        rowwise_case(source, "rowwise_adam_eps_1e-08", lambda p: Adam(p, 1e-8), {"eps": 1e-8}),
        rowwise_case(source, "rowwise_adam", lambda p: Adam(p, 1e-2), {"eps": 1e-2}),
        rowwise_case(source, "rowwise_adam_sparse_eps", lambda p: Adam(p, 1e-2, sparse_eps=True), {"eps": 1e-2}, sparse(1e-2)),
        rowwise_case(source, "rowwise_adam_sparse_eps_1e-08", lambda p: Adam(p, 1e-8, sparse_eps=True), {"eps": 1e-8}, sparse(1e-8)),
        rowwise_case(source, "rowwise_adam_l2", lambda p: Adam(p, 1e-8, l2=0.0625), {"eps": 1e-8, "decay": 0.0625}),
        rowwise_case(source, "rowwise_adamw", lambda p: Adam(p, 1e-8, decoupled=0.0625), {"eps": 1e-8, "decay": 0.0625}),
        rowwise_case(source, "rowwise_adagrad", lambda p: Adagrad(p, 1e-10, 0.0), {"eps": 1e-10, "initial": 0.0}, lambda p: torch.optim.Adagrad(p, lr=LR)),
        rowwise_case(source, "rowwise_adagrad_initial", lambda p: Adagrad(p, 1e-10, 0.125), {"eps": 1e-10, "initial": 0.125},
                     lambda p: torch.optim.Adagrad(p, lr=LR, initial_accumulator_value=0.125)),
        rowwise_case(source, "rowwise_sgd", lambda p: Sgd(), {}, lambda p: torch.optim.SGD(p, lr=LR)),
        clip_case(source, "clip", 1.0),
        clip_case(source, "clip_inactive", 100.0),
    ]


if __name__ == "__main__":
    golden_file.run("optim", ABOUT, build)
