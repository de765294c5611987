"""Several patches on one tower: forward and gradients of `sum(y * cotangent)`.

    h_{i+1} = relu(A((l_i * h_i) (W_i + (alpha / r) A_i B_i) + b_i))        factors, low-rank addition, then a serial bottleneck A; the head has the factor alone

Formulas of the parts in lora.py, ia3.py and adapter.py.
"""

import golden_file
from adapter import branch, tower_parameters
from golden_file import Source, layer_case
from ia3 import ia3, ia3_parameters
from lora import WIDTHS, lora, lora_parameters, tower

ABOUT = "Several patches as one: y, and gradients of sum(y * cotangent). Formulas in reference/stack.py."


def build():
    source, rank, bottleneck = Source(15), 2, 2
    parameters = tower_parameters(source, WIDTHS, False) | lora_parameters(source, "lora.", rank) | ia3_parameters(source, "ia3.")
    for i, d in enumerate(WIDTHS[1:]):
        site = f"adapter.tower.{i}.linear"
        parameters |= {f"{site}.w1": source.normal(d, bottleneck, scale=0.5), f"{site}.b1": source.normal(bottleneck, scale=0.5)}
        parameters |= {f"{site}.w2": source.normal(bottleneck, d, scale=0.5), f"{site}.b2": source.normal(d, scale=0.5)}

    def forward(v):
        inner = ia3(v, "ia3.", lora(v, "lora.", 3.0 / rank))

        def linear(i, x, weight, bias):
            y = inner(i, x, weight, bias)
            return y if i is None else y + branch(y, v, f"adapter.tower.{i}.linear", "gelu")

        return tower(v, linear)

    keys = "methods = [{ name = 'ia3' }, { name = 'adapter', bottleneck = 2 }, { name = 'lora', rank = 2, alpha = 3.0 }]"
    return [layer_case("three", {"keys": keys, "norm": "none", "widths": WIDTHS}, {"x": source.normal(2, 3, 4)}, parameters, forward, source)]


if __name__ == "__main__":
    golden_file.run("stack", ABOUT, build)
