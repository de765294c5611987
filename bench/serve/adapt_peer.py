"""Adapting in a request in PyTorch, one user after the other: the peer of `crates/plan/examples/adapt_speed.rs`.

Gradient steps on the tower 256-64-64-1 (`steps_K`; `head_steps_5` moves the head alone), by autograd (`autograd`) and with the gradients written out (`written`); the posterior mean of a linear
regression on `2 + d` features in double precision (`head_D`), six Newton steps for clicks. Prints a line of JSON for each number of support rows; `p99_alone_us` is that of the users during whom the thread was not put aside for another.
"""

import argparse
import json
import resource
import time

import torch

ROWS = [1, 5, 20, 100]
RATE = 0.01


def tower():
    layers = []
    for d_in, d_out in [(256, 64), (64, 64), (64, 1)]:
        scale = d_in**-0.5
        layers.append(((torch.rand(d_in, d_out) * 2 - 1) * scale, (torch.rand(d_out) * 2 - 1) * scale))
    return layers


def by_autograd(layers, x, y, steps, first):
    moved = [(w.clone().requires_grad_(), b.clone().requires_grad_()) if i >= first else (w, b) for i, (w, b) in enumerate(layers)]
    for _ in range(steps):
        h = x
        for i, (w, b) in enumerate(moved):
            h = torch.addmm(b, h, w)
            h = torch.relu(h) if i < 2 else h
        loss = ((h[:, 0] - y) ** 2).mean()
        flat = [p for pair in moved[first:] for p in pair]
        found = torch.autograd.grad(loss, flat)
        with torch.no_grad():
            flat = [(p - RATE * g).requires_grad_() for p, g in zip(flat, found)]
        moved = moved[:first] + [(flat[2 * i], flat[2 * i + 1]) for i in range(len(flat) // 2)]
    return moved


@torch.inference_mode()
def written(layers, x, y, steps, first):
    moved = [(w.clone(), b.clone()) if i >= first else (w, b) for i, (w, b) in enumerate(layers)]
    for _ in range(steps):
        h = [x]
        for i, (w, b) in enumerate(moved):
            z = torch.addmm(b, h[-1], w)
            h.append(z.relu_() if i < 2 else z)
        delta = (h[3] - y[:, None]).mul_(2.0 / len(y))
        for i in reversed(range(first, 3)):
            w, b = moved[i]
            above = (delta @ w.T).mul_(h[i] > 0) if i > first else None
            w.addmm_(h[i].T, delta, alpha=-RATE)
            b.sub_(delta.sum(0), alpha=RATE)
            delta = above
    return moved


def solver(d, clicks):
    m = d + 2
    factor = torch.eye(m, dtype=torch.float64) * 0.3 + torch.tril(torch.rand(m, m, dtype=torch.float64) * 2 - 1, -1) * 0.02
    covariance = factor @ factor.T
    precision = torch.linalg.inv(covariance)
    prior = torch.eye(m, dtype=torch.float64)[1]
    head, bias, noise, share = (torch.rand(d, dtype=torch.float64) * 2 - 1) * d**-0.5, 0.1, 0.5, 0.9

    @torch.inference_mode()
    def solve(h, y):
        h, y = h.double(), y.double()
        x = torch.cat([torch.ones(len(y), 1, dtype=torch.float64), (h @ head + bias)[:, None], h], 1)
        if clicks:
            w, of_prior = prior, precision @ prior
            for _ in range(6):
                logit = x @ w
                p = torch.sigmoid(logit)
                weight = (p * (1 - p)).clamp_min(1e-6)
                a = precision + (x * weight[:, None]).T @ x
                b = of_prior + x.T @ (weight * logit + y - p)
                w = torch.cholesky_solve(b[:, None], torch.linalg.cholesky(a))[:, 0]
        else:
            spread = x @ covariance
            c = spread @ x.T + noise * torch.eye(len(y), dtype=torch.float64)
            alpha = torch.cholesky_solve((y - x @ prior)[:, None], torch.linalg.cholesky(c))
            w = prior + (spread.T @ alpha)[:, 0]
        return (head + share * (w[1] * head + w[2:] - head)).float(), float(bias + share * (w[0] + w[1] * bias - bias))

    return solve


def timed(name, variant, rows, users, adapt):
    for user in range(users // 10):
        adapt(user)
    times, alone = [], []
    for user in range(users):
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        start = time.perf_counter()
        adapt(user)
        times.append((time.perf_counter() - start) * 1e6)
        if resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw == before:
            alone.append(times[-1])

    def quantile(values, q):
        return sorted(values)[int((len(values) - 1) * q)] if values else None

    print(json.dumps({
        "name": name,
        "variant": variant,
        "rows": rows,
        "users": users,
        "p50_us": quantile(times, 0.5),
        "p99_us": quantile(times, 0.99),
        "alone": len(alone),
        "p99_alone_us": quantile(alone, 0.99),
        "torch": torch.__version__,
    }))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000, help="users of each line")
    users = max(parser.parse_args().users, 10)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = tower()
    for name, steps, first in [("steps_1", 1, 0), ("steps_5", 5, 0), ("head_steps_5", 5, 2)]:
        for variant, adapt in [("autograd", by_autograd), ("written", written)]:
            for rows in ROWS:
                pool = [(torch.rand(rows, 256) * 2 - 1, torch.rand(rows) * 2 - 1) for _ in range(64)]
                timed(name, variant, rows, users, lambda user: adapt(layers, *pool[user % 64], steps, first))
    for name, d, clicks in [("head_32", 32, False), ("head_64", 64, False), ("head_64_clicks", 64, True)]:
        solve = solver(d, clicks)
        for rows in ROWS:
            labels = lambda: (torch.rand(rows) > 0.5).float() if clicks else torch.rand(rows) * 2 - 1
            pool = [(torch.rand(rows, d) * 2 - 1, labels()) for _ in range(64)]
            timed(name, "eager", rows, users, lambda user: solve(*pool[user % 64]))


if __name__ == "__main__":
    main()
