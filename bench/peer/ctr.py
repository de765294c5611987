"""CTR training step: batch 4096, 10 categorical fields of 100,000 ids, width 16, tower 160-256-128-64-1 with ReLU, logistic loss, Adam 1e-3.

Variants `<gradient>_<tables>_<mode>`: dense gradients with one fused Adam, or sparse gradients with SparseAdam for the tables and fused Adam for the
tower; one table of 1,000,000 rows with offsets, or ten tables; eager or compiled. `dense_one_foreach_eager` uses the foreach Adam.
In compiled variants the forward and backward passes are compiled (sparse: those of the tower only); the optimisers run as in eager.
"""

import itertools

import torch
from torch import nn

import measure

BATCH, FIELDS, IDS, WIDTH, BATCHES = 4096, 10, 100_000, 16, 8
VARIANTS = ["_".join(p) for p in itertools.product(("sparse", "dense"), ("one", "ten"), ("eager", "compiled"))] + ["dense_one_foreach_eager"]


class Ctr(nn.Module):
    def __init__(self, sparse, one_table):
        super().__init__()
        tables = 1 if one_table else FIELDS
        self.tables = nn.ModuleList(nn.Embedding(FIELDS * IDS // tables, WIDTH, sparse=sparse) for _ in range(tables))
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.01)
        widths = [FIELDS * WIDTH, 256, 128, 64]
        layers = [layer for a, b in zip(widths, widths[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.tower = nn.Sequential(*layers, nn.Linear(64, 1))
        self.register_buffer("offsets", torch.arange(FIELDS) * IDS)

    def gather(self, ids):
        """The rows of all fields, side by side."""
        if len(self.tables) == 1:
            return (self.tables[0](ids + self.offsets).flatten(1),)
        return (torch.cat([table(ids[:, f]) for f, table in enumerate(self.tables)], 1),)

    def loss(self, x, label):
        return nn.functional.binary_cross_entropy_with_logits(self.tower(x)[:, 0], label)


def optimisers(model, sparse, foreach):
    """Adam for everything dense, SparseAdam for sparse tables."""
    kind = {"foreach": True} if foreach else {"fused": True}
    if not sparse:
        return [torch.optim.Adam(model.parameters(), lr=1e-3, **kind)]
    return [torch.optim.SparseAdam(list(model.tables.parameters()), lr=1e-3), torch.optim.Adam(model.tower.parameters(), lr=1e-3, **kind)]


def main():
    args = measure.arguments(__doc__, VARIANTS, steps=60, warmup=10)
    sparse, one_table = args.variant.startswith("sparse"), "_one" in args.variant
    model = Ctr(sparse, one_table)
    ids = torch.randint(IDS, (BATCHES, BATCH, FIELDS))
    label = torch.randint(2, (BATCHES, BATCH)).float()
    optims = optimisers(model, sparse, "foreach" in args.variant)
    loss_of = measure.composed(model.gather, model.loss, args.variant)

    def step(i):
        for optim in optims:
            optim.zero_grad(set_to_none=True)
        loss = loss_of((ids[i % BATCHES],), (label[i % BATCHES],))
        loss.backward()
        for optim in optims:
            optim.step()
        return loss.detach()

    measure.report("ctr", args, step, BATCH)


if __name__ == "__main__":
    main()
