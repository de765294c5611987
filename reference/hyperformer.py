"""HyperFormer on a tower and on self-attention: one network writes the branches of all layers and gain and shift of the norms; forward and gradients of `sum(y * cotangent)`.

    z = LN(relu([e_D; e_l; e_p] V1 + c1) V2 + c2),   e_D = common + embedding[D]
    after a linear:  y + GELU(y W1 + b1) W2 + b2,    W1 = (z A1 + a1) as [d, m], b1 = z A2 + a2, W2 = (z A3 + a3) as [m, d], b2 = z A4 + a4
    at a norm:       gain + z A5 + a5,  shift + z A6 + a6

e_l is the vector of the layer, `tower.0` or `block.1`, e_p that of the site in it (`linear`, `norm`, `attention.output`, ...). Maps are shared by sites of one width: `branch.<d>.*`, `norm.<d>.*`.
Layers and positions are numbered in the order in which linear sites, then norms, come. Parameters have the product's names.

- tower, norm "none" or "after"; group g is of `domain[g]`, 2 the one that the base does not know.
- norms_kept: norms stand in the tower and are not written.
- identity: A3, a3, A4, a4 (and A5 to a6) are 0, so y is that of the plain tower.
- sequence: branches after the output map of each attention and the second of each feed-forward part.

The published program has a norm of its own behind each branch, with written gain and shift. Here these are added to those of the network's norms.
Karimi Mahabadi et al., "Parameter-efficient Multi-task Fine-tuning for Transformers via Shared Hypernetworks", ACL 2021.
"""

import torch
import torch.nn.functional as F

import golden_file
import sasrec
from adapter import EPS
from golden_file import KINKS, Source, layer_case
from layers import layer_norm

ABOUT = "HyperFormer: y, and gradients of sum(y * cotangent). Formulas in reference/hyperformer.py."
E, H, P, M, DOMAINS = 3, 5, 4, 2, 3
KEYS = f"embedding = {E}\nhidden = {H}\nprojected = {P}\nbottleneck = {M}"


class Sites:
    """Layer and position of each site, numbered as they come."""

    def __init__(self, sites):
        self.layers = list(dict.fromkeys(layer for layer, _ in sites))
        self.positions = list(dict.fromkeys(position for _, position in sites))

    def state(self, v, site, domain):
        """z of a site, `[G, 1, P]`."""
        e_domain = v["domain.common"] + v["domain.embedding"][domain]
        vectors = [e_domain] + [
            v[table].reshape(-1, E)[row].expand(len(domain), 1, E)
            for table, row in (("layer.embedding", self.layers.index(site[0])), ("position.embedding", self.positions.index(site[1])))
        ]
        h = KINKS.relu(torch.cat(vectors, -1) @ v["network.0.weight"] + v["network.0.bias"])
        z = h @ v["network.1.weight"] + v["network.1.bias"]
        return layer_norm(z, v["network.norm.gain"], v["network.norm.shift"], EPS)


def mapped(v, name, z):
    return z @ v[f"{name}.weight"] + v[f"{name}.bias"]


def branched(v, z, y):
    d = y.shape[-1]
    w1 = mapped(v, f"branch.{d}.w1", z).reshape(-1, d, M)
    w2 = mapped(v, f"branch.{d}.w2", z).reshape(-1, M, d)
    return y + F.gelu(y @ w1 + mapped(v, f"branch.{d}.b1", z)) @ w2 + mapped(v, f"branch.{d}.b2", z)


def own_parameters(source, sites, branch_widths, norm_widths, identity=False):
    found = {
        "domain.common": source.normal(1, E),
        "domain.embedding": source.normal(DOMAINS, 1, E),
        "layer.embedding": source.normal(len(sites.layers), E),
        "position.embedding": source.normal(len(sites.positions), E),
        "network.0.weight": source.normal(3 * E, H, scale=0.5),
        "network.0.bias": source.normal(H, scale=0.5, shift=0.3),
        "network.1.weight": source.normal(H, P),
        "network.1.bias": source.normal(P, scale=0.5),
        "network.norm.gain": source.normal(P, scale=0.3, shift=1.0),
        "network.norm.shift": source.normal(P, scale=0.3),
    }
    end = 0.0 if identity else 0.3

    def add(name, width, scale):
        found.update({f"{name}.weight": source.normal(P, width, scale=scale), f"{name}.bias": source.normal(width, scale=scale)})

    for d in branch_widths:
        for name, width, scale in (("w1", d * M, 0.4), ("b1", M, 0.4), ("w2", M * d, end), ("b2", d, end)):
            add(f"branch.{d}.{name}", width, scale)
    for d in norm_widths:
        for name in ("gain", "shift"):
            add(f"norm.{d}.{name}", d, end)
    return found


def tower_case(source, name, norm, written=True, identity=False):
    widths, domain = [4, 5, 3], torch.tensor([2, 0])
    layers = range(len(widths) - 1)
    listed = [(f"tower.{i}", "linear") for i in layers] + [(f"tower.{i}", "norm") for i in layers if norm and written]
    sites = Sites(listed)
    parameters = own_parameters(source, sites, widths[1:], widths[1:] if norm and written else [], identity)
    for i, (d_in, d_out) in enumerate(zip(widths, widths[1:])):
        parameters |= {f"tower.{i}.linear.weight": source.normal(d_in, d_out, scale=0.7), f"tower.{i}.linear.bias": source.normal(d_out, scale=0.3)}
        if norm:
            parameters |= {f"tower.{i}.norm.gain": source.normal(d_out, scale=0.3, shift=1.0), f"tower.{i}.norm.shift": source.normal(d_out, scale=0.3)}
    parameters |= {"head.weight": source.normal(widths[-1], 1), "head.bias": source.normal(1)}

    def forward(v, plain=False):
        h = v["x"]
        for i in layers:
            y = h @ v[f"tower.{i}.linear.weight"] + v[f"tower.{i}.linear.bias"]
            if not plain:
                y = branched(v, sites.state(v, (f"tower.{i}", "linear"), domain), y)
            if norm:
                gain, shift, d = v[f"tower.{i}.norm.gain"], v[f"tower.{i}.norm.shift"], widths[i + 1]
                if written and not plain:
                    z = sites.state(v, (f"tower.{i}", "norm"), domain)
                    gain, shift = gain + mapped(v, f"norm.{d}.gain", z), shift + mapped(v, f"norm.{d}.shift", z)
                y = layer_norm(y, gain, shift, EPS)
            h = KINKS.relu(y)
        return h @ v["head.weight"] + v["head.bias"]

    inputs = {"x": source.normal(2, 3, widths[0])}
    if identity:
        assert torch.equal(forward(inputs | parameters), forward(inputs | parameters, plain=True)), "maps of 0 must leave the tower as it is"
    config = {"widths": widths, "norm": "after" if norm else "none", "eps": EPS, "tower_keys": f"{KEYS}\nnorms = {str(written).lower()}", "domains": DOMAINS}
    case = layer_case(name, config, inputs, parameters, forward, source)
    case["inputs"]["domain"] = golden_file.tensor(domain)
    return case


def sequence_case(source):
    listed = [(f"block.{i}", part) for i in range(2) for part in ("attention.output", "feed_forward.out")]
    sites, domain = Sites(listed), [2, 0]

    class Branches(sasrec.Plain):
        def linear(self, v, site, x):
            y = super().linear(v, site, x)
            block, number, part = site.split(".", 2)
            layer = f"{block}.{number}"
            return branched(v, sites.state(v, (layer, part), torch.tensor(domain)), y) if (layer, part) in listed else y

    def own(source):
        return own_parameters(source, sites, [sasrec.WIDTH], [])

    return sasrec.case(source, "sasrec", sasrec.PADDED, own, Branches(), f"{KEYS}\nnorms = false", domain=domain)


def build():
    source = Source(61)
    return [
        tower_case(source, "tower", False),
        tower_case(source, "tower_norms", True),
        tower_case(source, "tower_norms_kept", True, written=False),
        tower_case(source, "identity", True, identity=True),
        sequence_case(source),
    ]


if __name__ == "__main__":
    golden_file.run("hyperformer", ABOUT, build)
