"""A base `dnn` of `acclimate` as an ONNX graph.

`x = [embeddings; mean embedding of each list; numbers]`, `x <- relu(x W + b)` for each layer, `score = sigmoid(x w + b)`. Features that the rows of a request share come once, and their part of the
first layer is computed once: `x W = x_shared W_shared + x_own W_own`.

Inputs, of R = 1 row (`shared_*`) or N rows (`own_*`), each in the order of the base's schema: `*_codes [R, F]`, `*_numbers [R, C]`, and for the list `name` `list_name [R, T]` with `length_name [R]`,
how many of the T are in it.
"""

import json
import struct

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file


def manifest(path):
    """What a file of tensors says of itself."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return json.loads(header["__metadata__"]["acclimate"])["manifest"]


class Graph:
    """Nodes, constants and inputs as they come."""

    def __init__(self):
        self.nodes, self.constants, self.inputs = [], [], []

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def input(self, name, kind, shape):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def node(self, kind, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name


def write(model, layout, out):
    """Writes the graph of the base whose values lie in `model`."""
    spec, tensors, layout = manifest(model), load_file(model), json.loads(layout.read_text())
    backbone, schema = spec["backbone"], spec["schema"]
    plain = {"kind": "dnn", "norm": "none", "input_norm": "none", "interaction": "none", "attention": []}
    other = [key for key, value in plain.items() if backbone.get(key, value) != value]
    if other or spec["objective"] != "logistic":
        raise ValueError(f"only a plain `dnn` of clicks has this graph; the base has another {', '.join(other) or 'objective'}")
    d, without, shared = backbone["embedding"], backbone["without"], set(layout["shared"])
    graph = Graph()

    def table(feature):
        return graph.constant(tensors[f"table.{schema['vocabularies'][feature['vocabulary']]['name']}"])

    def column(codes, at):
        return graph.node("Gather", codes, graph.constant(np.array(at, np.int64)), axis=1)

    def mean(feature, rows):
        longest = layout["lists"][feature["name"]]
        codes = graph.input(f"list_{feature['name']}", TensorProto.INT64, [rows, longest])
        length = graph.input(f"length_{feature['name']}", TensorProto.INT64, [rows])
        length = graph.node("Unsqueeze", length, graph.constant(np.array([1], np.int64)))
        held = graph.node("Less", graph.constant(np.arange(longest, dtype=np.int64)[None]), length)
        count = graph.node("Cast", graph.node("Max", length, graph.constant(np.array([1], np.int64))), to=TensorProto.FLOAT)
        weight = graph.node("Div", graph.node("Cast", held, to=TensorProto.FLOAT), count)
        weight = graph.node("Unsqueeze", weight, graph.constant(np.array([1], np.int64)))
        rows_of_table = graph.node("Gather", table(feature), codes, axis=0)
        return graph.node("Squeeze", graph.node("MatMul", weight, rows_of_table), graph.constant(np.array([1], np.int64)))

    # Columns of the first layer's input and what stands there, apart for what is shared and what is each row's own.
    parts, columns, begin = {True: [], False: []}, {True: [], False: []}, 0

    def put(is_shared, part, width):
        nonlocal begin
        parts[is_shared].append(part)
        columns[is_shared].extend(range(begin, begin + width))
        begin += width

    def side(name):
        return ("shared", 1) if name in shared else ("own", "N")

    counts = {}
    for kind, names in [("codes", [f["name"] for f in schema["categorical"]]), ("numbers", schema["numeric"])]:
        for name in names:
            counts.setdefault((side(name)[0], kind), []).append(name)
    given = {}
    for (of, kind), names in counts.items():
        element = TensorProto.INT64 if kind == "codes" else TensorProto.FLOAT
        given[of, kind] = graph.input(f"{of}_{kind}", element, [1 if of == "shared" else "N", len(names)])
    for feature in (f for f in schema["categorical"] if f["name"] not in without):
        of = side(feature["name"])[0]
        code = column(given[of, "codes"], counts[of, "codes"].index(feature["name"]))
        put(of == "shared", graph.node("Gather", table(feature), code, axis=0), d)
    for feature in (f for f in schema["bags"] if f["name"] not in without):
        of, rows = side(feature["name"])
        put(of == "shared", mean(feature, rows), d)
    for name in (n for n in schema["numeric"] if n not in without):
        of = side(name)[0]
        at = counts[of, "numbers"].index(name)
        number = graph.node("Gather", given[of, "numbers"], graph.constant(np.array([at], np.int64)), axis=1)
        put(of == "shared", number, 1)

    def linear(path):
        return tensors[f"param.{path}.weight"][0], tensors[f"param.{path}.bias"].reshape(-1)

    hidden = len(backbone["hidden"])
    for layer in range(hidden):
        weight, bias = linear(f"tower.{layer}.linear")
        if layer == 0:
            assert weight.shape[0] == begin, f"the first layer reads {weight.shape[0]} numbers, and the features give {begin}"
            z = graph.node("Gemm", graph.node("Concat", *parts[True], axis=1), graph.constant(weight[columns[True]]), graph.constant(bias))
            own = graph.node("MatMul", graph.node("Concat", *parts[False], axis=1), graph.constant(weight[columns[False]]))
            z = graph.node("Add", own, z)
        else:
            z = graph.node("Gemm", z, graph.constant(weight), graph.constant(bias))
        z = graph.node("Relu", z)
    weight, bias = linear("head")
    score = graph.node("Sigmoid", graph.node("Gemm", z, graph.constant(weight), graph.constant(bias)))
    score = graph.node("Squeeze", score, graph.constant(np.array([1], np.int64)))
    output = helper.make_tensor_value_info(score, TensorProto.FLOAT, ["N"])
    whole = helper.make_graph(graph.nodes, "dnn", graph.inputs, [output], graph.constants)
    out.write_bytes(helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())
