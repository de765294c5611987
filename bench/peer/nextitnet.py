"""NextItNet training step: batch 128, length 50, 64 channels, 8 residual blocks, sampled softmax, Adam 1e-3 on everything.

A block is conv(d) - LN - ReLU - conv(2d) - LN - ReLU - skip, kernel 3, causal, LN eps 1e-8; block dilations 1,4,1,4,1,4,1,4. Every position predicts the next
item of 20,000 against 100 uniform negatives shared by the batch (accidental hits masked), with an input and an output table of their own.

Variants `<tables>_<convolution>_<mode>`: dense or sparse gradients of the tables (SparseAdam for those, fused Adam for the rest); convolution `conv1d`
(`[B, C, L]`, transposed for the norm), `nhwc` (a 1x3 convolution in channels-last order) or `taps` (one product with three shifted
copies side by side); eager or compiled (sparse: all but the gathering of rows).
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

import measure

BATCH, LENGTH, CHANNELS, ITEMS, NEGATIVES, BATCHES = 128, 50, 64, 20_000, 100, 8
DILATIONS = [1, 4] * 4
VARIANTS = ["_".join(p) for p in itertools.product(("sparse", "dense"), ("taps", "conv1d", "nhwc"), ("eager", "compiled"))]


class CausalConv(nn.Module):
    """`[B, L, C]` to `[B, L, C]`."""

    def __init__(self, dilation, form):
        super().__init__()
        self.dilation, self.form = dilation, form
        self.bias = nn.Parameter(torch.zeros(CHANNELS))
        shape = {"taps": (3 * CHANNELS, CHANNELS), "conv1d": (CHANNELS, CHANNELS, 3), "nhwc": (CHANNELS, CHANNELS, 1, 3)}[form]
        weight = nn.init.trunc_normal_(torch.empty(shape), std=0.02)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last) if form == "nhwc" else weight)

    def forward(self, x):
        d = self.dilation
        padded = F.pad(x, (0, 0, 2 * d, 0))
        if self.form == "taps":
            windows = torch.cat([padded[:, j * d : j * d + x.shape[1]] for j in range(3)], -1)
            return windows @ self.weight + self.bias
        if self.form == "conv1d":
            return F.conv1d(padded.transpose(1, 2), self.weight, self.bias, dilation=d).transpose(1, 2)
        image = padded[:, None].permute(0, 3, 1, 2)
        return F.conv2d(image, self.weight, self.bias, dilation=(1, d)).permute(0, 2, 3, 1)[:, 0]


class Block(nn.Module):
    def __init__(self, dilation, form):
        super().__init__()
        self.conv1, self.conv2 = CausalConv(dilation, form), CausalConv(2 * dilation, form)
        self.norm1, self.norm2 = nn.LayerNorm(CHANNELS, eps=1e-8), nn.LayerNorm(CHANNELS, eps=1e-8)

    def forward(self, x):
        return x + torch.relu(self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


class NextItNet(nn.Module):
    def __init__(self, sparse, form):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(ITEMS, CHANNELS, sparse=sparse) for _ in range(2))
        for table in self.tables:
            nn.init.trunc_normal_(table.weight, std=0.02)
        self.blocks = nn.Sequential(*(Block(d, form) for d in DILATIONS))

    def gather(self, items, target, negatives):
        return self.tables[0](items), self.tables[1](target), self.tables[1](negatives)

    def loss(self, x, target_rows, negative_rows, target, negatives):
        h = self.blocks(x)
        positive = (h * target_rows).sum(-1, keepdim=True)
        negative = h @ negative_rows.t()
        negative = negative.masked_fill(target[..., None] == negatives, -torch.inf)
        scores = torch.cat([positive, negative], -1)
        return (torch.logsumexp(scores, -1) - scores[..., 0]).mean()


def main():
    args = measure.arguments(__doc__, VARIANTS, steps=30, warmup=5)
    sparse, form = args.variant.startswith("sparse"), args.variant.split("_")[1]
    model = NextItNet(sparse, form)
    sequences = torch.randint(1, ITEMS, (BATCHES, BATCH, LENGTH + 1))
    negatives = torch.randint(1, ITEMS, (BATCHES, NEGATIVES))
    dense = list(model.blocks.parameters()) if sparse else list(model.parameters())
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

    measure.report("nextitnet", args, step, BATCH, positions_per_step=BATCH * LENGTH)


if __name__ == "__main__":
    main()
