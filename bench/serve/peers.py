"""Scores the same rows with the same weights in turn: `acclimate-plan`, ONNX Runtime, OpenVINO, PyTorch eager and compiled; one thread each.

A tower 160-256-128-64-1 over ten fields of width 16: six of the user (100,000 rows each), four of the candidate (200, 2,000 and twice 100,000 rows).
`plain` peers read ten codes a row; `split` peers multiply the user's part once for each request, as the plan does. Each system runs once unmeasured
and once measured before the next one's turn, so that a busy machine slows all of them alike; what is printed are ratios of medians.

    cargo build --release -p acclimate-plan --example speed
    pip install numpy onnx onnxruntime openvino torch
    python bench/serve/peers.py target/release/examples/speed --rounds 200

Times of the peers include what their Python interface costs a call; ours are taken in our own process, which is asked over a pipe.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np

TABLES = [100_000] * 6 + [200, 2_000, 100_000, 100_000]
TOWER, D, USER, CANDIDATES, REQUESTS = [160, 256, 128, 64, 1], 16, 6, 200, 64


def draw():
    """Tables, `(weight [in, out], bias)` of each layer, and codes `[REQUESTS * CANDIDATES, 10]` of which six are the same in a request."""
    rng = np.random.default_rng(1)
    tables = [rng.uniform(-1, 1, (rows, D)).astype(np.float32) for rows in TABLES]
    layers = []
    for d_in, d_out in zip(TOWER, TOWER[1:]):
        weight = rng.uniform(-1, 1, (d_in, d_out)) * (3 / d_in) ** 0.5
        layers.append((weight.astype(np.float32), rng.uniform(-0.1, 0.1, d_out).astype(np.float32)))
    codes = np.stack([rng.integers(0, rows, REQUESTS * CANDIDATES) for rows in TABLES], 1).reshape(REQUESTS, CANDIDATES, len(TABLES))
    codes[:, :, :USER] = codes[:, :1, :USER]
    return tables, layers, codes.astype(np.int64)


class Ours:
    """The plan, in a process of its own."""

    def __init__(self, program, tables, layers, codes, isa):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            values = [*tables, *[value for layer in layers for value in layer]]
            (folder / "weights.f32").write_bytes(b"".join(value.astype("<f4").tobytes() for value in values))
            (folder / "codes.u32").write_bytes(codes.astype("<u4").tobytes())
            self.process = subprocess.Popen([program, "--answer", folder, isa], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert self.process.stdout.readline().strip() == "ready"

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def scores(self):
        return np.array([float(score) for score in self.ask("scores").split()], np.float32)

    def seconds(self, requests):
        return float(self.ask("one" if requests == 1 else "many"))


class Peer:
    """Anything that is called with the codes of requests."""

    def __init__(self, make, split, codes):
        self.calls, self.given = {}, {}
        for requests in (1, REQUESTS):
            some = codes[:requests]
            given = (some[:, 0, :USER], some[:, :, USER:]) if split else (some.reshape(-1, len(TABLES)),)
            self.given[requests] = tuple(np.ascontiguousarray(value) for value in given)
            self.calls[requests] = make(self.given[requests])

    def scores(self):
        return np.asarray(self.calls[REQUESTS](*self.given[REQUESTS])).reshape(-1)

    def seconds(self, requests):
        call, given = self.calls[requests], self.given[requests]
        call(*given)
        start = time.perf_counter()
        call(*given)
        return time.perf_counter() - start


def torch_of(tables, layers, split, compiled):
    import torch

    torch.set_num_threads(1)
    tables = [torch.from_numpy(table) for table in tables]
    layers = [(torch.from_numpy(weight), torch.from_numpy(bias)) for weight, bias in layers]

    def tower(z):
        for weight, bias in layers[1:]:
            z = torch.addmm(bias, torch.relu(z), weight)
        return z

    def gather(tables, codes):
        return torch.cat([table[codes[..., f]] for f, table in enumerate(tables)], -1)

    def plain(codes):
        return tower(torch.addmm(layers[0][1], gather(tables, codes), layers[0][0]))

    def parted(user, own):
        weight, bias = layers[0]
        shared = torch.addmm(bias, gather(tables[:USER], user), weight[: USER * D])
        z = (gather(tables[USER:], own) @ weight[USER * D :]) + shared[:, None]
        return tower(z.reshape(-1, TOWER[1]))

    def make(given):
        forward = parted if split else plain
        if compiled:
            torch._dynamo.reset()
            forward = torch.compile(forward, dynamic=False)
        ready = [torch.from_numpy(value) for value in given]

        def call(*_):
            with torch.inference_mode():
                return forward(*ready).numpy()

        call()
        return call

    return make


def onnx_of(tables, layers, split, given):
    from onnx import TensorProto, helper, numpy_helper

    held, nodes = [], []

    def constant(name, value):
        held.append(numpy_helper.from_array(value, name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def gather(codes, fields, axis):
        parts = []
        for i, field in enumerate(fields):
            column = node("Gather", [codes, constant(f"column{field}", np.array(i, np.int64))], f"code{field}", axis=axis)
            parts.append(node("Gather", [constant(f"table{field}", tables[field]), column], f"row{field}", axis=0))
        return node("Concat", parts, f"x_{codes}", axis=axis)

    weight, bias = layers[0]
    names = ["user", "own"] if split else ["codes"]
    if split:
        user = gather("user", range(USER), 1)
        shared = node("Gemm", [user, constant("w_user", weight[: USER * D]), constant("b0", bias)], "z_user")
        shared = node("Unsqueeze", [shared, constant("axis", np.array([1], np.int64))], "z_user3")
        own = node("MatMul", [gather("own", range(USER, len(tables)), 2), constant("w_own", weight[USER * D :])], "z_own")
        z = node("Reshape", [node("Add", [own, shared], "z0"), constant("shape", np.array([-1, TOWER[1]], np.int64))], "z0_flat")
    else:
        z = node("Gemm", [gather("codes", range(len(tables)), 1), constant("w0", weight), constant("b0", bias)], "z0")
    for l, (weight, bias) in enumerate(layers[1:], 1):
        z = node("Gemm", [node("Relu", [z], f"x{l}"), constant(f"w{l}", weight), constant(f"b{l}", bias)], f"z{l}")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, value.shape) for name, value in zip(names, given)]
    outputs = [helper.make_tensor_value_info(z, TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "tower", inputs, outputs, held)
    return names, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def onnxruntime_of(tables, layers, split):
    import onnxruntime

    def make(given):
        names, model = onnx_of(tables, layers, split, given)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        ready = dict(zip(names, given))
        return lambda *_: session.run(None, ready)[0]

    return make


def openvino_of(tables, layers, split):
    import openvino

    def make(given):
        _, model = onnx_of(tables, layers, split, given)
        core = openvino.Core()
        hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(core.read_model(model, b""), "CPU", hints).create_infer_request()
        return lambda *_: request.infer(list(given), share_inputs=True, share_outputs=True)[0]

    return make


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built example `speed`")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--isa", default="", help="avx512, avx2 or scalar; default the best")
    arguments = parser.parse_args()
    tables, layers, codes = draw()
    systems = {"ours": Ours(arguments.program, tables, layers, codes, arguments.isa)}
    expected = systems["ours"].scores()
    makers = {
        "onnxruntime": onnxruntime_of,
        "openvino": openvino_of,
        "torch_eager": lambda *of: torch_of(*of, compiled=False),
        "torch_compiled": lambda *of: torch_of(*of, compiled=True),
    }
    for name, maker in makers.items():
        for split in (False, True):
            variant = f"{name}_{'split' if split else 'plain'}"
            try:
                peer = Peer(maker(tables, layers, split), split, codes)
            except Exception as problem:  # A peer that is not installed, or has no compiler, is left out and named.
                print(json.dumps({"system": variant, "left_out": f"{type(problem).__name__}: {problem}"[:200]}), flush=True)
                continue
            difference = np.abs(peer.scores() - expected) / np.maximum(1, np.abs(expected))
            assert difference.max() <= 1e-5, f"{variant} says something else: {difference.max()}"
            systems[variant] = peer
    times = {(name, requests): [] for name in systems for requests in (1, REQUESTS)}
    for _ in range(arguments.rounds):
        for requests in (1, REQUESTS):
            for name, system in systems.items():
                times[name, requests].append(system.seconds(requests))
    for name in systems:
        line = {"system": name}
        for requests in (1, REQUESTS):
            own, other = (statistics.median(times[which, requests]) for which in ("ours", name))
            line |= {f"ms_{requests}x{CANDIDATES}": round(1e3 * other, 4), f"ratio_{requests}x{CANDIDATES}": round(other / own, 2)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
