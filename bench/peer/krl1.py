"""Training of the shared DNN of KRL-1 on random rows: 35 categorical fields and the domain token of width 16, 4 numbers, tower 580-128-64-32-1 with ReLU,
logistic loss, Adam 3e-4 with weight decay 1e-4, batch 1024. 165 steps are one epoch of the 169,236 rows; a step includes gathering its rows.

Field sizes are those of the encoded data; ids, numbers and labels are uniform. Variants `<gradient>_<tables>_<mode>`: dense gradients (Adam with weight decay on
everything, as in the reference runs) or sparse ones (SparseAdam without decay for the tables); one table with offsets or one per field; eager or compiled
(sparse: all but the gathering of rows).
`dense_many_plain_eager` leaves the implementation of Adam to PyTorch's default; the others ask for the fused one.
"""

import itertools

import torch
from torch import nn

import measure

SIZES = [
    20940, 5217, 10, 3, 3, 9, 10, 8, 9, 3, 8, 50, 1402, 16, 34, 4, 111, 444, 8, 6, 6, 3, 3, 3, 3, 3, 3, 4757, 4, 13, 4977, 6, 43, 10, 25, 16,
]  # the last is the domain token
ROWS, BATCH, WIDTH, NUMBERS, TOWER = 169_236, 1024, 16, 4, [128, 64, 32]
VARIANTS = ["_".join(p) for p in itertools.product(("dense", "sparse"), ("many", "one"), ("eager", "compiled"))] + ["dense_many_plain_eager"]


class SharedDnn(nn.Module):
    def __init__(self, sparse, one_table):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, WIDTH, sparse=sparse) for size in ([sum(SIZES)] if one_table else SIZES))
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.01)
        widths = [len(SIZES) * WIDTH + NUMBERS, *TOWER]
        layers = [layer for a, b in zip(widths, widths[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.tower = nn.Sequential(*layers, nn.Linear(TOWER[-1], 1))
        self.register_buffer("offsets", torch.tensor([0, *SIZES[:-1]]).cumsum(0))

    def gather(self, ids):
        """The rows of all fields, side by side."""
        if len(self.tables) == 1:
            return (self.tables[0](ids + self.offsets).flatten(1),)
        return (torch.cat([table(ids[:, f]) for f, table in enumerate(self.tables)], 1),)

    def loss(self, x, numbers, label):
        return nn.functional.binary_cross_entropy_with_logits(self.tower(torch.cat([x, numbers], 1))[:, 0], label)


def main():
    args = measure.arguments(__doc__, VARIANTS, steps=165, warmup=5)
    sparse = args.variant.startswith("sparse")
    model = SharedDnn(sparse, "_one" in args.variant)
    ids = torch.stack([torch.randint(size, (ROWS,)) for size in SIZES], 1)
    numbers, label = torch.rand(ROWS, NUMBERS), torch.randint(2, (ROWS,)).float()
    order = torch.randperm(ROWS)
    dense = list(model.tower.parameters()) if sparse else list(model.parameters())
    kind = {} if "plain" in args.variant else {"fused": True}
    optims = [torch.optim.Adam(dense, lr=3e-4, weight_decay=1e-4, **kind)]
    if sparse:
        optims.append(torch.optim.SparseAdam(list(model.tables.parameters()), lr=3e-4))
    loss_of = measure.composed(model.gather, model.loss, args.variant)
    batches = ROWS // BATCH

    def step(i):
        rows = order[(i % batches) * BATCH : (i % batches + 1) * BATCH]
        for optim in optims:
            optim.zero_grad(set_to_none=True)
        loss = loss_of((ids[rows],), (numbers[rows], label[rows]))
        loss.backward()
        for optim in optims:
            optim.step()
        return loss.detach()

    parameters = sum(p.numel() for p in model.parameters())
    measure.report("krl1", args, step, BATCH, parameters=parameters)


if __name__ == "__main__":
    main()
