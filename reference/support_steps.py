"""Gradient steps on one user's support rows, as they are taken while a request waits.

    theta_{k+1} = theta_k - f alpha_k * grad L_S(theta_k),  k = 0..K-1

on an MLP with ReLU, L_S the mean over the rows of `(y - s)^2` or of the logistic loss on the logit s. Outputs: `adapted.<layer>.<part>` of the layers of the scope.

- scope "all", "body" (all but the last linear), "head" (the last linear alone).
- alpha: one number; rates "weight": one for each adapted value, `rate.<layer>.<part>` of its shape; "layer_step": `[K]` for each adapted weight and bias; those of steps beyond the K that there are
  rates for are the last ones.
- f, of n rows that count w each: 1 without `c`; `w n / (w n + c)`; with `kappa` c is `5 exp(3 kappa)`.

Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017; Oh et al., "BOIL", ICLR 2021; Raghu et al., "Rapid Learning or Feature Reuse?", ICLR 2020;
Li et al., "Meta-SGD", 2017; Antoniou et al., "How to train your MAML", ICLR 2019.
"""

import math

import torch

import golden_file
from golden_file import KINKS, Source, check_gradients, gradients, leaves, tensors
from losses import stable_logistic

ABOUT = "Steps on one user's support rows: adapted values. Formulas in reference/support_steps.py."
LOSSES = {"squared_error": lambda s, y: (s - y) ** 2, "logistic": stable_logistic}
WIDTHS = [5, 18, 9, 1]
LAYERS = len(WIDTHS) - 1
SCOPES = {"all": range(LAYERS), "body": range(LAYERS - 1), "head": range(LAYERS - 1, LAYERS)}


def support_loss(loss, x, y, p):
    for i in range(LAYERS):
        x = x @ p[f"{i}.weight"] + p[f"{i}.bias"]
        x = KINKS.relu(x) if i < LAYERS - 1 else x
    return LOSSES[loss](x[:, 0], y).mean()


def factor(config):
    if "c" not in config and "kappa" not in config:
        return 1.0
    c = 5.0 * math.exp(3.0 * config["kappa"]) if "kappa" in config else config["c"]
    n = config["row_weight"] * config["rows"]
    return n / (n + c)


def case(source, name, config):
    """One case, or nothing when an activation came too near to its kink."""
    config = {"steps": 3, "alpha": 0.0625, "row_weight": 1.0, "rows": 7, "widths": WIDTHS} | config
    names = [f"{i}.{part}" for i in SCOPES[config["scope"]] for part in ("weight", "bias")]
    p = {}
    for i in range(LAYERS):
        p |= {f"{i}.weight": source.normal(WIDTHS[i], WIDTHS[i + 1], scale=0.5), f"{i}.bias": source.normal(WIDTHS[i + 1], scale=0.3)}
    rates = {}
    for n in names if "rates" in config else []:
        rates[f"rate.{n}"] = source.positive(*(p[n].shape if config["rates"] == "weight" else [config.get("rates_of", config["steps"])])) * 0.125
    x = source.normal(config["rows"], WIDTHS[0])
    y = source.integers(2, config["rows"]) if config["loss"] == "logistic" else source.normal(config["rows"], shift=0.5)
    parameters, inputs = p | rates, {"x": x, "y": y}

    KINKS.safe()
    for k in range(config["steps"]):
        values = leaves(p)
        found = gradients(support_loss(config["loss"], x, y, values), values)
        check_gradients(lambda v: support_loss(config["loss"], x, y, v), p, found)
        for n in names:
            kind = config.get("rates")
            rate = config["alpha"] if kind is None else rates[f"rate.{n}"] if kind == "weight" else rates[f"rate.{n}"][min(k, len(rates[f"rate.{n}"]) - 1)]
            p = p | {n: p[n] - factor(config) * rate * found[n]}
    if not KINKS.safe():
        return None
    return {
        "name": name,
        "config": config,
        "inputs": tensors(inputs),
        "parameters": tensors(parameters),
        "outputs": tensors({f"adapted.{n}": p[n] for n in names}),
    }


def build():
    source, cases = Source(71), []
    wanted = [{"loss": loss, "scope": scope} for loss in LOSSES for scope in SCOPES]
    wanted += [
        {"loss": "squared_error", "scope": "all", "rates": "weight", "steps": 2},
        {"loss": "logistic", "scope": "body", "rates": "weight", "c": 2.0},
        {"loss": "logistic", "scope": "all", "rates": "layer_step", "steps": 4, "rates_of": 3},
        {"loss": "squared_error", "scope": "head", "rates": "layer_step", "kappa": 0.25},
        {"loss": "squared_error", "scope": "all", "c": 3.0, "row_weight": 0.5, "steps": 5, "rows": 20},
        {"loss": "logistic", "scope": "all", "kappa": -0.25, "row_weight": 2.0, "rows": 1},
    ]
    for config in wanted:
        name, found = "_".join(f"{value}" if isinstance(value, str) else f"{key}_{value}" for key, value in config.items()), None
        while found is None:
            found = case(Source(source.integers(1 << 30, 1).item()), name, config)
        cases.append(found)
    return cases


if __name__ == "__main__":
    golden_file.run("support_steps", ABOUT, build)
