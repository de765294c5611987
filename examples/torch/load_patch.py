"""Scores rows with a published low-rank patch by PEFT, and compares with what `acclimate predict` wrote.

    python examples/torch/load_patch.py registry/bases/shop/v000001 registry/patches/north/v000001 scores.csv users.csv items.csv

Each row of `scores.csv` names its user, item and domain; features of users and items are looked up in tables whose first column is their id. Features have the name of their
column; lists are separated by `|`. Needs torch, peft and safetensors.
"""

import csv
import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from twin import Twin


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class Encoder:
    """`encoder.json`: value -> code in each vocabulary; 0 is the unknown."""

    def __init__(self, folder, tables):
        encoder = json.loads((Path(folder) / "encoder.json").read_text())
        self.codes = [{value: at + 1 for at, value in enumerate(v["values"])} for v in encoder["vocabularies"]]
        self.domains = {f["name"] for f in encoder["features"] if f["reading"]["kind"] == "domain"}
        self.tables = [(next(iter(rows[0])), {next(iter(row.values())): row for row in rows}) for rows in map(read, tables)]

    def value(self, row, name):
        if name in self.domains:
            return row.get("domain", "all")
        for key, table in self.tables:
            if name != key and row[key] in table and name in table[row[key]]:
                return table[row[key]][name]
        return row[name]

    def encode(self, twin, rows):
        """Codes [N, fields], and for each list its codes and offsets."""
        code = lambda feature, value: self.codes[feature["vocabulary"]].get(value, 0)
        codes = [[code(f, self.value(row, f["name"])) for f in twin.fields] for row in rows]
        lists = []
        for feature in twin.bags:
            values, offsets = [], []
            for row in rows:
                offsets.append(len(values))
                # What no vocabulary knows is left out of a list.
                values += [c for c in (code(feature, v) for v in self.value(row, feature["name"]).split("|")) if c]
            lists.append((torch.tensor(values, dtype=torch.long), torch.tensor(offsets, dtype=torch.long)))
        return torch.tensor(codes, dtype=torch.long), lists, torch.zeros(len(rows), 0)


def main(base, patch, scores, *tables):
    rows, twin = read(scores), Twin(base)
    if twin.numbers:
        raise SystemExit("this example reads no numeric features")
    inputs = Encoder(base, tables).encode(twin, rows)
    with torch.no_grad():
        of_base = twin.predict(twin(*inputs))
        model = PeftModel.from_pretrained(twin, patch).eval()
        of_patch = twin.predict(model(*inputs))
    name = next(column for column in reversed(rows[0]))
    far = lambda column, found: max(abs(float(row[column]) - x) for row, x in zip(rows, found.tolist()))
    print(json.dumps({"rows": len(rows), "base": far("base", of_base), "patch": far(name, of_patch), "moved": (of_patch - of_base).abs().max().item()}))
    return model


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
