"""The peer of `cargo xtask bench serve`: the network of a base behind FastAPI, uvicorn and ONNX Runtime.

    python bench/serve/fastapi_peer.py MODEL.safetensors LAYOUT.json --workers 2 --threads 1

The network is written as an ONNX graph (`dnn_onnx.py`). What favours this side: rows come as codes and numbers, so that no text is looked up and no feature of earlier rows is made here; what the
rows of a request share comes once and meets the first layer once; the body goes past FastAPI's own checks, through orjson into arrays; uvloop and httptools are used where they are installed.
Prints `ready http://127.0.0.1:PORT` once for each worker.
"""

import argparse
import os
import pathlib
import socket
from contextlib import asynccontextmanager

import numpy as np
import onnxruntime
import orjson
import uvicorn
from dnn_onnx import write
from fastapi import FastAPI, Request, Response

ENVIRONMENT = "ACCLIMATE_BENCH_PEER"


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin would take the cores that the client needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def app():
    """The application of one worker; its settings come in the environment, as workers are processes."""
    given = orjson.loads(os.environ[ENVIRONMENT])
    network = session(given["model"], given["threads"])
    inputs = [(i.name, np.float32 if i.type == "tensor(float)" else np.int64, [d if isinstance(d, int) else -1 for d in i.shape]) for i in network.get_inputs()]

    @asynccontextmanager
    async def lifespan(_):
        print(f"ready http://127.0.0.1:{given['port']}", flush=True)
        yield

    application = FastAPI(lifespan=lifespan, openapi_url=None)

    @application.post("/score")
    async def score(request: Request):
        body = orjson.loads(await request.body())
        values = {name: np.array(body[name], kind).reshape(shape) for name, kind, shape in inputs}
        return Response(orjson.dumps({"scores": network.run(None, values)[0]}, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    return application


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="values of a base, as `pretrain` writes them")
    parser.add_argument("layout", type=pathlib.Path, help="which features the rows of a request share, and how long lists are")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime in each worker")
    arguments = parser.parse_args()
    graph = arguments.layout.with_suffix(".onnx")
    write(arguments.model, arguments.layout, graph)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ[ENVIRONMENT] = orjson.dumps({"model": str(graph), "threads": arguments.threads, "port": port}).decode()
    workers = arguments.workers
    uvicorn.run("fastapi_peer:app", factory=True, host="127.0.0.1", port=port, workers=workers, log_level="warning", access_log=False, timeout_keep_alive=600)


if __name__ == "__main__":
    main()
