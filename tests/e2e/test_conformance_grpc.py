"""Real clients of the Open Inference Protocol against the gRPC server.

Each runs in a process of its own: their packages define the same protobuf messages, and one process takes only one.
"""

import subprocess
import sys

import numpy as np
import pytest

from oodtune.bundle import Outputs, open_bundle
from tests.unit.serve.oip.grpc_process import MODEL, VERSION, running_grpc
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle

pytestmark = pytest.mark.e2e

TRITON = """
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model, version)
metadata = client.get_model_metadata(model)
assert metadata.versions == [version], metadata
assert [one.name for one in metadata.inputs] == ["images", "encoded"]
assert client.get_server_metadata().name == "oodtune"

def infer(name, array, datatype, **options):
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return client.infer(model, [tensor], **options)

answer = infer("images", images, "UINT8", request_id="7", timeout=5_000_000, client_timeout=10)
assert answer.get_response().id == "7"
found = {name: answer.as_numpy(name) for name in names}
assert np.array_equal(infer("encoded", files, "BYTES").as_numpy("logits"), found["logits"])
wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
ranked = infer("images", images, "UINT8", outputs=wanted).as_numpy("probabilities")
for row, probabilities in zip(ranked, found["probabilities"]):
    score, place, label = row[0].decode().split(":")
    assert np.float32(score) == probabilities.max() and int(place) == probabilities.argmax()
for wrong in ({"model_version": "8"}, {"outputs": [triton.InferRequestedOutput("other")]}):
    try:
        infer("images", images, "UINT8", **wrong)
    except InferenceServerException as error:
        assert error.status() in ("StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT"), error
        assert error.message(), error
    else:
        raise AssertionError(wrong)
"""
KSERVE = """
import asyncio
from kserve import InferenceGRPCClient, InferInput, InferRequest

async def main():
    client = InferenceGRPCClient(address, timeout=20)
    assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready(model)
    answers = []
    for raw in (True, False):
        tensor = InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images, binary_data=raw)
        answers.append(await client.infer(InferRequest(model, [tensor], request_id="7")))
    tensor = InferInput("encoded", [len(files)], "BYTES")
    tensor.set_data_from_numpy(files, binary_data=True)
    answers.append(await client.infer(InferRequest(model, [tensor], request_id="7")))
    assert {one.id for one in answers} == {"7"}
    found = [{one.name: one.as_numpy() for one in answer.outputs} for answer in answers]
    for other in found[1:]:
        assert all(np.array_equal(other[name], found[0][name]) for name in names)
    await client.close()
    return found[0]

found = asyncio.run(main())
"""
OPEN_INFERENCE = """
import grpc
from open_inference.grpc import protocol, service
with grpc.insecure_channel(address) as channel:
    stub = service.GRPCInferenceServiceStub(channel)
    assert stub.ServerLive(protocol.ServerLiveRequest()).live
    assert stub.ServerReady(protocol.ServerReadyRequest()).ready
    assert stub.ModelReady(protocol.ModelReadyRequest(name=model, version=version)).ready
    assert stub.ServerMetadata(protocol.ServerMetadataRequest()).name == "oodtune"
    assert len(stub.ModelMetadata(protocol.ModelMetadataRequest(name=model)).outputs) == 5
    Input = protocol.ModelInferRequest.InferInputTensor
    contents = protocol.InferTensorContents(uint_contents=images.ravel().tolist())
    tensor = Input(name="images", datatype="UINT8", shape=images.shape, contents=contents)
    answer = stub.ModelInfer(protocol.ModelInferRequest(model_name=model, id="7", inputs=[tensor]))
assert answer.id == "7"
pairs = zip(answer.outputs, answer.raw_output_contents)
found = {one.name: np.frombuffer(raw, "<f4").reshape(one.shape) for one, raw in pairs}
"""
HEAD = """
import sys
import numpy as np
address, model, version, given, out, *names = sys.argv[1:]
images, files = (np.load(given, allow_pickle=True)[name] for name in ("images", "files"))
"""
TAIL = """
np.savez(out, **{name: found[name] for name in names})
"""


@pytest.fixture(scope="module")
def address():
    with running_grpc(tiny_bundle()) as (_, address):
        yield address


@pytest.mark.parametrize(
    "program", [TRITON, KSERVE, OPEN_INFERENCE], ids=["tritonclient", "kserve", "open-inference-grpc"]
)
def test_clients_read_what_the_bundle_says_bit_for_bit(address, program, tmp_path):
    images = random_images(3)
    files = np.array([encode(image) for image in images], dtype=object)
    np.savez(tmp_path / "given.npz", images=images, files=files)
    paths = [str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    command = [sys.executable, "-c", HEAD + program + TAIL, address, MODEL, VERSION, *paths, *Outputs._fields]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found, expected = np.load(tmp_path / "found.npz"), open_bundle(tiny_bundle()).run(images)
    for name in Outputs._fields:
        np.testing.assert_array_equal(found[name], getattr(expected, name))
