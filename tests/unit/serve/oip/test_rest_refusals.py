"""Facts of the Open Inference Protocol over HTTP: a client may send anything."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oodtune.serve.oip.json_request import MAX_JSON_BYTES
from tests.unit.serve.oip.rest_requests import (
    FILES,
    HEADER,
    IMAGES,
    INFER,
    binary_body,
    binary_images,
    encoded_input,
    images_input,
    refuse,
    serving,
)
from tests.unit.tiny_bundle import SIZE, random_images


@pytest.fixture(scope="module")
def client():
    with serving() as client:
        yield client


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (images_input(name="pixels"), "expected an input named 'images' or 'encoded'"),
        (images_input(datatype="FP32"), "images: expected datatype UINT8"),
        (images_input(datatype="BF16"), "images: expected datatype UINT8"),
        (images_input(datatype=8), "datatype: expected a string"),
        (images_input(shape=[2, SIZE, SIZE]), "images: expected shape [N, 32, 32, 3]"),
        (images_input(shape=[2, SIZE, 3, SIZE]), "images: expected shape [N, 32, 32, 3]"),
        (images_input(shape=[-1, SIZE, SIZE, 3]), "N from 1 to 128"),
        (images_input(shape=[0, SIZE, SIZE, 3], data=[]), "N from 1 to 128"),
        (images_input(shape=[129, SIZE, SIZE, 3]), "N from 1 to 128"),
        (images_input(shape=[2**40, SIZE, SIZE, 3]), "N from 1 to 128"),
        (images_input(shape=[2**63 - 1] * 4), "images: expected shape"),
        (images_input(shape=[2**64 - 1] * 4), "images: expected shape"),
        (images_input(shape=[2.0, SIZE, SIZE, 3]), "shape: expected an array of whole numbers"),
        (images_input(shape=[True, SIZE, SIZE, 3]), "shape: expected an array of whole numbers"),
        (images_input(shape=[]), "shape: expected an array of whole numbers"),
        (images_input(shape=[1] * 100), "shape: expected an array of whole numbers"),
        (images_input(shape="2"), "shape: expected an array"),
        (images_input(shape=[1, SIZE, SIZE, 3]), "its shape says 3072 elements, but 6144 came"),
        (images_input(data=[0] * 5), "its shape says 6144 elements, but 5 came"),
        (images_input(data=[]), "its shape says 6144 elements, but 0 came"),
        (images_input(data=[256] * 6144), "whole numbers from 0 to 255"),
        (images_input(data=[-1] * 6144), "whole numbers from 0 to 255"),
        (images_input(data=[0.5] * 6144), "whole numbers from 0 to 255"),
        (images_input(data=[1, 0.5] * 3072), "whole numbers from 0 to 255"),
        (images_input(data=[1.0, -1.0] * 3072), "whole numbers from 0 to 255"),
        (images_input(data=[1e300] * 6144), "whole numbers from 0 to 255"),
        (images_input(data=[1.0, True] * 3072), "whole numbers from 0 to 255"),
        (images_input(data=[True] * 6144), "whole numbers from 0 to 255"),
        (images_input(data=["1"] * 6144), "whole numbers from 0 to 255"),
        (images_input(data=[None] * 6144), "whole numbers from 0 to 255"),
        (images_input(data=[{}] * 6144), "whole numbers from 0 to 255"),
        (images_input(data=[2**63] * 6144), "whole numbers from 0 to 255"),
        (images_input(data={}), "data: expected an array"),
        (images_input(data=None), "data: expected an array, found none"),
        (images_input(parameters=[]), "parameters: expected an object"),
        (images_input(parameters={"shared_memory_region": "x"}), "no shared memory"),
        (images_input(parameters={"binary_data_size": 0}), "either data or binary_data_size"),
        (encoded_input(shape=[1]), "its shape says 1 elements, but 3 came"),
        (encoded_input(shape=[3, 1]), "encoded: expected shape [N]"),
        (encoded_input(data=["?", "", ""]), "each a file in base64"),
        (encoded_input(data=["é", "", ""]), "each a file in base64"),
        (encoded_input(data=[[], 1, None]), "each a file in base64"),
        (encoded_input(data=["", "", ""]), "encoded, file 1 of 3: image: expected an image"),
        (encoded_input([FILES[0], FILES[1][:-40]]), "encoded, file 2 of 2: image: expected a whole, readable image"),
        ("images", "inputs: expected an array of objects"),
        ({}, "datatype: expected a string, found none"),
    ],
)
def test_a_wrong_input_is_400_and_the_next_request_is_served(client, tensor, message):
    refuse(client.post(INFER, json={"inputs": [tensor]}), message)
    assert client.post(INFER, json={"inputs": [images_input()]}).status_code == 200


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"inputs": []}, "expected one input, 'images' or 'encoded', found 0"),
        ({"inputs": None}, "found 0"),
        ({"inputs": {}}, "inputs: expected an array"),
        ({"inputs": [images_input(), encoded_input()]}, "found 2"),
        ({"inputs": [{}] * 100}, "inputs: expected at most 16"),
        ({"outputs": [{"name": "softmax"}]}, "expected outputs among ['logits'"),
        ({"outputs": [{"name": "logits"}] * 2}, "found one of them twice"),
        ({"outputs": [{"name": "logits"}] * 1000}, "outputs: expected at most 16"),
        ({"outputs": [{}]}, "name: expected a string, found none"),
        ({"outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]}, "binary_data: expected true or false"),
        ({"outputs": [{"name": "logits", "parameters": {"classification": -1}}]}, "classification: expected"),
        ({"outputs": [{"name": "energy", "parameters": {"classification": 1}}]}, "among ['logits', 'probabilities']"),
        ({"outputs": [{"name": "logits", "parameters": {"shared_memory_region": "x"}}]}, "no shared memory"),
        ({"parameters": {"timeout": -1}}, "timeout: expected a whole number"),
        ({"parameters": {"timeout": "1"}}, "timeout: expected a whole number"),
        ({"parameters": {"binary_data_output": "yes"}}, "binary_data_output: expected true or false"),
        ({"id": 5}, "id: expected a string"),
    ],
)
def test_a_wrong_request_is_400_and_says_what_was_expected(client, changed, message):
    refuse(client.post(INFER, json={"inputs": [images_input()], **changed}), message)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"5",
        b"null",
        b'{"inputs": [NaN]}',
        b'{"id": "\\ud800", "inputs": []}',
        b"[" * 100_000,
        b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"inputs":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"inputs": [' + b"9" * 100_000 + b"]}",
        FILES[0],
    ],
)
def test_what_is_no_json_of_a_request_is_400(client, content):
    refuse(client.post(INFER, content=content), "expected")


def test_json_over_its_limit_is_413_and_no_more_is_parsed(client):
    content = b'{"inputs": [' + b"1," * (MAX_JSON_BYTES // 2) + b"1]}"
    refuse(client.post(INFER, content=content), f"at most {MAX_JSON_BYTES} bytes of JSON; send tensors in their", 413)


@pytest.mark.parametrize("text", ["-1", "1e3", "x", "", "²", "9" * 30, "99999", "1.0", "+1"])
def test_a_wrong_header_length_is_400(client, text):
    answer = client.post(INFER, content=b"{}", headers={HEADER: text.encode()})
    refuse(answer, "Inference-Header-Content-Length: expected a whole number from 0 to 2")


@pytest.mark.parametrize(
    ("tensor", "blob", "message"),
    [
        (binary_images(), IMAGES.tobytes()[:-1], "found fewer of them"),
        (binary_images(), IMAGES.tobytes() + b"x", "1 bytes are left"),
        (binary_images(parameters={"binary_data_size": -1}), IMAGES.tobytes(), "binary_data_size: expected the size"),
        (binary_images(parameters={"binary_data_size": True}), IMAGES.tobytes(), "expected a whole number"),
        (binary_images(parameters={"binary_data_size": 2**63}), IMAGES.tobytes(), "binary_data_size: expected"),
        (binary_images(shape=[1, SIZE, SIZE, 3]), IMAGES.tobytes(), "says 3072 elements, but 6144 came"),
        (binary_images(parameters={}), IMAGES.tobytes(), "data: expected an array, found none"),
        (binary_images(datatype="FP32"), IMAGES.tobytes(), "images: expected datatype UINT8"),
        (images_input(), b"x", "1 bytes are left"),
        (binary_images(name="encoded", datatype="BYTES", shape=[2]), IMAGES.tobytes(), "before every element"),
    ],
)
def test_binary_tensors_have_exactly_the_bytes_that_the_json_says(client, tensor, blob, message):
    refuse(client.post(INFER, **binary_body({"inputs": [tensor]}, blob)), message)


def test_a_shape_of_2_to_the_40_allocates_nothing(client):
    tracemalloc.start()
    refuse(client.post(INFER, **binary_body({"inputs": [binary_images(shape=[2**40, SIZE, SIZE, 3])]})), "expected")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("suffix", ["", "/ready", "/config"])
def test_unknown_names_and_versions_are_404(client, suffix):
    assert client.get(f"/v2/models/model/versions/7{suffix}").json() == client.get(f"/v2/models/model{suffix}").json()
    refuse(client.get(f"/v2/models/other{suffix}"), "this server has only 'model'", 404)
    refuse(client.get(f"/v2/models/model/versions/8{suffix}"), "it serves '7'", 404)
    refuse(client.get(f"/v2/models/..%2Fmodel{suffix}"), "", 404)


def test_unknown_names_and_versions_are_404_of_infer_too(client):
    assert client.post("/v2/models/model/versions/7/infer", json={"inputs": [images_input()]}).status_code == 200
    refuse(client.post("/v2/models/other/infer", content=b"x"), "this server has only 'model'", 404)
    refuse(client.post("/v2/models/model/versions/8/infer", content=b"x"), "it serves '7'", 404)
    refuse(client.get(INFER), "", 405)


def test_a_request_whose_own_timeout_has_passed_is_503_whether_large_or_small(client):
    for tensor in (images_input(random_images(4)), encoded_input(FILES[:1])):
        request = {"inputs": [tensor], "parameters": {"timeout": 1}}
        refuse(client.post(INFER, json=request), "before the request's deadline", 503)


def test_no_refusal_echoes_what_the_client_sent(client):
    mark = "sqeamish"
    requests = [
        {"inputs": [images_input(name=mark)]},
        {"inputs": [images_input(datatype=mark)]},
        {"inputs": [encoded_input(data=[mark])]},
        {"inputs": [images_input()], "outputs": [{"name": mark}]},
        {"inputs": [images_input()], "parameters": {"timeout": mark}},
    ]
    for answer in [client.post(INFER, json=request) for request in requests] + [client.get(f"/v2/models/{mark}")]:
        assert answer.status_code in (400, 404)
        assert mark not in answer.text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["UINT8", "images"]),
    lambda some: (
        st.lists(some, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "datatype", "shape", "data", "parameters", "binary_data_size"]), some
        )
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["inputs", "outputs", "parameters", "id"]), JSON),
    st.binary(max_size=20),
    st.none() | st.integers(-5, 300),
)
def test_no_request_is_answered_by_anything_but_4xx_or_200(client, request_, blob, length):
    headers = {} if length is None else {HEADER: str(length)}
    answer = client.post(INFER, content=json.dumps(request_).encode() + blob, headers=headers)
    assert answer.status_code in (200, 400)
    assert client.parts.engine.num_alive == 1


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_damage_to_a_valid_binary_request_is_answered_by_anything_but_4xx_or_200(client, data):
    whole = binary_body({"inputs": [binary_images(IMAGES[:1])]}, IMAGES[:1].tobytes())
    body = bytearray(whole["content"])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    answer = client.post(INFER, content=bytes(body), headers=whole["headers"])
    assert answer.status_code in (200, 400)
