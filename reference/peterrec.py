"""PeterRec patches in a residual block: forward and gradients of `sum(y * cotangent)`.

    Z1 = relu(LN1(Conv_d(H))),  Z2 = relu(LN2(Conv_2d(Z1))),  H' = H + Z2,     B(x) = GELU(x w1 + b1) w2 + b2

- s2: LN1(y1 + B1(y1)), LN2(y2 + B2(y2)), y the convolutions' outputs; s1: the second alone.
- p2: LN1(y1 + B1(H)), LN2(y2 + B2(Z1)), with the inner skip LN(y + x + B(x)).
- p1: H' = H + Z2 + B(H), with the inner skip H' = H + Z2 + H + B(H).

Yuan et al., "Parameter-Efficient Transfer from Sequential Behaviors for User Modeling and Recommendation", SIGIR 2020. Parameters of patches have the product's names.
"""

import golden_file
from adapter import GELU
from golden_file import Source, layer_case
from layers import block_parameters, nextitnet_block

ABOUT = "PeterRec patches of a residual block: y, and gradients of sum(y * cotangent). Formulas in reference/peterrec.py."
WIDTH, BOTTLENECK, DILATION, EPS = 4, 2, 2, 1e-8


def patch_parameters(source, site):
    return {
        f"{site}.w1": source.normal(WIDTH, BOTTLENECK, scale=0.5),
        f"{site}.b1": source.normal(BOTTLENECK, scale=0.5),
        f"{site}.w2": source.normal(BOTTLENECK, WIDTH, scale=0.5),
        f"{site}.b2": source.normal(WIDTH, scale=0.5),
    }


def patch(v, site, x, gelu):
    return GELU[gelu](x @ v[f"{site}.w1"] + v[f"{site}.b1"]) @ v[f"{site}.w2"] + v[f"{site}.b2"]


def case(source, insertion, gelu, skip):
    sites = {"s2": ["block.0.conv_a", "block.0.conv_b"], "s1": ["block.0.conv_b"], "p2": ["block.0.conv_a", "block.0.conv_b"], "p1": ["block.0"]}[insertion]
    parameters = block_parameters(source, WIDTH)
    for site in sites:
        parameters |= patch_parameters(source, site)

    def forward(v):
        def at(site):
            if site not in sites:
                return lambda y, x: y
            return {"s": lambda y, x: y + patch(v, site, y, gelu), "p": lambda y, x: y + skip * x + patch(v, site, x, gelu)}[insertion[0]]

        h = nextitnet_block(v, DILATION, EPS, at("block.0.conv_a"), at("block.0.conv_b"))
        return at("block.0")(h, v["x"])

    keys = f"insertion = '{insertion}'\nbottleneck = {BOTTLENECK}\ngelu = '{'exact' if gelu == 'gelu' else 'tanh'}'\ninner_skip = {'true' if skip else 'false'}"
    config = {"block_keys": keys, "kernel": 3, "dilations": [DILATION, 2 * DILATION], "eps": EPS}
    name = f"{insertion}_{gelu}" + ("_skip" if skip else "")
    return layer_case(name, config, {"x": source.normal(2, 7, WIDTH)}, parameters, forward, source)


def build():
    source = Source(16)
    choices = [("s2", "gelu_tanh", 0), ("s1", "gelu_tanh", 0), ("p2", "gelu_tanh", 0), ("p1", "gelu_tanh", 0), ("p2", "gelu", 1), ("p1", "gelu", 1)]
    return [case(source, *choice) for choice in choices]


if __name__ == "__main__":
    golden_file.run("peterrec", ABOUT, build)
