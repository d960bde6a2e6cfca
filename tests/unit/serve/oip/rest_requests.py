"""A server of the tiny bundle, requests to it, and what must come back."""

import base64
import contextlib
import json

import numpy as np
from starlette.testclient import TestClient

from oodtune.bundle import open_bundle
from oodtune.preprocess import decode_image
from oodtune.serve import ServeSettings
from oodtune.serve.app import create_app
from oodtune.serve.parts import create_parts
from oodtune.serve.served_model import ServedModel
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle

INFER = "/v2/models/model/infer"
OUTPUTS = ("logits", "probabilities", "energy", "domain_distances", "ood_score")
HEADER = "Inference-Header-Content-Length"
IMAGES = random_images(2)
FILES = [encode(image) for image in random_images(3, seed=1)]


@contextlib.contextmanager
def serving(load=True, **changed):
    """Yield a client of a server that serves the tiny bundle as version 7, or loads for ever."""
    parts = create_parts(ServeSettings(workers=1, **changed))
    if load:
        parts.served.replace(ServedModel("model", "7", open_bundle(tiny_bundle()), 4, 0.001))
    with TestClient(create_app(parts), raise_server_exceptions=False) as client:
        client.parts = parts
        client.headers.pop("accept-encoding")
        yield client


def expected(pixels) -> dict[str, np.ndarray]:
    bundle = open_bundle(tiny_bundle())
    outputs = bundle.run(pixels)
    score = bundle.domains.score(outputs.domain_distances.min(axis=1))
    return {**outputs._asdict(), "ood_score": score}


def pixels_of_files(files) -> np.ndarray:
    return np.stack([np.asarray(decode_image(file)) for file in files])  # they have the model's size


def images_input(pixels=IMAGES, **changed):
    data = pixels.ravel().tolist()
    return {"name": "images", "datatype": "UINT8", "shape": list(pixels.shape), "data": data, **changed}


def encoded_input(files=FILES, **changed):
    data = [base64.b64encode(file).decode() for file in files]
    return {"name": "encoded", "datatype": "BYTES", "shape": [len(files)], "data": data, **changed}


def binary_body(request, *blobs: bytes):
    head = json.dumps(request).encode()
    return {"content": b"".join([head, *blobs]), "headers": {HEADER: str(len(head))}}


def binary_images(pixels=IMAGES, **changed):
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(pixels.shape), **changed}
    return {"parameters": {"binary_data_size": pixels.size}, **tensor}


def check(answer, wanted) -> None:
    """The JSON answer's tensors are exactly those of `wanted`."""
    assert answer.status_code == 200, answer.text
    tensors = {one["name"]: one for one in answer.json()["outputs"]}
    assert list(tensors) == list(OUTPUTS)
    for name, values in wanted.items():
        assert tensors[name]["datatype"] == "FP32"
        assert tensors[name]["shape"] == list(values.shape)
        assert np.array_equal(np.array(tensors[name]["data"], np.float32), values.ravel())


def refuse(answer, text: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


def read_binary(answer):
    """Return the JSON and the bytes of every binary output of an answer."""
    size = int(answer.headers[HEADER])
    head, blob, found = json.loads(answer.content[:size]), answer.content[size:], {}
    for one in head["outputs"]:
        if "binary_data_size" in one.get("parameters", {}):
            length = one["parameters"]["binary_data_size"]
            found[one["name"]], blob = blob[:length], blob[length:]
    assert blob == b""
    return head, found
