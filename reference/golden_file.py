"""Golden files: seeded inputs, the JSON layout, and a finite-difference check of every gradient that is written.

A file is `{"name", "about", "cases": [case, ...]}`; a case is `{"name", "config", <section>: {<tensor name>: tensor}, ...}` with the sections
`inputs`, `parameters`, `outputs`, `gradients` (those that apply). A tensor is `{"shape": [...], "data": [...]}`, flat and row-major; reals are f64
in shortest round-trip form, integers and masks are plain integers.

Inputs and parameters are multiples of 1/256, so that an f32 program reads exactly the numbers this f64 program used.
"""

import json
from pathlib import Path

import torch

FOLDER = Path(__file__).parent / "golden"
MAX_BYTES = 200_000
KINK_MARGIN = 1e-4


class Source:
    """Seeded tensors on a grid of 1/256."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, scale=1.0, shift=0.0):
        """Normal values of standard deviation `scale` around `shift`, rounded to the grid."""
        values = torch.randn(*shape, generator=self.generator, dtype=torch.float64) * scale + shift
        return torch.round(values * 256.0) / 256.0

    def positive(self, *shape):
        """Values in [1/4, 5/4)."""
        values = torch.rand(*shape, generator=self.generator, dtype=torch.float64) + 0.25
        return torch.floor(values * 256.0) / 256.0

    def integers(self, high, *shape):
        """Integers in 0..high."""
        return torch.randint(high, shape, generator=self.generator)


class Kinks:
    """ReLU that remembers how near to 0 its inputs came: nearer than `KINK_MARGIN`, an f32 program could land on the other side."""

    def __init__(self):
        self.nearest = float("inf")

    def relu(self, x):
        self.nearest = min([self.nearest, *x.detach().abs().reshape(-1).tolist()])
        return torch.relu(x)

    def safe(self):
        """Whether no input since the last call came too near; starts again."""
        nearest, self.nearest = self.nearest, float("inf")
        return nearest > KINK_MARGIN


KINKS = Kinks()


def tensor(value):
    """JSON form of a tensor."""
    value = torch.as_tensor(value).detach()
    if value.is_floating_point():
        data = [float(v) for v in value.double().reshape(-1)]
    else:
        data = [int(v) for v in value.reshape(-1)]
    return {"shape": list(value.shape), "data": data}


def tensors(values):
    """JSON form of a dictionary of tensors."""
    return {name: tensor(value) for name, value in values.items()}


def leaves(values):
    """Copies that record gradients; integer tensors pass through."""
    return {n: v.clone().requires_grad_(True) if v.is_floating_point() else v for n, v in values.items()}


def gradients(scalar, values):
    """Gradient of `scalar` with respect to every real tensor of `values`; zero where it does not depend on it."""
    real = {n: v for n, v in values.items() if v.is_floating_point()}
    found = torch.autograd.grad(scalar, list(real.values()), allow_unused=True)
    return {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(real.items(), found)}


def check_gradients(function, values, expected, seed=0, step=1e-6, tolerance=1e-7):
    """Compares `expected` with central differences of `function(values)` along one random direction per tensor."""
    generator = torch.Generator().manual_seed(seed)
    for name, gradient in expected.items():
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)

        def shifted(sign):
            moved = {n: v.detach() for n, v in values.items()}
            moved[name] = moved[name] + sign * step * direction
            return function(moved).item()

        difference = (shifted(1.0) - shifted(-1.0)) / (2.0 * step)
        product = float((gradient * direction).sum())
        error = abs(difference - product) / (1.0 + abs(product))
        assert error < tolerance, f"gradient of {name}: {product} by autodiff, {difference} by central difference"


def layer_case(name, config, inputs, parameters, forward, source):
    """A case whose loss is `sum(output * cotangent)` with a fixed random cotangent."""
    with torch.no_grad():
        shape = forward(inputs | parameters).shape
    cotangent = source.normal(*shape)

    def loss(values):
        return (forward(values) * cotangent).sum()

    values = leaves(inputs | parameters)
    KINKS.safe()
    output = forward(values)
    assert KINKS.safe(), f"{name}: an activation is too near to its kink, choose another seed"
    found = gradients((output * cotangent).sum(), values)
    check_gradients(loss, values, found)
    return {
        "name": name,
        "config": config,
        "inputs": tensors(inputs | {"cotangent": cotangent}),
        "parameters": tensors(parameters),
        "outputs": tensors({"y": output}),
        "gradients": tensors(found),
    }


def write(name, about, cases):
    """Writes `golden/<name>.json`, one case a line."""
    lines = ",\n".join(json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases)
    head = json.dumps({"name": name, "about": about})[:-1]
    text = f'{head}, "cases": [\n{lines}\n]}}\n'
    assert len(text) <= MAX_BYTES, f"{name}.json has {len(text)} bytes, more than {MAX_BYTES}"
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(text)
    print(f"{name}.json: {len(cases)} cases, {len(text)} bytes")


def run(name, about, build):
    """Entry point of every program."""
    torch.set_num_threads(1)
    write(name, about, build())
