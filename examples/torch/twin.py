"""The base `dnn` in PyTorch, from a version in a registry or a folder that `pretrain` wrote.

Module names are acclimate's site paths (`tower.0.linear`, `head`), so that PEFT finds its targets. Shows what a base is: `x = [embeddings; mean embedding of each list;
numbers]`, `x <- relu(x W + b)` for each layer, `score = x w + b`. Bases with norms, products of features or attention are refused.
"""

import json
import struct
from pathlib import Path

import torch
from safetensors.torch import load_file


def manifest(path):
    """What a tensor file says of itself: `acclimate` keeps it in the file's metadata."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return json.loads(header["__metadata__"]["acclimate"])["manifest"]


class Layer(torch.nn.Module):
    def __init__(self, d_in, d_out):
        super().__init__()
        self.linear = torch.nn.Linear(d_in, d_out)


class Twin(torch.nn.Module):
    """The network of a base folder, with its values."""

    def __init__(self, folder):
        super().__init__()
        path = next(p for p in (Path(folder) / name for name in ("model.safetensors", "base.safetensors")) if p.exists())
        spec = manifest(path)
        backbone, self.schema = spec["backbone"], spec["schema"]
        plain = {"kind": "dnn", "norm": "none", "input_norm": "none", "interaction": "none", "attention": []}
        other = [key for key, value in plain.items() if backbone.get(key, value) != value]
        if other:
            raise ValueError(f"this example builds a plain `dnn` only; the base has another {', '.join(other)}")
        self.objective = spec["objective"]
        without = backbone["without"]
        self.fields, self.bags = ([f for f in self.schema[kind] if f["name"] not in without] for kind in ("categorical", "bags"))
        self.numbers = [name for name in self.schema["numeric"] if name not in without]
        self.names = [vocabulary["name"] for vocabulary in self.schema["vocabularies"]]
        tensors, d = load_file(path), backbone["embedding"]
        self.tables = torch.nn.ParameterDict({name: tensors[f"table.{name}"] for name in self.names if f"table.{name}" in tensors})
        width = (len(self.fields) + len(self.bags)) * d + len(self.numbers)
        sizes = [width, *backbone["hidden"]]
        self.tower = torch.nn.ModuleList(Layer(d_in, d_out) for d_in, d_out in zip(sizes, sizes[1:]))
        self.head = torch.nn.Linear(sizes[-1], 1)
        with torch.no_grad():
            for path, linear in [*((f"tower.{i}.linear", layer.linear) for i, layer in enumerate(self.tower)), ("head", self.head)]:
                linear.weight.copy_(tensors[f"param.{path}.weight"][0].T)
                linear.bias.copy_(tensors[f"param.{path}.bias"].flatten())

    def table(self, feature):
        return self.tables[self.names[feature["vocabulary"]]]

    def forward(self, codes, lists, numbers):
        """Scores [N] of codes [N, fields], of lists (codes and offsets, one pair a list) and of numbers [N, numbers]."""
        parts = [self.table(f)[codes[:, i]] for i, f in enumerate(self.fields)]
        parts += [torch.nn.functional.embedding_bag(c, self.table(f), o, mode="mean") for f, (c, o) in zip(self.bags, lists)]
        x = torch.cat([*parts, numbers], dim=1)
        for layer in self.tower:
            x = torch.relu(layer.linear(x))
        return self.head(x)[:, 0]

    def predict(self, scores):
        """What a score says, in the unit of the label."""
        if self.objective != "logistic":
            raise ValueError("this example reads clicks only")
        return torch.sigmoid(scores)
