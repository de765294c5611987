"""Networks with a tower a domain: forward and gradients of `sum(y * cotangent)`.

    shared_bottom:  s_d = tower_d(bottom(x0))
    per_domain:     s_d = tower_d(x0)
    mmoe:           s_d = tower_d(sum_e softmax(x0 W_d + b_d)_e f_e(x0))
    ple, a level:   x_d' = mix of the own experts of x_d and the shared ones of x_s by the gate of x_d; x_s' = mix of all experts by the gate of x_s, but for the last level

A row of domain d < D has s_d, one of any other domain the mean of all s_d. Every row is computed by itself here.
Caruana, "Multitask Learning", 1997; Ma et al., "MMoE", KDD 2018; Tang et al., "PLE", RecSys 2020.
"""

import torch

import golden_file
from golden_file import Source
from networks import case, hidden, inputs, layer_parameters, linear, linear_parameters, row, scores, tables, width

ABOUT = "Networks with a tower a domain: y, and gradients of sum(y * cotangent). Formulas in reference/multi_domain.py."
DOMAINS = ["a", "b"]
#: The third is one that the network does not know.
OF_ROWS = [1, 0, 2, 1, 1, 0]


def mix(v, gate, x, experts):
    weights = torch.softmax(linear(v, gate, x), 1)
    return sum(weights[:, e : e + 1] * state for e, state in enumerate(experts))


def domain_case(name, source, backbone, parameters, states, tower):
    """`states(v, x)` gives what the tower of each domain reads."""

    def forward(v):
        of_rows = []
        for i, domain in enumerate(OF_ROWS):
            alone = {n: p[i : i + 1] if n in of_inputs else p for n, p in v.items()}
            x = row(alone)
            s = [linear(v, f"head.{d}", hidden(v, f"tower.{d}", state)) for d, state in enumerate(states(v, x))]
            of_rows.append(s[domain] if domain < len(DOMAINS) else sum(s) / len(DOMAINS))
        return scores(torch.cat(of_rows))

    values = inputs(source)
    of_inputs = set(values)
    parameters = tables(source) | parameters
    made = case(name, {"kind": name, "tower": tower, **backbone}, source, parameters, forward, values, DOMAINS)
    if name == "per_domain":
        made["config"]["backbone"]["hidden"] = made["config"]["backbone"].pop("tower")
    made["inputs"]["domain"] = golden_file.tensor(torch.tensor(OF_ROWS))
    return made


def towers(source, d_in, widths):
    parameters = {}
    for d in range(len(DOMAINS)):
        parameters |= layer_parameters(source, f"tower.{d}", d_in, widths) | linear_parameters(source, f"head.{d}", widths[-1], 1)
    return parameters


def shared_bottom(source):
    parameters = layer_parameters(source, "bottom", width(), [4]) | towers(source, 4, [3])
    states = lambda v, x: [hidden(v, "bottom", x)] * len(DOMAINS)
    return domain_case("shared_bottom", source, {"bottom": [4]}, parameters, states, [3])


def per_domain(source):
    return domain_case("per_domain", source, {}, towers(source, width(), [4, 3]), lambda v, x: [x] * len(DOMAINS), [4, 3])


def mmoe(source):
    parameters = towers(source, 4, [3])
    for e in range(3):
        parameters |= layer_parameters(source, f"expert.{e}", width(), [4])
    for d in range(len(DOMAINS)):
        parameters |= linear_parameters(source, f"gate.{d}", width(), 3)

    def states(v, x):
        experts = [hidden(v, f"expert.{e}", x) for e in range(3)]
        return [mix(v, f"gate.{d}", x, experts) for d in range(len(DOMAINS))]

    return domain_case("mmoe", source, {"experts": 3, "expert": [4]}, parameters, states, [3])


def ple(source, levels, specific, shared):
    parameters, d_in = towers(source, 3, [3]), width()
    for level in range(levels):
        for d in range(len(DOMAINS)):
            for e in range(specific):
                parameters |= layer_parameters(source, f"level.{level}.domain.{d}.{e}", d_in, [3])
            parameters |= linear_parameters(source, f"level.{level}.gate.{d}", d_in, specific + shared)
        for e in range(shared):
            parameters |= layer_parameters(source, f"level.{level}.shared.{e}", d_in, [3])
        if level + 1 < levels:
            parameters |= linear_parameters(source, f"level.{level}.gate.shared", d_in, specific * len(DOMAINS) + shared)
        d_in = 3

    def states(v, x):
        of_domains, of_all = [x] * len(DOMAINS), x
        for level in range(levels):
            own = [[hidden(v, f"level.{level}.domain.{d}.{e}", of_domains[d]) for e in range(specific)] for d in range(len(DOMAINS))]
            common = [hidden(v, f"level.{level}.shared.{e}", of_all) for e in range(shared)]
            of_domains = [mix(v, f"level.{level}.gate.{d}", of_domains[d], own[d] + common) for d in range(len(DOMAINS))]
            if level + 1 < levels:
                of_all = mix(v, f"level.{level}.gate.shared", of_all, [*own[0], *own[1], *common])
        return of_domains

    return domain_case("ple", source, {"levels": levels, "specific": specific, "shared": shared, "expert": [3]}, parameters, states, [3])


def build():
    source = Source(37)
    return [shared_bottom(source), per_domain(source), mmoe(source), ple(source, 1, 1, 2), ple(source, 2, 2, 1)]


if __name__ == "__main__":
    golden_file.run("multi_domain", ABOUT, build)
