"""PeterRec patches in a residual block: forward and gradients of `sum(y * cotangent)`.

    Z1 = relu(LN1(Conv_d(H))),  Z2 = relu(LN2(Conv_2d(Z1))),  H' = H + Z2,     B(x) = GELU(x w1 + b1) w2 + b2

- s2: LN1(y1 + B1(y1)), LN2(y2 + B2(y2)), y the convolutions' outputs; s1: the second alone.
- p2: LN1(y1 + B1(H)), LN2(y2 + B2(Z1)), with the inner skip LN(y + x + B(x)).
- p1: H' = H + Z2 + B(H), with the inner skip H' = H + Z2 + H + B(H).
- With several branches B is the sum of as many, each of its share of the width; the inner skip is there once.
- With a token a row of the task is added to the block's input at certain positions: the last of each sequence (causal), or those of mask tokens (centred).

Yuan et al., "Parameter-Efficient Transfer from Sequential Behaviors for User Modeling and Recommendation", SIGIR 2020. Parameters of patches have the product's names.
"""

import torch

import golden_file
from adapter import GELU
from golden_file import Source, layer_case
from layers import block_parameters, causal_conv, centred_conv, nextitnet_block

ABOUT = "PeterRec patches of a residual block: y, and gradients of sum(y * cotangent). Formulas in reference/peterrec.py."
WIDTH, BOTTLENECK, DILATION, EPS, LENGTH = 4, 2, 2, 1e-8, 7
# Behind the codes of three items: padding, and two of a vocabulary.
MASK = 3


def patch_parameters(source, site, branches):
    parameters = {}
    for path in branch_paths(site, branches):
        parameters |= {
            f"{path}.w1": source.normal(WIDTH, BOTTLENECK // branches, scale=0.5),
            f"{path}.b1": source.normal(BOTTLENECK // branches, scale=0.5),
            f"{path}.w2": source.normal(BOTTLENECK // branches, WIDTH, scale=0.5),
            f"{path}.b2": source.normal(WIDTH, scale=0.5),
        }
    return parameters


def branch_paths(site, branches):
    return [site] if branches == 1 else [f"{site}.branch.{i}" for i in range(branches)]


def patch(v, site, x, gelu, branches):
    return sum(GELU[gelu](x @ v[f"{p}.w1"] + v[f"{p}.b1"]) @ v[f"{p}.w2"] + v[f"{p}.b2"] for p in branch_paths(site, branches))


def case(source, insertion, gelu, skip, branches=1, token=None):
    """`token` is None, "causal" or "centred": the network, with a row of the task at its asked positions."""
    sites = {"s2": ["block.0.conv_a", "block.0.conv_b"], "s1": ["block.0.conv_b"], "p2": ["block.0.conv_a", "block.0.conv_b"], "p1": ["block.0"]}[insertion]
    parameters = block_parameters(source, WIDTH)
    for site in sites:
        parameters |= patch_parameters(source, site, branches)
    places, codes = torch.zeros(2, LENGTH, 1, dtype=torch.float64), torch.ones(2, LENGTH, dtype=torch.int64)
    if token == "causal":
        places[:, -1] = 1.0
    if token == "centred":
        for row, position in ((0, 2), (0, 5), (1, 6)):
            places[row, position], codes[row, position] = 1.0, MASK
    if token:
        parameters["input.token"] = source.normal(WIDTH, scale=0.5)
    conv = centred_conv if token == "centred" else causal_conv

    def forward(v):
        def at(site):
            if site not in sites:
                return lambda y, x: y
            return {"s": lambda y, x: y + patch(v, site, y, gelu, branches), "p": lambda y, x: y + skip * x + patch(v, site, x, gelu, branches)}[insertion[0]]

        v = v | {"x": v["x"] + places * v["input.token"]} if token else v
        h = nextitnet_block(v, DILATION, EPS, at("block.0.conv_a"), at("block.0.conv_b"), conv)
        return at("block.0")(h, v["x"])

    keys = f"insertion = '{insertion}'\nbottleneck = {BOTTLENECK}\ngelu = '{'exact' if gelu == 'gelu' else 'tanh'}'\ninner_skip = {'true' if skip else 'false'}"
    config = {"block_keys": keys, "kernel": 3, "dilations": [DILATION, 2 * DILATION], "eps": EPS}
    name = f"{insertion}_{gelu}" + ("_skip" if skip else "")
    if branches > 1:
        config["block_keys"], name = keys + f"\ncardinality = {branches}", f"{name}_cardinality_{branches}"
    if token:
        config["block_keys"], name = config["block_keys"] + "\ntoken = true", f"{name}_token_{token}"
        config |= {"causal": token == "causal", "codes": codes.reshape(-1).tolist()}
    return layer_case(name, config, {"x": source.normal(2, LENGTH, WIDTH)}, parameters, forward, source)


def build():
    source = Source(16)
    choices = [("s2", "gelu_tanh", 0), ("s1", "gelu_tanh", 0), ("p2", "gelu_tanh", 0), ("p1", "gelu_tanh", 0), ("p2", "gelu", 1), ("p1", "gelu", 1)]
    choices += [("s2", "gelu_tanh", 0, 2), ("p2", "gelu", 1, 2), ("s2", "gelu_tanh", 0, 1, "causal"), ("p1", "gelu_tanh", 0, 1, "centred")]
    return [case(source, *choice) for choice in choices]


if __name__ == "__main__":
    golden_file.run("peterrec", ABOUT, build)
