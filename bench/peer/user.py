"""Adapting users by a solve, all at once: 1,000 users with 28 ratings each, ten items asked for. Variants `fold_in` (17 equations a user) and `regression` (28 rows in 38 features),
each as batched PyTorch in double precision: products, one batched Cholesky factor, one batched solve.
"""

import torch

import measure

USERS, ITEMS, SHOWN, ASKED = 1000, 2000, 28, 10
WIDTHS = {"fold_in": 17, "regression": 38}
VARIANTS = list(WIDTHS)


def main():
    args = measure.arguments(__doc__, VARIANTS, steps=20, warmup=3)
    d = WIDTHS[args.variant]
    items = torch.randn(ITEMS, d, dtype=torch.float64)
    level = torch.randn(ITEMS, dtype=torch.float64)
    shown = torch.randint(ITEMS, (USERS, SHOWN))
    asked = torch.randint(ITEMS, (USERS, ASKED))
    ratings = torch.randn(USERS, SHOWN, dtype=torch.float64)
    prior = torch.randn(USERS, d, dtype=torch.float64)
    covariance = torch.eye(d, dtype=torch.float64) * 0.1
    noise = 0.5

    def fold_in():
        q = items[shown]  # [U, S, d]
        a = torch.eye(d, dtype=torch.float64) + q.transpose(1, 2) @ q / noise
        b = prior + ((ratings - level[shown]).unsqueeze(1) @ q).squeeze(1) / noise
        z = torch.cholesky_solve(b.unsqueeze(2), torch.linalg.cholesky(a)).squeeze(2)
        return level[asked] + (items[asked] @ z.unsqueeze(2)).squeeze(2)

    def regression():
        x = items[shown]
        spread = x @ covariance  # [U, S, d]
        c = spread @ x.transpose(1, 2) + noise * torch.eye(SHOWN, dtype=torch.float64)
        left = ratings - (x @ prior.unsqueeze(2)).squeeze(2)
        alpha = torch.cholesky_solve(left.unsqueeze(2), torch.linalg.cholesky(c))
        w = prior + (spread.transpose(1, 2) @ alpha).squeeze(2)
        return (items[asked] @ w.unsqueeze(2)).squeeze(2)

    work = {"fold_in": fold_in, "regression": regression}[args.variant]

    def step(_):
        with torch.no_grad():
            return work().sum().item()

    measure.report("user", args, step, USERS)


if __name__ == "__main__":
    main()
