"""A gRPC server in a process of its own, for tests, and calls of it with any bytes."""

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from oodtune.serve.oip import protocol

Request = protocol.message("inference.ModelInferRequest")
MODEL, VERSION = "model", "7"
PROGRAM = f"""
import asyncio, json, signal, sys
from pathlib import Path
import uvloop
from oodtune.config import ServeConfig
from oodtune.serve import read_settings
from oodtune.serve.parts import create_parts
from oodtune.serve.loading import load_model
from oodtune.serve.oip.grpc_server import start_grpc

async def main():
    settings = read_settings(ServeConfig(grpc_port=0), {{"workers": 2, **json.loads(sys.argv[2])}}, {{}})
    parts = create_parts(settings)
    parts.engine.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await start_grpc(parts)
    if sys.argv[1]:
        parts.served.replace(load_model(Path(sys.argv[1]), {VERSION!r}, settings))
    print(server.port, flush=True)
    await stop.wait()
    parts.health.draining = True
    await server.stop(20)
    await asyncio.to_thread(parts.engine.close)
    print(parts.metrics.render().decode())

uvloop.run(main())
"""


@contextmanager
def running_grpc(bundle: Path | None, **settings: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the process and its address; it prints its metrics when it ends. Without a bundle it is not ready."""
    command = [sys.executable, "-u", "-c", PROGRAM, str(bundle or ""), json.dumps(settings)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.strip().isdecimal(), line + process.stderr.read()
        yield process, f"localhost:{line.strip()}"
    finally:
        process.kill()
        process.communicate()


def call(channel, method: str, raw: bytes = b"", service: str = protocol.INFERENCE, **options) -> bytes:
    return channel.unary_unary(f"/{service}/{method}")(raw, timeout=20, **options)


def refusal(channel, raw: bytes, method: str = "ModelInfer", **options) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(channel, method, raw, **options)
    found = error.value.code(), error.value.details()
    error.value.__traceback__ = None
    del error
    gc.collect(1)  # a call that failed stays in a cycle with its channel; it is young: the whole heap takes 0.5 s
    return found


def pixels_request(images, raw: bool = True, **fields):
    shape = fields.pop("shape", images.shape)
    tensor = {"name": "images", "datatype": "UINT8", "shape": shape}
    if raw:
        fields.setdefault("raw_input_contents", [images.tobytes()])
    else:
        tensor["contents"] = {"uint_contents": images.ravel().tolist()}
    return Request(**{"model_name": MODEL, "inputs": [tensor], **fields})
