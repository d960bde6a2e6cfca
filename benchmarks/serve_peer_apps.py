"""The same model behind other servers. A program for their own environments: it imports nothing of this project.

    python serve_peer_apps.py NAME MODEL PORT WORKERS

All get one thread of ONNX Runtime per worker, no spinning, and the JPEG as they can take it.
"""

import base64
import json
import sys
from typing import Any

import numpy as np


class Predictor:
    """What every peer calls."""

    def __init__(self, model: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def predict(self, jpegs: list[bytes]) -> list[list[float]]:
        """Return the probabilities (N, K) of N images of the model's size."""
        import simplejpeg

        images = np.stack([simplejpeg.decode_jpeg(jpeg, "RGB") for jpeg in jpegs])  # (N, S, S, 3)
        probabilities: list[list[float]] = self._session.run(["probabilities"], {"images": images})[0].tolist()
        return probabilities


def run_fastapi(model: str, port: int, workers: int) -> None:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool

    predictor, app = Predictor(model), FastAPI()

    async def predict(request: Request) -> dict[str, list[float]]:
        body = await request.body()
        return {"probabilities": (await run_in_threadpool(predictor.predict, [body]))[0]}

    app.post("/predict")(predict)
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def run_litserve(model: str, port: int, workers: int) -> None:
    import litserve
    from serve_peer_litserve import Api

    server = litserve.LitServer(Api(model), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)


def run_mosec(model: str, port: int, workers: int) -> None:
    import os

    import mosec
    from serve_peer_mosec import MODEL, Classify

    os.environ[MODEL] = model  # mosec gives its workers no arguments
    sys.argv = [sys.argv[0], "--port", str(port), "--address", "127.0.0.1", "--log-level", "warning"]
    server = mosec.Server()
    server.append_worker(Classify, num=workers)
    server.run()


def run_kserve(model: str, port: int, workers: int) -> None:
    import kserve

    class Classify(kserve.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("model")
            self.predictor = Predictor(model)
            self.ready = True

        async def predict(self, payload: Any, *_: Any, **__: Any) -> Any:
            import asyncio

            jpegs = [base64.b64decode(one) for one in payload.inputs[0].data]
            found = await asyncio.to_thread(self.predictor.predict, jpegs)
            output = kserve.InferOutput("probabilities", [len(found), len(found[0])], "FP32", np.ravel(found).tolist())
            return kserve.InferResponse(payload.id or "0", "model", [output])

    kserve.ModelServer(http_port=port, enable_grpc=False, access_log_format=None).start([Classify()])


TRITON_CONFIG = """
backend: "python"
max_batch_size: 0
input [{ name: "encoded" data_type: TYPE_STRING dims: [1] }]
output [{ name: "probabilities" data_type: TYPE_FP32 dims: [-1, -1] }]
instance_group [{ kind: KIND_CPU count: %d }]
"""
TRITON_MODEL = """
import sys
sys.path[:0] = %(paths)r
import numpy as np
import triton_python_backend_utils as pb
from serve_peer_apps import Predictor

class TritonPythonModel:
    def initialize(self, args):
        self.predictor = Predictor(%(model)r)

    def execute(self, requests):
        answers = []
        for request in requests:
            jpegs = pb.get_input_tensor_by_name(request, "encoded").as_numpy().tolist()
            found = np.array(self.predictor.predict(jpegs), np.float32)
            answers.append(pb.InferenceResponse([pb.Tensor("probabilities", found)]))
        return answers
"""


def run_triton(model: str, port: int, workers: int) -> None:
    """Replace this process by the `tritonserver` of the wheel nvidia-pytriton, with its Python backend."""
    import os
    import shutil
    import tempfile
    from pathlib import Path

    import pytriton

    wheel = Path(pytriton.__file__).parent
    triton = wheel / "tritonserver"
    repository = Path(tempfile.mkdtemp(prefix="oodtune-triton-"))
    backends = repository / "backends"
    shutil.copytree(triton / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = next(wheel.rglob(f"python_backend_stubs/{version}/triton_python_backend_stub"))
    shutil.copy(stub, backends / "python")
    directory = repository / "models" / "model"
    (directory / "1").mkdir(parents=True)
    (directory / "config.pbtxt").write_text(TRITON_CONFIG % workers)
    paths = [path for path in [str(Path(__file__).parent), *sys.path] if path]
    (directory / "1" / "model.py").write_text(TRITON_MODEL % {"paths": paths, "model": str(Path(model).resolve())})
    libraries = [triton / "external_libs", triton / "lib", wheel.parent / "nvidia_pytriton.libs"]
    os.environ["LD_LIBRARY_PATH"] = ":".join([*map(str, libraries), f"{sys.base_prefix}/lib"])
    command = [
        *(str(triton / "bin" / "tritonserver"), f"--model-repository={directory.parent}"),
        *(f"--backend-directory={backends}", f"--http-port={port}", "--http-address=127.0.0.1"),
        *("--allow-grpc=false", "--allow-metrics=false", "--log-verbose=0"),
    ]
    os.execv(command[0], command)  # noqa: S606  Triton is to be the process that is measured


APPS = {
    "fastapi": run_fastapi,
    "litserve": run_litserve,
    "mosec": run_mosec,
    "kserve": run_kserve,
    "triton": run_triton,
}


def request_of(name: str, jpeg: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return path, headers and body by which the peer of that name takes a JPEG."""
    text = base64.b64encode(jpeg).decode()
    if name == "litserve":
        return "/predict", {"Content-Type": "application/json"}, json.dumps({"image": text}).encode()
    if name == "kserve":
        tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [text]}
        body = json.dumps({"inputs": [tensor]}).encode()
        return "/v2/models/model/infer", {"Content-Type": "application/json"}, body
    if name == "triton":  # its raw form: the only input, without a header of its own
        return "/v2/models/model/infer", {"Inference-Header-Content-Length": "0"}, jpeg
    return {"fastapi": "/predict", "mosec": "/inference"}[name], {"Content-Type": "image/jpeg"}, jpeg


if __name__ == "__main__":
    APPS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
