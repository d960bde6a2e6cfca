"""The same requests to a real Triton (from the wheel nvidia-pytriton) and to this server: what both must agree on."""

import gzip
import hashlib
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from oodtune.bundle import open_bundle
from tests.unit.tiny_bundle import CLASSES, DOMAINS, SIZE, random_images, tiny_bundle

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.xdist_group("triton"), pytest.mark.timeout(900)]

PACKAGES = ["nvidia-pytriton==0.7.0"]
"""Triton 2.51. It pins numpy < 2: with another, its backend hands over the first byte of a tensor in place of all."""
INFER = "/v2/models/model/infer"
HEADER = "Inference-Header-Content-Length"
IMAGES = random_images(2)
SERVER = """
import sys
from pathlib import Path
from oodtune.config import ServeConfig
from oodtune.serve import read_settings, run_server
run_server(Path(sys.argv[1]), read_settings(ServeConfig(port=0), {"workers": 1}, environ={}))
"""
# The reference need not run the network: it answers what the bundle says of each image.
MODEL = """
import hashlib, pathlib
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.table = dict(np.load(pathlib.Path(__file__).with_name("table.npz")))

    def execute(self, requests):
        return [self.answer(one) for one in requests]

    def answer(self, request):
        images = pb.get_input_tensor_by_name(request, "images").as_numpy()
        keys = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        rows = {name: np.stack([self.table[name + key] for key in keys]) for name in ("logits", "domain_distances")}
        return pb.InferenceResponse([pb.Tensor(name, rows[name]) for name in request.requested_output_names()])
"""
CONFIG = f"""
name: "model"
backend: "python"
max_batch_size: 8
input [{{ name: "images" data_type: TYPE_UINT8 dims: [ {SIZE}, {SIZE}, 3 ] }}]
output [
  {{ name: "logits" data_type: TYPE_FP32 dims: [ {len(CLASSES)} ] label_filename: "labels.txt" }},
  {{ name: "domain_distances" data_type: TYPE_FP32 dims: [ {len(DOMAINS)} ] }}
]
"""


@pytest.fixture(scope="module")
def ours() -> Iterator[httpx.Client]:
    command = [sys.executable, "-u", "-c", SERVER, str(tiny_bundle())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://\S+", process.stdout.readline())[0]
            with httpx.Client(base_url=address, timeout=30) as client:
                yield client
        finally:
            process.kill()


@pytest.fixture(scope="module")
def triton(tmp_path_factory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("triton")
    installed = install(root) / "pytriton/tritonserver"
    write_repository(root / "models", installed)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (program := installed / "bin/tritonserver").chmod(stat.S_IRWXU)
    command = [program, f"--model-repository={root / 'models'}", f"--backend-directory={installed / 'backends'}"]
    command += [f"--http-port={port}", "--http-address=127.0.0.1", "--allow-grpc=false", "--allow-metrics=false"]
    environment = {**os.environ, "PATH": f"{root / 'venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    environment["PYTHONPATH"] = str(installed.parents[1])
    with (root / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                wait_until_ready(client, process, root / "log")
                yield client
        finally:
            process.kill()


def install(root: Path) -> Path:
    """Return the site-packages of a new environment that has Triton."""
    venv.create(root / "venv", with_pip=True)
    python = root / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return root / f"venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def write_repository(repository: Path, installed: Path) -> None:
    version = repository / "model/1"
    version.mkdir(parents=True)
    (repository / "model/config.pbtxt").write_text(CONFIG)
    (repository / "model/labels.txt").write_text("\n".join(CLASSES))
    (version / "model.py").write_text(MODEL)
    outputs, table = open_bundle(tiny_bundle()).run(IMAGES), {}
    for place, image in enumerate(IMAGES):
        key = hashlib.sha256(image.tobytes()).hexdigest()
        table |= {f"logits{key}": outputs.logits[place], f"domain_distances{key}": outputs.domain_distances[place]}
    np.savez(version / "table.npz", **table)
    stub = installed / f"python_backend_stubs/3.{sys.version_info.minor}/triton_python_backend_stub"
    (target := installed / "backends/python/triton_python_backend_stub").write_bytes(stub.read_bytes())
    target.chmod(stat.S_IRWXU)


def wait_until_ready(client: httpx.Client, process: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            if client.get("/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(log.read_text())


def in_json(**changed) -> dict:
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(IMAGES.shape), "data": IMAGES.ravel().tolist()}
    outputs = [{"name": "logits"}, {"name": "domain_distances"}]
    request = {"id": "7", "inputs": [{**tensor, **changed.pop("tensor", {})}], "outputs": outputs, **changed}
    return {"content": json.dumps(request).encode()}


def in_binary(blob: bytes = IMAGES.tobytes(), size: int = IMAGES.size, length: str | None = None, **changed) -> dict:
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(IMAGES.shape)}
    tensor |= {"parameters": {"binary_data_size": size}, **changed.pop("tensor", {})}
    outputs = [{"name": "logits"}, {"name": "domain_distances"}]
    head = json.dumps({"inputs": [tensor], "outputs": outputs, **changed}).encode()
    return {"content": head + blob, "headers": {HEADER: length or str(len(head))}}


BINARY_OUT = [
    {"name": name, "parameters": {"binary_data": name == "domain_distances"}} for name in ("logits", "domain_distances")
]
# Of outputs that are named, Triton ignores what is said of all; the protocol does not.
ALL_BINARY = {"parameters": {"binary_data_output": True}, "outputs": []}
CLASSIFIED = [{"name": "logits", "parameters": {"classification": 2}}]
REQUESTS: dict[str, tuple[str, str, dict]] = {
    "live": ("GET", "/v2/health/live", {}),
    "ready": ("GET", "/v2/health/ready", {}),
    "server": ("GET", "/v2", {}),
    "model": ("GET", "/v2/models/model", {}),
    "model ready": ("GET", "/v2/models/model/ready", {}),
    "json": ("POST", INFER, in_json()),
    "json, nested": ("POST", INFER, in_json(tensor={"data": IMAGES.tolist()})),
    "json, binary out": ("POST", INFER, in_json(**ALL_BINARY)),
    "json, mixed out": ("POST", INFER, in_json(outputs=BINARY_OUT)),
    "json, gzip": (
        "POST",
        INFER,
        {"content": gzip.compress(in_json()["content"]), "headers": {"content-encoding": "gzip"}},
    ),
    "binary": ("POST", INFER, in_binary()),
    "binary, binary out": ("POST", INFER, in_binary(**ALL_BINARY)),
    "binary, out overridden": ("POST", INFER, in_binary(parameters={"binary_data_output": True}, outputs=BINARY_OUT)),
    "classified": ("POST", INFER, in_binary(outputs=CLASSIFIED)),
    "no such model": ("POST", "/v2/models/other/infer", in_json()),
    "no such metadata": ("GET", "/v2/models/other", {}),
    "no json": ("POST", INFER, {"content": b"{"}),
    "no inputs": ("POST", INFER, in_json(inputs=[])),
    "wrong name": ("POST", INFER, in_json(tensor={"name": "pixels"})),
    "wrong datatype": ("POST", INFER, in_binary(tensor={"datatype": "FP32"})),
    "wrong rank": ("POST", INFER, in_binary(tensor={"shape": [2, SIZE, SIZE * 3]})),
    "wrong shape": ("POST", INFER, in_binary(tensor={"shape": [2, SIZE, 3, SIZE]})),
    "negative shape": ("POST", INFER, in_binary(tensor={"shape": [-1, SIZE, SIZE, 3]})),
    "too few bytes": ("POST", INFER, in_binary(blob=IMAGES.tobytes()[:-1])),
    "too many bytes": ("POST", INFER, in_binary(blob=IMAGES.tobytes() + b"x")),
    "wrong size": ("POST", INFER, in_binary(size=IMAGES.size - 1)),
    "wrong header length": ("POST", INFER, in_binary(length="99999999")),
    "unknown output": ("POST", INFER, in_json(outputs=[{"name": "softmax"}])),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_both_answer_alike(ours, triton, case):
    method, path, request = REQUESTS[case]
    mine, theirs = (client.request(method, path, **request) for client in (ours, triton))
    assert mine.is_success == theirs.is_success, (mine.text, theirs.text)
    if not theirs.is_success:
        assert 400 <= mine.status_code < 500  # Triton blames itself for some of the caller's mistakes
        assert list(mine.json()) == ["error"]
        assert list(theirs.json()) == ["error"]
    elif method == "POST":
        (mine, my_tensors), (theirs, their_tensors) = read_answer(mine), read_answer(theirs)
        assert mine == theirs
        assert {name: my_tensors[name] for name in their_tensors} == their_tensors  # we have more outputs
    elif theirs.content:
        assert set(theirs.json()) <= set(mine.json())


def read_answer(answer: httpx.Response) -> tuple[dict, dict]:
    """Return what an answer says, and of tensors: datatype, shape, whether it came in binary, content."""
    size = int(answer.headers.get(HEADER, len(answer.content)))
    head, blob, tensors = json.loads(answer.content[:size]), answer.content[size:], {}
    for one in head["outputs"]:
        length = one.get("parameters", {}).get("binary_data_size", 0)
        data, blob = blob[:length], blob[length:]
        values = one.get("data")
        if one["datatype"] == "FP32":
            values = data if length else np.array(values, np.float32).tobytes()
        else:  # "score:place:label", whose scores Triton rounds to six digits
            values = [(round(float(text.split(":")[0]), 4), *text.split(":")[1:]) for text in values]
        tensors[one["name"]] = (one["datatype"], one["shape"], bool(length), values)
    return {"id": head.get("id"), "model_name": head["model_name"], "rest": blob}, tensors
