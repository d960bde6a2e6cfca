"""Facts of the gRPC server, seen by clients that send any bytes they like."""

import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2

from oodtune.bundle import Outputs, open_bundle
from oodtune.serve.oip import protocol
from tests.unit.serve.oip.grpc_process import MODEL, VERSION, Request, call, pixels_request, refusal, running_grpc
from tests.unit.tiny_bundle import SIZE, encode, random_images, tiny_bundle

MAX_BODY_BYTES = 200_000
Response = protocol.message("inference.ModelInferResponse")
BAD = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def channel():
    limits = {"max_body_bytes": MAX_BODY_BYTES, "max_buffered_bytes": 4 * MAX_BODY_BYTES}
    with running_grpc(tiny_bundle(), **limits) as (_, address), grpc.insecure_channel(address) as channel:
        yield channel


def infer(channel, request):
    return Response.FromString(call(channel, "ModelInfer", request.SerializeToString()))


def tensors(response) -> dict[str, np.ndarray]:
    pairs = zip(response.outputs, response.raw_output_contents, strict=True)
    return {one.name: np.frombuffer(raw, "<f4").reshape(one.shape) for one, raw in pairs}


def test_descriptors_are_what_protoc_makes_of_the_proto_files(tmp_path):
    folder = protocol.DESCRIPTORS.parent
    made = tmp_path / "made.binpb"
    names = ["open_inference.proto", "health.proto"]
    arguments = ["--proto_path", str(folder), "--descriptor_set_out", str(made), *names]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)
    read = descriptor_pb2.FileDescriptorSet.FromString
    assert read(made.read_bytes()) == read(protocol.DESCRIPTORS.read_bytes())


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "contents"])
def test_served_outputs_are_those_of_the_bundle_bit_for_bit(channel, raw):
    images = random_images(3)
    response = infer(channel, pixels_request(images, raw, id="mine"))
    found, expected = tensors(response), open_bundle(tiny_bundle()).run(images)
    for name in Outputs._fields:
        np.testing.assert_array_equal(found[name], getattr(expected, name))
    assert (response.id, response.model_name, response.model_version) == ("mine", MODEL, VERSION)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "contents"])
def test_encoded_images_are_the_pixels_that_they_hold(channel, raw):
    images = random_images(2)
    files = [encode(image) for image in images]
    tensor = {"name": "encoded", "datatype": "BYTES", "shape": [2]}
    if raw:
        packed = b"".join(len(file).to_bytes(4, "little") + file for file in files)
        request = Request(model_name=MODEL, inputs=[tensor], raw_input_contents=[packed])
    else:
        request = Request(model_name=MODEL, inputs=[{**tensor, "contents": {"bytes_contents": files}}])
    found = tensors(infer(channel, request))
    np.testing.assert_array_equal(found["logits"], open_bundle(tiny_bundle()).run(images).logits)


def test_only_wanted_outputs_are_answered_in_the_order_asked(channel):
    outputs = [{"name": "energy"}, {"name": "probabilities", "parameters": {"classification": {"int64_param": 2}}}]
    response = infer(channel, pixels_request(random_images(1), outputs=outputs))
    assert [(one.name, one.datatype, list(one.shape)) for one in response.outputs] == [
        ("energy", "FP32", [1]),
        ("probabilities", "BYTES", [1, 2]),
    ]


def hostile_requests() -> dict[str, bytes]:
    images = random_images(1)
    good = pixels_request(images)
    shapes = {"2**40": [2**40, SIZE, SIZE, 3], "negative": [-1, SIZE, SIZE, 3], "product 2**64": [2**62, 4, 1, 1]}
    found = {f"shape {name}": pixels_request(images, shape=shape) for name, shape in shapes.items()}
    found["no input"] = Request(model_name=MODEL)
    found["short raw"] = pixels_request(images, raw_input_contents=[images.tobytes()[:-1]])
    found["two raws"] = pixels_request(images, raw_input_contents=[images.tobytes()] * 2)
    found["both forms"] = pixels_request(images, raw=False, raw_input_contents=[images.tobytes()])
    found["over 255"] = pixels_request(images.astype(int) + 256, raw=False)
    found["wrong datatype"] = pixels_request(images)
    found["wrong datatype"].inputs[0].datatype = "FP32"
    found["wrong name"] = pixels_request(images)
    found["wrong name"].inputs[0].name = "other"
    found["unknown output"] = pixels_request(images, outputs=[{"name": "other"}])
    found["100 outputs"] = pixels_request(images, outputs=[{"name": "logits"}] * 100)
    found["contents of another type"] = pixels_request(images, raw_input_contents=[])
    found["contents of another type"].inputs[0].contents.fp32_contents.extend([0.0] * images.size)
    found["timeout of a word"] = pixels_request(images, parameters={"timeout": {"string_param": "1"}})
    found["no image"] = Request(
        model_name=MODEL,
        inputs=[{"name": "encoded", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"text"]}}],
    )
    bodies = {name: request.SerializeToString() for name, request in found.items()}
    bodies["truncated"] = good.SerializeToString()[:-5]
    bodies["garbage"] = b"\xff" * 1000
    bodies["groups"] = b"\x0b" * 1000
    bodies["text that is no UTF-8"] = b"\x0a\x02\xff\xfe"
    bodies["50000 empty inputs"] = b"\x2a\x00" * 50_000
    bodies["90000 empty elements"] = b"\x2a\xa4\xbf\x0b\x2a\xa0\xbf\x0b" + b"\x42\x00" * 94_160
    return bodies


@pytest.mark.parametrize("raw", hostile_requests().values(), ids=hostile_requests().keys())
def test_what_is_no_request_is_an_invalid_argument_and_the_server_goes_on(channel, raw):
    code, message = refusal(channel, raw)
    assert code is BAD
    assert "expected" in message or "says" in message
    assert call(channel, "Check", service=protocol.HEALTH) == b"\x08\x01"


@pytest.mark.parametrize("fields", [{"model_name": "other"}, {"model_version": "8"}], ids=["name", "version"])
def test_an_unknown_model_or_version_is_not_found(channel, fields):
    assert refusal(channel, pixels_request(random_images(1), **fields).SerializeToString())[0] is (
        grpc.StatusCode.NOT_FOUND
    )


def test_a_message_over_the_limit_is_resource_exhausted(channel):
    assert refusal(channel, bytes(MAX_BODY_BYTES + 5000))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_compressed_messages_are_unimplemented_because_grpc_bounds_only_their_compressed_size(channel):
    bomb = pixels_request(np.zeros((60, SIZE, SIZE, 3), np.uint8)).SerializeToString()
    code, _ = refusal(channel, bomb, compression=grpc.Compression.Gzip)
    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_unknown_methods_are_unimplemented(channel):
    assert refusal(channel, b"", method="RepositoryModelLoad")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_calls_without_a_message_do_not_stop_others_though_all_memory_is_theirs(channel):
    """Four messages may be on their way; eight never come."""
    stop = threading.Event()

    def never():
        stop.wait(20)
        yield from ()

    silent = [channel.stream_unary(f"/{protocol.INFERENCE}/ModelInfer").future(never()) for _ in range(8)]
    time.sleep(1.2)
    codes = []
    for _ in range(6):
        try:
            infer(channel, pixels_request(random_images(1)))
            codes.append(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            codes.append(error.code())
    stop.set()
    for one in silent:
        one.cancel()
    assert codes.count(grpc.StatusCode.OK) >= 4


def test_only_health_is_answered_without_the_token():
    good = pixels_request(random_images(1)).SerializeToString()
    with (
        running_grpc(tiny_bundle(), token="s3cret") as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        for wrong in (None, "Bearer other", "s3cret", "Bearer ", "Basic s3cret"):
            metadata = None if wrong is None else [("authorization", wrong)]
            for method, raw in {"ModelInfer": good, "ServerMetadata": b"", "ModelMetadata": b""}.items():
                found, message = refusal(channel, raw, method, metadata=metadata)
                assert found is grpc.StatusCode.UNAUTHENTICATED
                assert "s3cret" not in message
        assert call(channel, "ModelInfer", good, metadata=[("authorization", "Bearer s3cret")])
        assert call(channel, "ServerReady") == b"\x08\x01"
        assert call(channel, "Check", service=protocol.HEALTH) == b"\x08\x01"
        process.send_signal(signal.SIGTERM)
        metrics = process.communicate(timeout=20)[0]
    assert 'oodtune_requests_total{code="UNAUTHENTICATED",route="grpc/ModelInfer"} 5.0' in metrics
    assert 'oodtune_requests_total{code="OK",route="grpc/ModelInfer"} 1.0' in metrics
    assert 'oodtune_rejected_total{reason="unauthorised"} 15.0' in metrics
    assert "oodtune_in_flight 0.0" in metrics


def test_while_the_model_is_loaded_inference_is_unavailable_and_health_says_so():
    with running_grpc(None) as (_, address), grpc.insecure_channel(address) as channel:
        code, _ = refusal(channel, pixels_request(random_images(1)).SerializeToString())
        assert code is grpc.StatusCode.UNAVAILABLE
        assert call(channel, "Check", service=protocol.HEALTH) == b"\x08\x02"
        assert call(channel, "ServerLive") == b"\x08\x01"
        assert call(channel, "ServerReady") == b""


def test_sigterm_cuts_off_no_call_that_the_server_has_begun():
    raw = pixels_request(random_images(8)).SerializeToString()
    codes: set[tuple[grpc.StatusCode, str]] = set()
    with running_grpc(tiny_bundle()) as (process, address), ThreadPoolExecutor(8) as pool:
        begun = threading.Barrier(9)

        def ask_until_refused() -> int:
            answered = 0
            with grpc.insecure_channel(address) as channel:
                call(channel, "ModelInfer", raw)
                begun.wait(20)
                while True:
                    try:
                        call(channel, "ModelInfer", raw)
                        answered += 1
                    except grpc.RpcError as error:
                        codes.add((error.code(), error.details()))
                        return answered

        clients = [pool.submit(ask_until_refused) for _ in range(8)]
        begun.wait(20)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        answered = sum(client.result(timeout=30) for client in clients)
        output = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    # As many as the server has answered, its clients have got; it has ended none of them in another way.
    assert f'oodtune_requests_total{{code="OK",route="grpc/ModelInfer"}} {answered + 8}.0' in output
    assert re.findall(r'oodtune_requests_total{code="(\w+)",route="grpc/ModelInfer"}', output) == ["OK"]
    # gRPC itself cancels a call that has come and that the server has not begun when it stops.
    assert {code for code, _ in codes} <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}, codes
