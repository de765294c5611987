"""TaNP on a tower: scores, loss and its gradients. Each task is computed by itself, from its real rows alone.

    r_S = mean_S h([x; y]),  a = relu(r_S V0 + v0),  mu_S = a V1 + v1,  lv_S = a V2 + v2
    t = mean_S m([x; y]),  c_j proportional to (1 + dist(t, a_j))^-1,  o = t + sum_j c_j a_j       (0 in place of a mean over no row)
    layers of f:  relu(gain * (h W + b) + shift),  h_0 = [x; z],  then a linear map
        gain = tanh(o Wg), shift = tanh(o Ws);  with gates eta = tanh(o We), delta = sigmoid(o Wd):
        gain = gain delta + eta (1 - delta), shift = shift delta + eta (1 - delta);  "one_plus" adds 1 to the gain
    score = base(x) + f  or  f, with z = mu_S; the base's for a task without support rows
    loss = mean_i mean_j l(score, y) + kl mean_i KL(q(z | all rows of i) | q(z | S_i)) + clustering mean_i sum_j d_ij log(d_ij / c_ij)
        f_j = sum_i c_ij,  d_ij = (c_ij^2 / f_j) / sum_j' (c_ij'^2 / f_j')       over tasks with support rows; constants in the cases "detached"
    "sampled": the first part is mean_i mean_j l(f, y) over all rows of i with z = mu_all + exp(lv_all / 2) eps

dist is the squared distance, or with "norm" the distance, as in the published program; its `alpha` is 1. In the sampled case all variances are nearly 0 (a bias of -28), so that eps, which the product draws
otherwise, does not show, and the divergence has weight 0. The base is `relu(.. x W + b ..)` with a head, frozen.

Differences from the published program: embeddings are given; targets d are normalised over clusters (there over an axis of size 1); mu in scoring; no dropout.
Lin et al., "Task-adaptive Neural Process for User Cold-Start Recommendation", WWW 2021; program IIEdm/TaNP.
"""

import torch

import golden_file
from golden_file import KINKS, Source, check_gradients, gradients, leaves, tensors
from losses import stable_logistic

ABOUT = "TaNP: scores, loss with divergence and clustering, and gradients. Formulas in reference/tanp.py."
LOSSES = {"squared_error": lambda s, y: (s - y) ** 2, "logistic": stable_logistic}
WIDTHS, Z, D, CLUSTERS = [3, 4], 3, 2, 3
ENCODER, IDENTITY, DECODER = [4], [3, 4], [4, 3]
SIZES = {"support": [5, 2, 3, 0], "query": [4, 4, 1, 3]}


def mlp(v, name, x):
    i = 0
    while f"{name}.{i}.weight" in v:
        x = (KINKS.relu(x) if i > 0 else x) @ v[f"{name}.{i}.weight"] + v[f"{name}.{i}.bias"]
        i += 1
    return x


def affine(v, name, x):
    return x @ v[f"{name}.weight"] + v[f"{name}.bias"]


def mean_of(v, name, width, x, y):
    """The mean over rows of what a network says of them."""
    return mlp(v, name, torch.cat([x, y[:, None]], 1)).mean(0) if len(x) else torch.zeros(width, dtype=torch.float64)


def posterior(v, x, y):
    a = KINKS.relu(affine(v, "latent.hidden", mean_of(v, "encoder", Z, x, y)))
    return affine(v, "latent.mean", a), affine(v, "latent.log_variance", a)


def shares(config, v, t):
    squared = ((t - v["memory"]) ** 2).sum(1)
    c = 1.0 / (1.0 + (squared if config["kernel"] == "squared" else torch.sqrt(squared)))
    return c / c.sum()


def decoder(config, v, x, z, o):
    h = torch.cat([x, z.expand(len(x), -1)], 1)
    for i in range(len(DECODER)):
        gain, shift = torch.tanh(o @ v[f"decoder.{i}.gain"]), torch.tanh(o @ v[f"decoder.{i}.shift"])
        if config["form"] == "gating_film":
            eta, delta = torch.tanh(o @ v[f"decoder.{i}.eta"]), torch.sigmoid(o @ v[f"decoder.{i}.delta"])
            gain, shift = gain * delta + eta * (1.0 - delta), shift * delta + eta * (1.0 - delta)
        if config["gain"] == "one_plus":
            gain = gain + 1.0
        h = KINKS.relu(gain * affine(v, f"decoder.{i}", h) + shift)
    return affine(v, "decoder.head", h)[:, 0]


def base(v, x):
    for i in range(len(WIDTHS) - 1):
        x = KINKS.relu(affine(v, f"tower.{i}.linear", x))
    return affine(v, "head", x)[:, 0]


def evaluate(config, constants, v):
    """The loss and each task's scores, shares in clusters and divergence."""
    tasks = len(SIZES["query"])
    row_loss = LOSSES[config["loss"]]
    fit, scores, divergences, assigned = 0.0, [], [], []
    for i in range(tasks):
        real = {part: constants[f"mask_{part}"][i].bool() for part in SIZES}
        (x_s, y_s), (x_q, y_q) = (
            (v[f"x_{part}"][i][real[part]], constants[f"y_{part}"][i][real[part]].double()) for part in ("support", "query")
        )
        x_all, y_all = torch.cat([x_s, x_q]), torch.cat([y_s, y_q])
        mu_s, lv_s = posterior(v, x_s, y_s)
        mu_all, lv_all = posterior(v, x_all, y_all)
        t = mean_of(v, "identity", D, x_s, y_s)
        c = shares(config, v, t)
        o = t + c @ v["memory"]
        f = decoder(config, v, x_q, mu_s, o)
        if len(x_s) == 0:
            score = base(v, x_q)
        else:
            score = base(v, x_q) + f if config["score"] == "residual" else f
        scores.append(score)
        if config["latent"] == "sampled":
            z = mu_all + torch.exp(0.5 * lv_all) * constants["eps"][i]
            fit = fit + row_loss(decoder(config, v, x_all, z, o), y_all).mean() / tasks
        else:
            fit = fit + row_loss(score, y_q).mean() / tasks
        ratio = (torch.exp(lv_all) + (mu_all - mu_s) ** 2) / torch.exp(lv_s)
        divergences.append(0.5 * (ratio - 1.0 + lv_s - lv_all).sum())
        if len(x_s) > 0:
            assigned.append(c)
    c = torch.stack(assigned)
    d = c**2 / c.sum(0)
    d = d / d.sum(1, keepdim=True)
    d = constants.get("targets", d)
    clustering = (d * torch.log(d / c)).sum(1).mean()
    divergence = torch.stack(divergences).mean() if config["kl"] > 0.0 else 0.0
    loss = fit + config["kl"] * divergence + config["clustering"] * clustering
    return loss, scores, d.detach()


def parameters(source, config):
    found = {}

    def linear(name, d_in, d_out, scale=0.6):
        found.update({f"{name}.weight": source.normal(d_in, d_out, scale=scale), f"{name}.bias": source.normal(d_out, scale=0.3)})

    def layers(name, widths):
        for i, (d_in, d_out) in enumerate(zip(widths, widths[1:])):
            linear(f"{name}.{i}", d_in, d_out)

    for i, (d_in, d_out) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        linear(f"tower.{i}.linear", d_in, d_out)
    linear("head", WIDTHS[-1], 1)
    layers("encoder", [WIDTHS[0] + 1, *ENCODER, Z])
    for name in ("hidden", "mean", "log_variance"):
        linear(f"latent.{name}", Z, Z)
    if config["latent"] == "sampled":
        found |= {"latent.log_variance.weight": torch.zeros(Z, Z, dtype=torch.float64), "latent.log_variance.bias": torch.full((Z,), -28.0, dtype=torch.float64)}
    layers("identity", [WIDTHS[0] + 1, *IDENTITY, D])
    found["memory"] = source.normal(CLUSTERS, D)
    layers("decoder", [WIDTHS[0] + Z, *DECODER])
    for i, width in enumerate(DECODER):
        for name in ("gain", "shift", "eta", "delta")[: 4 if config["form"] == "gating_film" else 2]:
            found[f"decoder.{i}.{name}"] = source.normal(D, width)
    linear("decoder.head", DECODER[-1], 1)
    return found


def case(source, name, loss, score, form, gain, kernel, latent="mean", detached=False, kl=0.5, clustering=0.7):
    config = {"loss": loss, "score": score, "form": form, "gain": gain, "kernel": kernel, "latent": latent, "kl": kl, "clustering": clustering, "widths": WIDTHS}
    config["keys"] = "\n".join(
        [f"{key} = '{config[key]}'" for key in ("score", "form", "gain", "kernel", "latent")]
        + [f"kl = {kl}", f"clustering = {clustering}", f"detach = {str(detached).lower()}"]
        + [f"encoder = {ENCODER}", f"identity = {IDENTITY}", f"decoder = {DECODER}"]
        + [f"latent_width = {Z}", f"identity_width = {D}", f"clusters = {CLUSTERS}"]
    )
    values = parameters(source, config)
    inputs, constants = {}, {}
    for part, counts in SIZES.items():
        tasks, rows = len(counts), max(counts)
        inputs[f"x_{part}"] = source.normal(tasks, rows, WIDTHS[0])
        constants[f"y_{part}"] = source.integers(2, tasks, rows) if loss == "logistic" else source.normal(tasks, rows)
        constants[f"mask_{part}"] = (torch.arange(rows)[None, :] < torch.tensor(counts)[:, None]).long()
    given = dict(constants)
    if latent == "sampled":
        given["eps"] = source.normal(len(SIZES["query"]), Z)
    if detached:
        given["targets"] = evaluate(config, given, inputs | values)[2]
    variables = leaves(inputs | values)
    KINKS.safe()
    value, scores, _ = evaluate(config, given, variables)
    if not KINKS.safe():
        return None
    found = gradients(value, variables)
    check_gradients(lambda v: evaluate(config, given, v)[0], variables, found)
    return {
        "name": name,
        "config": config,
        "inputs": tensors(inputs | constants),
        "parameters": tensors(values),
        "outputs": tensors({"loss": value, "scores": torch.cat(scores)}),
        "gradients": tensors({n: g for n, g in found.items() if not n.startswith(("tower", "head"))}),
    }


def drawn(source, *settings, **more):
    """A case, drawn again until no activation is near its kink."""
    while True:
        found = case(Source(source.integers(1 << 30, 1).item()), *settings, **more)
        if found is not None:
            return found


def build():
    source = Source(67)
    return [
        drawn(source, "residual", "squared_error", "residual", "gating_film", "one_plus", "squared"),
        drawn(source, "residual_detached", "squared_error", "residual", "gating_film", "one_plus", "squared", detached=True),
        drawn(source, "residual_film_clicks", "logistic", "residual", "film", "one_plus", "norm"),
        drawn(source, "own", "squared_error", "own", "gating_film", "tanh", "squared"),
        drawn(source, "own_film_norm", "squared_error", "own", "film", "tanh", "norm"),
        drawn(source, "sampled", "squared_error", "own", "gating_film", "tanh", "squared", latent="sampled", kl=0.0),
        drawn(source, "sampled_clicks", "logistic", "own", "film", "tanh", "squared", latent="sampled", kl=0.0),
    ]


if __name__ == "__main__":
    golden_file.run("tanp", ABOUT, build)
