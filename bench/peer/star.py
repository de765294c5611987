"""STAR training step: 5 domains of 77, 9, 6, 5 and 3 % of the rows, 10 categorical fields of 100,000 ids, width 16, tower 160-256-128-64-1 with ReLU, logistic
loss, Adam 1e-3. Batch 1024 without norm, batch 256 with partitioned normalisation (`--norm`).

Every layer is `x (W * W_p) + b + b_p` for the rows of domain p, which lie side by side: one product a layer and domain, none over rows of padding. An auxiliary network of width 16
reads an embedding of the domain and the row, and adds to the score; what it takes of the row is one product over all rows. The norm is `batch_norm` on the rows of a domain
with gain `g * g_p` and shift `s + s_p`; a domain with fewer than 16 rows in a batch takes its running moments.

`--batches single`: a batch is of one domain, and each domain has its share of the batches. `--batches mixed`: each batch holds rows of all domains by their shares.

Variants `sparse_<weights>_<mode>`: SparseAdam for the one table of 1,000,000 rows with offsets, fused Adam for the rest; a parameter for each domain (`each`), of which a step
changes those of the domains in its batch, or one for all (`stacked`, mixed batches only); eager or compiled (all but the gathering of rows).
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

import measure

FIELDS, IDS, WIDTH, HIDDEN, EMBEDDING, AUXILIARY, LEAST = 10, 100_000, 16, [256, 128, 64], 8, 16, 16
SHARES = [77, 9, 6, 5, 3]  # per cent of the rows
WIDTHS = [FIELDS * WIDTH, *HIDDEN, 1]
SHAPES = list(zip(WIDTHS[1:], WIDTHS))
VARIANTS = ["_".join(p) for p in itertools.product(("sparse",), ("each", "stacked"), ("eager", "compiled"))]
# Options and variant of each run: a step on one domain that changed all of them through one parameter would be other work.
RUNS = [
    (["--batches", batches, *norm], variant)
    for norm, batches, variant in itertools.product(([], ["--norm"]), ("single", "mixed"), VARIANTS)
    if batches == "mixed" or "each" in variant
]


def shared_out(n):
    """How many of `n` each domain has; the first has what rounding leaves."""
    counts = [(share * n + 50) // 100 for share in SHARES]
    return [n - sum(counts[1:]), *counts[1:]]


def turns(warmup, steps):
    """The domain of each batch of one domain: all in turn before the clock counts, then spread evenly, batch j of a domain's n at the place (j + 1/2) / n."""
    spread = sorted(((j + 0.5) / n, domain) for domain, n in enumerate(shared_out(steps)) for j in range(n))
    return [step % len(SHARES) for step in range(warmup)] + [domain for _, domain in spread]


class Sets(nn.Module):
    """What the domains have of their own: one set, or with `lead = (P,)` the sets of P domains in one parameter each."""

    def __init__(self, norm, lead=()):
        super().__init__()
        self.weights = nn.ParameterList(torch.ones(*lead, *shape) for shape in SHAPES)
        self.biases = nn.ParameterList(torch.zeros(*lead, shape[0]) for shape in SHAPES)
        self.embedding = nn.Parameter(torch.randn(*lead, EMBEDDING) * 0.01)
        if norm:
            self.gain, self.shift = nn.Parameter(torch.ones(*lead, WIDTHS[0])), nn.Parameter(torch.zeros(*lead, WIDTHS[0]))


class Moments(nn.Module):
    """Running moments of a domain's rows."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTHS[0]))
        self.register_buffer("variance", torch.ones(WIDTHS[0]))


class Star(nn.Module):
    def __init__(self, stacked, norm):
        super().__init__()
        self.table = nn.Embedding(FIELDS * IDS, WIDTH, sparse=True)
        nn.init.normal_(self.table.weight, std=0.01)
        self.layers = nn.ModuleList(nn.Linear(d_in, d_out) for d_out, d_in in SHAPES)
        self.of_row, self.of_domain = nn.Linear(WIDTHS[0], AUXILIARY), nn.Parameter(torch.randn(AUXILIARY, EMBEDDING) * 0.1)
        self.out = nn.Parameter(torch.zeros(AUXILIARY, 1))
        self.sets = Sets(norm, (len(SHARES),)) if stacked else nn.ModuleList(Sets(norm) for _ in SHARES)
        self.moments = nn.ModuleList(Moments() for _ in SHARES)
        self.norm = norm
        if norm:
            self.gain, self.shift = nn.Parameter(torch.ones(WIDTHS[0])), nn.Parameter(torch.zeros(WIDTHS[0]))
        self.register_buffer("offsets", torch.arange(FIELDS) * IDS)

    def gather(self, ids):
        """The rows of all fields, side by side."""
        return (self.table(ids + self.offsets).flatten(1),)

    def loss_of(self, domains, counts):
        """The loss on rows of these domains, so many of each, one domain after the other."""
        stacked = isinstance(self.sets, Sets)
        assert not stacked or len(domains) == len(SHARES), "`stacked` takes --batches mixed"
        sets = self.sets if stacked else [self.sets[domain] for domain in domains]
        moments = [self.moments[domain] for domain in domains]

        def each(change):
            """`change` of each domain's set."""
            return change(sets).unbind(0) if stacked else [change(own) for own in sets]

        def loss(x, label):
            parts = x.split(counts)
            if self.norm:
                gains, shifts = each(lambda own: self.gain * own.gain), each(lambda own: self.shift + own.shift)
                columns = zip(parts, moments, gains, shifts)
                parts = [F.batch_norm(h, m.mean, m.variance, g, s, len(h) >= LEAST, 0.1, 1e-5) for h, m, g, s in columns]
            for l, layer in enumerate(self.layers):
                weights, biases = each(lambda own: layer.weight * own.weights[l]), each(lambda own: layer.bias + own.biases[l])
                parts = [F.linear(h, w, b) for h, w, b in zip(parts, weights, biases)]
                if l + 1 < len(self.layers):
                    parts = [torch.relu(h) for h in parts]
            of_domains = [e.expand(n, -1) for e, n in zip(each(lambda own: own.embedding @ self.of_domain.t()), counts)]
            auxiliary = torch.relu(self.of_row(x) + torch.cat(of_domains)) @ self.out
            return F.binary_cross_entropy_with_logits((torch.cat(parts) + auxiliary)[:, 0], label)

        return loss


def main():
    extra = [
        ("--batches", {"choices": ("single", "mixed"), "default": "single", "help": "domains of a batch: one, or all"}),
        ("--norm", {"action": "store_true", "help": "partitioned normalisation, and batch 256"}),
    ]
    args = measure.arguments(__doc__, VARIANTS, steps=100, warmup=20, extra=extra)
    batch, total = 256 if args.norm else 1024, args.warmup + args.steps
    model = Star("stacked" in args.variant, args.norm)
    ids, label = torch.randint(IDS, (total, batch, FIELDS)), torch.randint(2, (total, batch)).float()
    dense = [p for n, p in model.named_parameters() if not n.startswith("table")]
    optims = [torch.optim.SparseAdam(list(model.table.parameters()), lr=1e-3), torch.optim.Adam(dense, lr=1e-3, fused=True)]
    if args.batches == "single":
        losses = [measure.composed(model.gather, model.loss_of([domain], [batch]), args.variant) for domain in range(len(SHARES))]
        turn = turns(args.warmup, args.steps)
    else:
        losses = [measure.composed(model.gather, model.loss_of(list(range(len(SHARES))), shared_out(batch)), args.variant)]
        turn = [0] * total

    def step(i):
        for optim in optims:
            optim.zero_grad(set_to_none=True)
        loss = losses[turn[i]]((ids[i],), (label[i],))
        loss.backward()
        for optim in optims:
            optim.step()
        return loss.detach()

    measure.report(f"star_{args.batches}{'_norm' if args.norm else ''}", args, step, batch)


if __name__ == "__main__":
    main()
