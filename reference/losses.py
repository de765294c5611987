"""Objectives: value, and gradients with respect to scores.

Every loss is a mean over the rows with mask 1, `sum(mask * l) / max(sum(mask), 1)`; rows with mask 0 get gradient zero. `s` are scores, `z` logits.

- logistic: `l = softplus(z) - y z`, i.e. `max(z, 0) - y z + log1p(exp(-|z|))`.
- squared_error: `l = (s - y)^2` (no factor 1/2).
- bpr: `l = mean_j softplus(s-_j - s+)` over the negatives j of the row.
- candidates_logistic: `l = softplus(-s+) + sum_j softplus(s-_j)` over the negatives j of the row; a negative equal to the row's positive is dropped.
- softmax: `l = logsumexp_v(s_v) - s_target`.
- sampled_softmax: a row has a positive item with score `s+`, and S negatives shared by all rows, drawn from a distribution q over V items with replacement:

      t+ = s+ - logQ(positive),  t-_j = s-_j - logQ(negative_j),  logQ(i) = ln(S q(i))     (with correction; else logQ = 0)
      l  = ln( exp(t+) + sum over kept j of exp(t-_j) ) - t+

  A negative equal to the row's positive is an accidental hit and is dropped for that row only; a negative drawn twice counts twice. With uniform q the
  correction shifts all scores alike and changes nothing.
"""

import torch
import torch.nn.functional as F

import golden_file
from golden_file import Source, check_gradients, gradients, leaves, tensors

ABOUT = "Objectives: mean loss over unmasked rows, and its gradients. Formulas in reference/losses.py."


def masked_mean(losses, mask):
    return (losses * mask).sum() / mask.sum().clamp(min=1)


def stable_logistic(z, y):
    return torch.relu(z) - y * z + torch.log1p(torch.exp(-z.abs()))


def bpr(positive, negative):
    return F.softplus(negative - positive[:, None], threshold=1e9).mean(-1)


def candidates_logistic(positive, negative, hit):
    """`positive [N]`, `negative [N, S]`, `hit [N, S]`."""
    return F.softplus(-positive, threshold=1e9) + F.softplus(negative, threshold=1e9).masked_fill(hit, 0.0).sum(-1)


def sampled_softmax(positive, negative, hit, log_q_positive=0.0, log_q_negative=0.0):
    """`positive [N]`, `negative [N, S]`, `hit [N, S]`."""
    corrected = positive - log_q_positive
    others = (negative - log_q_negative).masked_fill(hit, -torch.inf)
    return torch.logsumexp(torch.cat([corrected[:, None], others], 1), 1) - corrected


def loss_case(name, config, scores, constants, loss):
    """A case whose gradients are those with respect to `scores`; `loss(values)` is the scalar."""
    values = leaves(scores)
    value = loss(values)
    found = gradients(value, values)
    check_gradients(loss, values, found)
    return {
        "name": name,
        "config": config,
        "inputs": tensors(scores | constants),
        "outputs": tensors({"loss": value}),
        "gradients": tensors(found),
    }


def pointwise_cases(source):
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 1]])
    z = {"z": source.normal(3, 4, scale=3.0)}
    y = source.integers(2, 3, 4)
    close = torch.allclose(stable_logistic(z["z"], y), F.binary_cross_entropy_with_logits(z["z"], y.double(), reduction="none"))
    assert close, "formula and library disagree"
    yield loss_case("logistic", {}, z, {"y": y, "mask": mask}, lambda v: masked_mean(stable_logistic(v["z"], y), mask))
    large = {"z": torch.tensor([80.0, -80.0, 80.0, -80.0, 0.25, -30.0], dtype=torch.float64)}
    y6, ones = torch.tensor([1, 1, 0, 0, 1, 0]), torch.ones(6, dtype=torch.int64)
    yield loss_case("logistic_large", {}, large, {"y": y6, "mask": ones}, lambda v: masked_mean(stable_logistic(v["z"], y6), ones))
    none = torch.zeros(3, 4, dtype=torch.int64)
    yield loss_case("logistic_all_masked", {}, z, {"y": y, "mask": none}, lambda v: masked_mean(stable_logistic(v["z"], y), none))
    s, rating = {"s": source.normal(3, 4, shift=3.0)}, source.integers(5, 3, 4) + 1
    yield loss_case("squared_error", {}, s, {"y": rating, "mask": mask}, lambda v: masked_mean((v["s"] - rating) ** 2, mask))


def pairwise_cases(source):
    mask = torch.tensor([1, 1, 0, 1, 1])
    for negatives in (1, 3):
        scores = {"positive": source.normal(5, scale=2.0), "negative": source.normal(5, negatives, scale=2.0)}
        yield loss_case(f"bpr_{negatives}", {"negatives": negatives}, scores, {"mask": mask}, lambda v: masked_mean(bpr(v["positive"], v["negative"]), mask))
    scores = {"positive": torch.tensor([60.0, -60.0], dtype=torch.float64), "negative": torch.tensor([[-60.0], [60.0]], dtype=torch.float64)}
    ones = torch.ones(2, dtype=torch.int64)
    yield loss_case("bpr_large", {"negatives": 1}, scores, {"mask": ones}, lambda v: masked_mean(bpr(v["positive"], v["negative"]), ones))


def softmax_cases(source):
    mask, target = torch.tensor([1, 0, 1, 1]), source.integers(7, 4)
    scores = {"s": source.normal(4, 7, scale=2.0)}
    yield loss_case(
        "softmax", {"classes": 7}, scores, {"target": target, "mask": mask},
        lambda v: masked_mean(torch.logsumexp(v["s"], 1) - v["s"].gather(1, target[:, None])[:, 0], mask),
    )


def sampled_cases(source):
    items, samples = 10, 6
    mask, positive_id = torch.tensor([1, 1, 0, 1, 1]), torch.tensor([3, 7, 2, 9, 7])
    negative_id = torch.tensor([7, 1, 4, 4, 9, 0])
    hit = positive_id[:, None] == negative_id[None, :]
    scores = {"positive": source.normal(5, scale=2.0), "negative": source.normal(5, samples, scale=2.0)}
    rank = torch.arange(items, dtype=torch.float64)
    distributions = {
        "none": None,
        "uniform": torch.full((items,), 1.0 / items, dtype=torch.float64),
        "log_uniform": torch.log((rank + 2.0) / (rank + 1.0)) / torch.log(torch.tensor(items + 1.0, dtype=torch.float64)),
    }
    ids = {"positive_id": positive_id, "negative_id": negative_id, "mask": mask}
    for correction, q in distributions.items():
        log_q = torch.zeros(items, dtype=torch.float64) if q is None else torch.log(samples * q)

        def loss(v):
            return masked_mean(sampled_softmax(v["positive"], v["negative"], hit, log_q[positive_id], log_q[negative_id]), mask)

        config = {"items": items, "negatives": samples, "log_q": correction}
        yield loss_case(f"sampled_softmax_log_q_{correction}", config, scores, ids | {"log_q": log_q}, loss)

    hidden = {"hidden": source.normal(5, 3), "table": source.normal(items, 3), "item_bias": source.normal(items)}

    def from_hidden(v):
        positive = (v["hidden"] * v["table"][positive_id]).sum(-1) + v["item_bias"][positive_id]
        negative = v["hidden"] @ v["table"][negative_id].T + v["item_bias"][negative_id]
        return masked_mean(sampled_softmax(positive, negative, hit), mask)

    config = {"items": items, "negatives": samples, "log_q": "none"}
    yield loss_case("sampled_softmax_from_hidden", config, hidden, ids, from_hidden)


def candidates_logistic_cases(source):
    mask = torch.tensor([1, 1, 0, 1, 1])
    for negatives in (1, 3):
        scores = {"positive": source.normal(5, scale=2.0), "negative": source.normal(5, negatives, scale=2.0)}
        none = torch.zeros(5, negatives, dtype=torch.bool)
        labels = torch.cat([torch.ones(5, 1), none], 1).double()
        pointwise = F.binary_cross_entropy_with_logits(torch.cat([scores["positive"][:, None], scores["negative"]], 1), labels, reduction="none")
        close = torch.allclose(candidates_logistic(**scores, hit=none), pointwise.sum(-1))
        assert close, "formula and library disagree"
        yield loss_case(
            f"candidates_logistic_{negatives}", {"negatives": negatives}, scores, {"mask": mask},
            lambda v: masked_mean(candidates_logistic(v["positive"], v["negative"], none), mask),
        )
    items, positive_id, negative_id = 10, torch.tensor([3, 7, 2, 9, 7]), torch.tensor([7, 1, 4, 4, 9, 0])
    hit = positive_id[:, None] == negative_id[None, :]
    hidden = {"hidden": source.normal(5, 3), "table": source.normal(items, 3), "item_bias": source.normal(items)}

    def from_hidden(v):
        positive = (v["hidden"] * v["table"][positive_id]).sum(-1) + v["item_bias"][positive_id]
        negative = v["hidden"] @ v["table"][negative_id].T + v["item_bias"][negative_id]
        return masked_mean(candidates_logistic(positive, negative, hit), mask)

    ids = {"positive_id": positive_id, "negative_id": negative_id, "mask": mask}
    yield loss_case("candidates_logistic_from_hidden", {"items": items, "negatives": 6}, hidden, ids, from_hidden)


def build():
    source = Source(2)
    return [case for maker in (pointwise_cases, pairwise_cases, softmax_cases, sampled_cases, candidates_logistic_cases) for case in maker(source)]


if __name__ == "__main__":
    golden_file.run("losses", ABOUT, build)
