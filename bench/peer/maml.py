"""Exact second-order MAML step: 32 tasks, 10 support and 10 query rows, tower 256-64-64-1 with ReLU, squared error, inner rate 0.01, Adam 1e-3 outside.

The rows are given `[T, N, 256]` tensors that ask for a gradient, as embeddings would. `--inner-steps` sets K (default 1).

Variants: `loop` over tasks with `create_graph`; `vmap` (`torch.func.vmap` over `grad`, the outer gradient by autograd); `vmap_grad` (the outer
gradient by `torch.func.grad` too, eager or compiled); `bmm` (all tasks at once with fast weights `[T, d_in, d_out]` and `create_graph`);
`first_order_bmm` (FOMAML, for orientation only). PyTorch refuses to compile the double backward of the `create_graph` variants.
All exact variants print the same `last_loss` up to rounding.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import grad, grad_and_value, vmap

import measure

TASKS, SUPPORT, QUERY, WIDTHS, RATE = 32, 10, 10, [256, 64, 64, 1], 0.01
VARIANTS = ["loop", "vmap", "vmap_grad", "vmap_grad_compiled", "bmm", "first_order_bmm"]


def parameters():
    """Weights `[d_out, d_in]` and biases `[d_out]` in turn, with the library's usual start."""
    layers = [nn.Linear(a, b) for a, b in zip(WIDTHS, WIDTHS[1:])]
    return [p for layer in layers for p in (layer.weight, layer.bias)]


def task_loss(fast, x, y):
    """Mean squared error of one task."""
    for i in range(0, len(fast), 2):
        x = F.linear(x, fast[i], fast[i + 1])
        x = torch.relu(x) if i + 2 < len(fast) else x
    return F.mse_loss(x[:, 0], y)


def loop_loss(params, xs, ys, xq, yq, steps):
    """Mean query loss, one task after the other."""
    total = 0.0
    for t in range(TASKS):
        fast = params
        for _ in range(steps):
            grads = torch.autograd.grad(task_loss(fast, xs[t], ys[t]), fast, create_graph=True)
            fast = [p - RATE * g for p, g in zip(fast, grads)]
        total = total + task_loss(fast, xq[t], yq[t])
    return total / TASKS


def vmap_loss(params, xs, ys, xq, yq, steps):
    """Mean query loss, tasks vectorised by `vmap`."""

    def task(xs, ys, xq, yq):
        fast = params
        for _ in range(steps):
            fast = [p - RATE * g for p, g in zip(fast, grad(task_loss)(fast, xs, ys))]
        return task_loss(fast, xq, yq)

    return vmap(task)(xs, ys, xq, yq).mean()


def tower(x, fast):
    """Tower on `[T, N, d]` with weights `[T, d_in, d_out]` and biases `[T, 1, d_out]` in turn."""
    for i in range(0, len(fast), 2):
        x = torch.baddbmm(fast[i + 1], x, fast[i])
        x = torch.relu(x) if i + 2 < len(fast) else x
    return x[..., 0]


def bmm_loss(params, xs, ys, xq, yq, steps, exact=True):
    """Mean query loss, tasks along the batch axis of matrix products."""
    fast = []
    for p in params:
        shared = p.t() if p.dim() == 2 else p[None]
        fast.append(shared.expand(TASKS, *shared.shape))
    for _ in range(steps):
        loss = ((tower(xs, fast) - ys) ** 2).mean(1).sum()
        grads = torch.autograd.grad(loss, fast, create_graph=exact)
        fast = [p - RATE * g for p, g in zip(fast, grads)]
    return ((tower(xq, fast) - yq) ** 2).mean()


def main():
    extra = [("--inner-steps", {"type": int, "default": 1, "help": "K"})]
    args = measure.arguments(__doc__, VARIANTS, steps=100, warmup=20, extra=extra)
    k, params = args.inner_steps, parameters()
    xs, xq = torch.randn(TASKS, SUPPORT, WIDTHS[0]), torch.randn(TASKS, QUERY, WIDTHS[0])
    ys, yq = torch.randn(TASKS, SUPPORT), torch.randn(TASKS, QUERY)
    optim = torch.optim.Adam(params, lr=1e-3, fused=True)
    losses = {"loop": loop_loss, "vmap": vmap_loss, "bmm": bmm_loss, "first_order_bmm": partial(bmm_loss, exact=False)}
    functional = grad_and_value(lambda p, xs, xq: vmap_loss(p, xs, ys, xq, yq, k), argnums=(0, 1, 2))
    functional = measure.maybe_compile(functional, args.variant)

    def step(_):
        if args.variant.startswith("vmap_grad"):
            (grads, xs.grad, xq.grad), loss = functional([p.detach() for p in params], xs, xq)
            for p, g in zip(params, grads):
                p.grad = g
        else:
            xs.grad = xq.grad = None
            optim.zero_grad(set_to_none=True)
            loss = losses[args.variant](params, xs.requires_grad_(True), ys, xq.requires_grad_(True), yq, k)
            loss.backward()
        optim.step()
        return loss.detach()

    measure.report("maml", args, step, TASKS * (SUPPORT + QUERY), inner_steps=k, tasks_per_step=TASKS)


if __name__ == "__main__":
    main()
