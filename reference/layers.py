"""Layers of the backbones: forward and gradients of `sum(y * cotangent)`.

All formulas are written with elementary operations and compared with the library's own layer where one exists.

- linear: `y = x W + b`, `W [d_in, d_out]`, or one `W [G, d_in, d_out]`, `b [G, 1, d_out]` per group.
- layer_norm: over the last axis, biased variance, `y = gain * (x - mean) / sqrt(var + eps) + shift`.
- batch_norm_eval: `y = gain * (x - mean) / sqrt(var + eps) + shift` with stored moments.
- batch_norm_train: the same with mean and biased variance of the rows with mask 1; outputs also the stored moments after it.
- causal_conv: `y[t] = b + sum_j x[t - (k-1-j) * dilation] W[j]`, `W [k, d_in, d_out]`, positions before the start are zero. Tap k-1 is the current position.
- centred_conv: `y[t] = b + sum_j x[t + (j - (k-1)/2) * dilation] W[j]`, positions outside are zero ("same" padding).
- nextitnet_block: `z1 = relu(LN1(conv_d(x)))`, `z2 = relu(LN2(conv_2d(z1)))`, `y = x + z2`; with `causal` false, of centred convolutions.
- attention: `concat_h(softmax(q k^T / sqrt(d/h)) v) Wo + bo`; causal, and keys with mask 0 are not attended to.
- mean_pooling: mean of `table[ids]` over the entries with mask 1, zero for a row without any.
- activations: relu, gelu (erf), gelu_tanh, sigmoid, tanh, softplus.
"""

import math

import torch
import torch.nn.functional as F

import golden_file
from golden_file import KINKS, Source, layer_case

ABOUT = "Layers: y, and gradients of sum(y * cotangent). Formulas in reference/layers.py."


def layer_norm(x, gain, shift, eps):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred * centred).mean(-1, keepdim=True)
    return gain * centred / torch.sqrt(variance + eps) + shift


def causal_conv(x, weight, bias, dilation):
    """`x [B, L, d_in]`, `weight [k, d_in, d_out]`."""
    taps, length = weight.shape[0], x.shape[1]
    y = bias.expand(x.shape[0], length, -1)
    for tap in range(taps):
        lag = (taps - 1 - tap) * dilation
        late = torch.cat([torch.zeros_like(x[:, :min(lag, length)]), x[:, : max(length - lag, 0)]], 1)
        y = y + late @ weight[tap]
    return y


def centred_conv(x, weight, bias, dilation):
    """`x [B, L, d_in]`, `weight [k, d_in, d_out]`, k odd."""
    taps, length = weight.shape[0], x.shape[1]
    reach = (taps - 1) // 2 * dilation
    padded = F.pad(x, (0, 0, reach, reach))
    y = bias.expand(x.shape[0], length, -1)
    for tap in range(taps):
        y = y + padded[:, tap * dilation : tap * dilation + length] @ weight[tap]
    return y


def nextitnet_block(v, dilation, eps, patch1=lambda conv, x: conv, patch2=lambda conv, x: conv, conv=causal_conv):
    """`patch*(convolution output, its input)` is what a patch makes of the convolution's output, before the norm."""
    conv1 = patch1(conv(v["x"], v["conv1.weight"], v["conv1.bias"], dilation), v["x"])
    z1 = KINKS.relu(layer_norm(conv1, v["norm1.gain"], v["norm1.shift"], eps))
    conv2 = patch2(conv(z1, v["conv2.weight"], v["conv2.bias"], 2 * dilation), z1)
    z2 = KINKS.relu(layer_norm(conv2, v["norm2.gain"], v["norm2.shift"], eps))
    return v["x"] + z2


def block_parameters(source, width, taps=3):
    """Parameters of one residual block."""
    parameters = {}
    for half in ("1", "2"):
        parameters[f"conv{half}.weight"] = source.normal(taps, width, width, scale=0.3)
        parameters[f"conv{half}.bias"] = source.normal(width, scale=0.3)
        parameters[f"norm{half}.gain"] = source.normal(width, scale=0.3, shift=1.0)
        parameters[f"norm{half}.shift"] = source.normal(width, scale=0.3)
    return parameters


def attention(v, heads, mask):
    batch, length, width = v["x"].shape

    def split(x):
        return x.view(batch, length, heads, width // heads).transpose(1, 2)

    q, k, w = (split(v["x"] @ v[f"{p}.weight"] + v[f"{p}.bias"]) for p in ("query", "key", "value"))
    scores = q @ k.transpose(-1, -2) / math.sqrt(width // heads)
    seen = torch.ones(length, length, dtype=torch.bool).tril() & mask.bool()[:, None, None, :]
    mixed = torch.softmax(scores.masked_fill(~seen, -math.inf), -1) @ w
    return mixed.transpose(1, 2).reshape(batch, length, width) @ v["output.weight"] + v["output.bias"]


def mean_pooling(table, ids, mask):
    kept = mask.to(table.dtype)
    return (table[ids] * kept[..., None]).sum(-2) / kept.sum(-1, keepdim=True).clamp(min=1.0)


def close(a, b):
    assert torch.allclose(a, b, rtol=1e-12, atol=1e-12), "formula and library disagree"


def linear_cases(source):
    inputs = {"x": source.normal(2, 3, 4)}
    shared = {"weight": source.normal(4, 5), "bias": source.normal(5)}
    groups = {"weight": source.normal(2, 4, 5), "bias": source.normal(2, 1, 5)}
    close(inputs["x"] @ shared["weight"] + shared["bias"], F.linear(inputs["x"], shared["weight"].T, shared["bias"]))
    for name, parameters in (("linear", shared), ("linear_per_group", groups)):
        yield layer_case(name, {}, inputs, parameters, lambda v: v["x"] @ v["weight"] + v["bias"], source)


def norm_cases(source):
    for eps in (1e-5, 1e-8):
        inputs = {"x": source.normal(2, 3, 6)}
        parameters = {"gain": source.normal(6, scale=0.3, shift=1.0), "shift": source.normal(6)}
        close(layer_norm(inputs["x"], *parameters.values(), eps), F.layer_norm(inputs["x"], (6,), *parameters.values(), eps))
        yield layer_case(f"layer_norm_eps_{eps:.0e}", {"eps": eps}, inputs, parameters, lambda v: layer_norm(v["x"], v["gain"], v["shift"], eps), source)
    eps = 1e-5
    inputs = {"x": source.normal(2, 3, 4), "mean": source.normal(4), "variance": source.positive(4)}
    parameters = {"gain": source.normal(4, scale=0.3, shift=1.0), "shift": source.normal(4)}

    def forward(v):
        return v["gain"] * (v["x"] - v["mean"]) / torch.sqrt(v["variance"] + eps) + v["shift"]

    flat = F.batch_norm(inputs["x"].reshape(6, 4), inputs["mean"], inputs["variance"], *parameters.values(), False, 0.1, eps)
    close(forward(inputs | parameters).reshape(6, 4), flat)
    yield layer_case("batch_norm_eval", {"eps": eps}, inputs, parameters, forward, source)


def batch_norm_training_cases(source):
    """Moments of the batch's real rows, and the running ones after it (momentum 0.1, unbiased variance)."""
    eps, momentum = 1e-5, 0.1
    for name, mask in (("batch_norm_train", torch.ones(2, 4)), ("batch_norm_train_masked", torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]))):
        mask = mask.double()
        inputs = {"x": source.normal(2, 4, 3), "mean": source.normal(3), "variance": source.positive(3)}
        parameters = {"gain": source.normal(3, scale=0.3, shift=1.0), "shift": source.normal(3)}
        weight = mask[..., None]
        n = float(mask.sum())

        def moments(x):
            mean = (x * weight).sum((0, 1)) / n
            return mean, ((x - mean) ** 2 * weight).sum((0, 1)) / n

        def forward(v):
            mean, variance = moments(v["x"])
            return v["gain"] * (v["x"] - mean) / torch.sqrt(variance + eps) + v["shift"]

        real = mask.bool()
        running = [inputs["mean"].clone(), inputs["variance"].clone()]
        library = F.batch_norm(inputs["x"][real], *running, *parameters.values(), True, momentum, eps)
        close(forward(inputs | parameters)[real], library)
        seen = moments(inputs["x"])
        expected = [(1 - momentum) * inputs["mean"] + momentum * seen[0], (1 - momentum) * inputs["variance"] + momentum * seen[1] * n / (n - 1)]
        for own, other in zip(expected, running):
            close(own, other)
        case = layer_case(name, {"eps": eps, "momentum": momentum}, inputs, parameters, forward, source)
        case["inputs"]["mask"] = golden_file.tensor(mask)
        case["outputs"] |= {"mean": golden_file.tensor(expected[0]), "variance": golden_file.tensor(expected[1])}
        yield case


def conv_cases(source):
    for dilation in (1, 2, 4):
        inputs = {"x": source.normal(2, 7, 3)}
        parameters = {"weight": source.normal(3, 3, 4, scale=0.5), "bias": source.normal(4)}
        padded = F.pad(inputs["x"].transpose(1, 2), (2 * dilation, 0))
        library = F.conv1d(padded, parameters["weight"].permute(2, 1, 0), parameters["bias"], dilation=dilation)
        close(causal_conv(inputs["x"], *parameters.values(), dilation), library.transpose(1, 2))
        config = {"kernel": 3, "dilation": dilation}
        yield layer_case(f"causal_conv_dilation_{dilation}", config, inputs, parameters, lambda v: causal_conv(v["x"], v["weight"], v["bias"], dilation), source)


def centred_conv_cases(source):
    for dilation in (1, 2, 4):
        inputs = {"x": source.normal(2, 7, 3)}
        parameters = {"weight": source.normal(3, 3, 4, scale=0.5), "bias": source.normal(4)}
        library = F.conv1d(inputs["x"].transpose(1, 2), parameters["weight"].permute(2, 1, 0), parameters["bias"], padding="same", dilation=dilation)
        close(centred_conv(inputs["x"], *parameters.values(), dilation), library.transpose(1, 2))
        config = {"kernel": 3, "dilation": dilation, "causal": False}
        yield layer_case(f"centred_conv_dilation_{dilation}", config, inputs, parameters, lambda v: centred_conv(v["x"], v["weight"], v["bias"], dilation), source)


def centred_block_cases(source):
    for dilation, eps in ((1, 1e-8), (4, 1e-8)):
        config = {"kernel": 3, "dilations": [dilation, 2 * dilation], "eps": eps, "causal": False}
        inputs, parameters = {"x": source.normal(2, 9, 4)}, block_parameters(source, 4)
        yield layer_case(f"nextitnet_block_centred_dilation_{dilation}", config, inputs, parameters, lambda v: nextitnet_block(v, dilation, eps, conv=centred_conv), source)


def block_cases(source):
    for dilation, eps in ((1, 1e-8), (4, 1e-8)):
        config = {"kernel": 3, "dilations": [dilation, 2 * dilation], "eps": eps}
        inputs, parameters = {"x": source.normal(2, 9, 4)}, block_parameters(source, 4)
        yield layer_case(f"nextitnet_block_dilation_{dilation}", config, inputs, parameters, lambda v: nextitnet_block(v, dilation, eps), source)


def attention_cases(source):
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    inputs = {"x": source.normal(2, 5, 4)}
    parameters = {}
    for part in ("query", "key", "value", "output"):
        parameters |= {f"{part}.weight": source.normal(4, 4, scale=0.5), f"{part}.bias": source.normal(4, scale=0.5)}
    case = layer_case("attention_causal", {"heads": 2, "causal": True}, inputs, parameters, lambda v: attention(v, 2, mask), source)
    case["inputs"]["mask"] = golden_file.tensor(mask)
    yield case


def pooling_cases(source):
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    ids = source.integers(6, 4, 4) * mask
    parameters = {"table": source.normal(6, 3)}
    case = layer_case("mean_pooling", {"empty_row": 0.0}, {}, parameters, lambda v: mean_pooling(v["table"], ids, mask), source)
    case["inputs"] |= golden_file.tensors({"ids": ids, "mask": mask})
    yield case


def activation_cases(source):
    functions = {
        "relu": KINKS.relu,
        "gelu": lambda x: 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0))),
        "gelu_tanh": lambda x: 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softplus": F.softplus,
    }
    x = source.normal(3, 5, scale=2.0) + 1.0 / 512.0
    close(functions["gelu"](x), F.gelu(x))
    close(functions["gelu_tanh"](x), F.gelu(x, approximate="tanh"))
    for name, function in functions.items():
        yield layer_case(f"activation_{name}", {}, {"x": x}, {}, lambda v: function(v["x"]), source)


def build():
    source = Source(1)
    makers = (linear_cases, norm_cases, conv_cases, block_cases, attention_cases, pooling_cases, activation_cases, batch_norm_training_cases, centred_conv_cases, centred_block_cases)
    return [case for maker in makers for case in maker(source)]


if __name__ == "__main__":
    golden_file.run("layers", ABOUT, build)
