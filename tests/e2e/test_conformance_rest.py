"""The clients that people use, against a server in a process of its own: what it answers is what the bundle says."""

import base64
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.errors import BadRequestError
from open_inference.openapi.types import InferenceRequest, RequestInput, RequestOutput
from open_inference.openapi.types.tensor_data import TensorData
from tritonclient.utils import InferenceServerException

from oodtune.bundle import open_bundle
from oodtune.preprocess import decode_image, preprocess
from tests.unit.tiny_bundle import CLASSES, SIZE, encode, random_images, tiny_bundle

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("conformance_rest")]

PROGRAM = """
import sys
from pathlib import Path
from oodtune.config import ServeConfig
from oodtune.serve import read_settings, run_server
run_server(Path(sys.argv[1]), read_settings(ServeConfig(port=0), {"workers": 2}, environ={}))
"""
OUTPUTS = ("logits", "probabilities", "energy", "domain_distances", "ood_score")
IMAGES = random_images(3)
FILES = [encode(random_images(1, seed)[0], kind) for seed, kind in enumerate(["PNG", "JPEG", "WEBP"])]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """host:port of the server."""
    command = [sys.executable, "-u", "-c", PROGRAM, str(tiny_bundle())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            match = re.search(r"http://(\S+)", line)
            assert match, line + process.stderr.read()
            yield match[1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(tiny_bundle())


@pytest.fixture
def client(address) -> Iterator[triton.InferenceServerClient]:
    with contextlib.closing(triton.InferenceServerClient(address)) as client:
        yield client


def expected(bundle, pixels) -> dict[str, np.ndarray]:
    outputs = bundle.run(pixels)
    return {**outputs._asdict(), "ood_score": bundle.domains.score(outputs.domain_distances.min(axis=1))}


def pixels_of_files(bundle) -> np.ndarray:
    return np.stack([preprocess(decode_image(file), bundle.preprocess) for file in FILES])


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Bit for bit."""
    return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()


def images_input(binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("images", list(IMAGES.shape), "UINT8")
    tensor.set_data_from_numpy(IMAGES, binary_data=binary)
    return tensor


def encoded_input(binary: bool = True) -> triton.InferInput:
    files = FILES if binary else [base64.b64encode(file) for file in FILES]
    tensor = triton.InferInput("encoded", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, object), binary_data=binary)
    return tensor


def check(result: triton.InferResult, wanted: dict[str, np.ndarray]) -> None:
    assert [one["name"] for one in result.get_response()["outputs"]] == list(wanted)
    for name, values in wanted.items():
        assert same(result.as_numpy(name), values), name


def test_tritonclient_finds_the_server_and_its_model(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("model")
    assert not client.is_model_ready("other")
    (version,) = client.get_model_metadata("model")["versions"]
    assert client.is_model_ready("model", version)
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_config("model")["max_batch_size"] == 0


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "json out"])
def test_tritonclient_gets_pixels_predicted_as_the_bundle_does(client, bundle, binary, binary_out):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in OUTPUTS]
    result = client.infer("model", [images_input(binary)], outputs=outputs, request_id="seven")
    check(result, expected(bundle, IMAGES))
    assert result.get_response()["id"] == "seven"
    check(client.infer("model", [images_input(binary)]), expected(bundle, IMAGES))


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "base64 in json"])
def test_tritonclient_gets_files_predicted_as_the_bundle_does(client, bundle, binary):
    check(client.infer("model", [encoded_input(binary)]), expected(bundle, pixels_of_files(bundle)))


@pytest.mark.parametrize("sent", ["gzip", "deflate", None])
@pytest.mark.parametrize("wanted", ["gzip", "deflate", None])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_tritonclient_may_compress(client, bundle, sent, wanted, binary):
    result = client.infer(
        "model", [images_input(binary)], request_compression_algorithm=sent, response_compression_algorithm=wanted
    )
    check(result, expected(bundle, IMAGES))


def test_tritonclient_may_mix_binary_and_json_outputs(client, bundle):
    wanted = {name: values for name, values in expected(bundle, IMAGES).items() if name != "logits"}
    outputs = [triton.InferRequestedOutput(name, binary_data=place % 2 == 0) for place, name in enumerate(wanted)]
    check(client.infer("model", [images_input()], outputs=outputs), wanted)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_tritonclient_gets_the_best_classes_by_name(client, bundle, binary):
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)]
    found = client.infer("model", [images_input()], outputs=outputs).as_numpy("probabilities")
    assert found.shape == (3, 2)
    for row, texts in zip(expected(bundle, IMAGES)["probabilities"], found, strict=True):
        for text, (label, probability) in zip(texts, bundle.rank(row, 2), strict=True):
            score, place, name = (text.decode() if isinstance(text, bytes) else text).split(":")
            assert (np.float32(score), CLASSES[int(place)], name) == (np.float32(probability), label, label)


def test_tritonclient_reads_what_is_wrong(client):
    wrong = triton.InferInput("images", [1, SIZE, SIZE, 3], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, SIZE, SIZE, 3), np.float32))
    with pytest.raises(InferenceServerException, match=r"\[400\].*expected datatype UINT8"):
        client.infer("model", [wrong])
    with pytest.raises(InferenceServerException, match=r"\[404\].*no such model"):
        client.infer("other", [images_input()])
    with pytest.raises(InferenceServerException, match=r"\[404\].*no such version"):
        client.infer("model", [images_input()], model_version="0")
    with pytest.raises(InferenceServerException, match=r"\[400\].*expected outputs among"):
        client.infer("model", [images_input()], outputs=[triton.InferRequestedOutput("softmax")])
    with pytest.raises(InferenceServerException, match=r"\[404\].*Not Found"):
        client.load_model("model")


def test_a_bare_file_is_a_request(address, bundle):
    for file in FILES:
        headers = {"Inference-Header-Content-Length": "0"}
        answer = httpx.post(f"http://{address}/v2/models/model/infer", content=file, headers=headers)
        size = int(answer.headers["inference-header-content-length"])
        result = triton.InferenceServerClient.parse_response_body(answer.content, header_length=size)
        check(result, expected(bundle, preprocess(decode_image(file), bundle.preprocess)[None]))


KSERVE = """
import asyncio, sys
import httpx, kserve, numpy as np
from kserve.inference_client import InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

address, binary, given, found, *names = sys.argv[1:]
images = np.load(given)

async def ask():
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        url = f"http://{address}"
        assert await client.is_server_live(url)
        assert await client.is_server_ready(url)
        assert await client.is_model_ready(url, "model")
        tensor = kserve.InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images, binary_data=binary == "binary")
        outputs = [RequestedOutput(name, {"binary_data": binary == "binary"}) for name in names]
        request = kserve.InferRequest("model", [tensor], request_outputs=outputs)
        try:
            await client.infer(url, request, model_name="other")
        except httpx.HTTPStatusError as error:
            assert "no such model" in str(error), error
        else:
            raise AssertionError("a model that is not there")
        return await client.infer(url, request, model_name="model")

np.savez(found, **{one.name: one.as_numpy() for one in asyncio.run(ask()).outputs})
"""
"""In a process of its own: it brings 2,000 modules, and warns as it is imported."""


@pytest.mark.parametrize("form", ["binary", "json"])
def test_kserve_client_gets_predictions_of_the_bundle(address, bundle, form, tmp_path):
    given, found = tmp_path / "given.npy", tmp_path / "found.npz"
    np.save(given, IMAGES)
    command = [sys.executable, "-c", KSERVE, address, form, str(given), str(found), *OUTPUTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(found) as arrays:
        for name, values in expected(bundle, IMAGES).items():
            assert same(arrays[name], values), name


@pytest.fixture
def open_client(address) -> Iterator[OpenInferenceClient]:
    with httpx.Client(timeout=30) as client:
        yield OpenInferenceClient(base_url=f"http://{address}", httpx_client=client)


def test_open_inference_client_gets_predictions_of_the_bundle(open_client, bundle):
    open_client.check_server_liveness()
    open_client.check_server_readiness()
    open_client.check_model_readiness("model")
    assert open_client.read_server_metadata().name == "oodtune"
    about = open_client.read_model_metadata("model")
    assert [one.name for one in about.outputs] == list(OUTPUTS)
    assert about.properties["digest"] == bundle.digest
    (version,) = about.versions
    open_client.check_model_version_readiness("model", version)
    request = InferenceRequest(
        id="7",
        inputs=[images := request_input("images", IMAGES.shape, "UINT8", IMAGES.tolist())],
        outputs=[RequestOutput(name=name) for name in OUTPUTS],
    )
    for answer in (open_client.model_infer("model", request=request), ask_version(open_client, version, request)):
        assert (answer.id, answer.model_name, answer.model_version) == ("7", "model", version)
        for one in answer.outputs:
            values = np.array(one.data.dict()["__root__"], np.float32).reshape(one.shape)
            assert same(values, expected(bundle, IMAGES)[one.name])
    with pytest.raises(ApiError, match=r"404.*no such model"):
        open_client.model_infer("other", request=request)
    with pytest.raises(BadRequestError) as refused:
        open_client.model_infer("model", request=InferenceRequest(inputs=[images, images]))
    assert "expected one input" in refused.value.body["error"]
    files = [base64.b64encode(file).decode() for file in FILES]
    request = InferenceRequest(inputs=[request_input("encoded", (len(files),), "BYTES", files)])
    assert open_client.model_infer("model", request=request).outputs[0].shape == [len(files), len(CLASSES)]


def request_input(name: str, shape: tuple[int, ...], datatype: str, data: list) -> RequestInput:
    return RequestInput(name=name, shape=list(shape), datatype=datatype, data=TensorData.parse_obj(data))


def ask_version(client: OpenInferenceClient, version: str, request: InferenceRequest) -> SimpleNamespace:
    return client.model_version_infer("model", version, request=request)
