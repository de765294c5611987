"""SASRec training step: batch 128, length 50, 64 channels, 2 heads, 2 blocks, sampled softmax, Adam 1e-3 on everything.

A block is h + Attn(LN(h)), then u + FFN(LN(u)) with as wide a hidden layer and ReLU, LN eps 1e-8, and a last LN; positions have rows of their own. Every position predicts the next
item of 20,000 against 100 uniform negatives shared by the batch (accidental hits masked), with an input and an output table of their own.

Variants `<tables>_<attention>_<mode>`: dense or sparse gradients of the tables (SparseAdam for those, fused Adam for the rest); attention `sdpa` (the library's fused one, causal), or
`plain` (products, a mask and a softmax); queries, keys and values are one product in both; eager or compiled (sparse: all but the gathering of rows).
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

import measure

BATCH, LENGTH, CHANNELS, HEADS, BLOCKS, ITEMS, NEGATIVES, BATCHES = 128, 50, 64, 2, 2, 20_000, 100, 8
VARIANTS = ["_".join(p) for p in itertools.product(("sparse", "dense"), ("sdpa", "plain"), ("eager", "compiled"))]
HIDDEN = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)


class Attention(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form, self.into, self.out = form, nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = self.into(x).view(b, n, 3, HEADS, CHANNELS // HEADS).permute(2, 0, 3, 1, 4)
        if self.form == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-1, -2) / math.sqrt(CHANNELS // HEADS)
            y = torch.softmax(scores.masked_fill(HIDDEN, -torch.inf), -1) @ v
        return self.out(y.transpose(1, 2).reshape(b, n, CHANNELS))


class Block(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(CHANNELS, eps=1e-8), nn.LayerNorm(CHANNELS, eps=1e-8)
        self.attention = Attention(form)
        self.inner, self.outer = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, h):
        u = h + self.attention(self.norm1(h))
        return u + self.outer(torch.relu(self.inner(self.norm2(u))))


class SasRec(nn.Module):
    def __init__(self, sparse, form):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(ITEMS, CHANNELS, sparse=sparse) for _ in range(2))
        self.positions = nn.Parameter(torch.empty(LENGTH, CHANNELS))
        for weight in (*(table.weight for table in self.tables), self.positions):
            nn.init.trunc_normal_(weight, std=0.02)
        self.blocks = nn.Sequential(*(Block(form) for _ in range(BLOCKS)), nn.LayerNorm(CHANNELS, eps=1e-8))

    def gather(self, items, target, negatives):
        return self.tables[0](items), self.tables[1](target), self.tables[1](negatives)

    def loss(self, x, target_rows, negative_rows, target, negatives):
        h = self.blocks(x + self.positions)
        positive = (h * target_rows).sum(-1, keepdim=True)
        negative = h @ negative_rows.t()
        negative = negative.masked_fill(target[..., None] == negatives, -torch.inf)
        scores = torch.cat([positive, negative], -1)
        return (torch.logsumexp(scores, -1) - scores[..., 0]).mean()


def main():
    args = measure.arguments(__doc__, VARIANTS, steps=30, warmup=5)
    sparse, form = args.variant.startswith("sparse"), args.variant.split("_")[1]
    model = SasRec(sparse, form)
    sequences = torch.randint(1, ITEMS, (BATCHES, BATCH, LENGTH + 1))
    negatives = torch.randint(1, ITEMS, (BATCHES, NEGATIVES))
    dense = [p for n, p in model.named_parameters() if not (sparse and n.startswith("tables"))]
    optims = [torch.optim.Adam(dense, lr=1e-3, fused=True)]
    if sparse:
        optims.append(torch.optim.SparseAdam(list(model.tables.parameters()), lr=1e-3))
    loss_of = measure.composed(model.gather, model.loss, args.variant)

    def step(i):
        for optim in optims:
            optim.zero_grad(set_to_none=True)
        items, target, drawn = sequences[i % BATCHES, :, :-1], sequences[i % BATCHES, :, 1:], negatives[i % BATCHES]
        loss = loss_of((items, target, drawn), (target, drawn))
        loss.backward()
        for optim in optims:
            optim.step()
        return loss.detach()

    measure.report("sasrec", args, step, BATCH, positions_per_step=BATCH * LENGTH)


if __name__ == "__main__":
    main()
