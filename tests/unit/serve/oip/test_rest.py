"""Facts of the Open Inference Protocol over HTTP: what valid requests are answered."""

import gzip
import json
import struct

import numpy as np
import pytest

from oodtune.bundle import open_bundle
from oodtune.serve.served_model import ServedModel
from tests.unit.serve.oip.rest_requests import (
    FILES,
    HEADER,
    IMAGES,
    INFER,
    OUTPUTS,
    binary_body,
    binary_images,
    check,
    encoded_input,
    expected,
    images_input,
    pixels_of_files,
    read_binary,
    refuse,
    serving,
)
from tests.unit.tiny_bundle import CLASSES, DOMAINS, SIZE, random_images, tiny_bundle


@pytest.fixture(scope="module")
def client():
    with serving() as client:
        yield client


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_numbers_in_json_are_served_as_the_bundle_runs_them(client, count, nested):
    pixels = random_images(count, seed=count)
    data = pixels.tolist() if nested else pixels.ravel().tolist()
    check(client.post(INFER, json={"inputs": [images_input(pixels, data=data)]}), expected(pixels))


def test_whole_numbers_may_be_written_with_a_point(client):
    check(client.post(INFER, json={"inputs": [images_input(data=IMAGES.astype(float).tolist())]}), expected(IMAGES))


@pytest.mark.parametrize("count", [1, 100])
def test_keys_that_nobody_knows_are_passed_over_few_or_many(client, count):
    others = {f"x{place}": place for place in range(count)}
    check(client.post(INFER, json={**others, "inputs": [{**others, **images_input()}], **others}), expected(IMAGES))
    both = {**others, **images_input(), "parameters": {**others, "binary_data_size": 1}}
    assert "either data or binary_data_size" in client.post(INFER, json={"inputs": [both]}).json()["error"]


def test_json_needs_no_content_type(client):
    content = json.dumps({"inputs": [images_input()]})
    answer = client.post(INFER, content=content)
    assert "content-type" not in answer.request.headers
    check(answer, expected(IMAGES))


def test_files_are_served_as_their_pixels_in_base64_and_in_binary(client):
    wanted = expected(pixels_of_files(FILES))
    check(client.post(INFER, json={"inputs": [encoded_input()]}), wanted)
    raw = b"".join(struct.pack("<I", len(file)) + file for file in FILES)
    tensor = {**encoded_input(parameters={"binary_data_size": len(raw)})}
    del tensor["data"]
    check(client.post(INFER, **binary_body({"inputs": [tensor]}, raw)), wanted)


def test_binary_pixels_are_served_as_the_bundle_runs_them(client):
    check(client.post(INFER, **binary_body({"inputs": [binary_images()]}, IMAGES.tobytes())), expected(IMAGES))


def test_a_bare_file_is_answered_in_binary(client):
    answer = client.post(INFER, content=FILES[0], headers={HEADER.lower(): "0"})
    head, found = read_binary(answer)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert [one["name"] for one in head["outputs"]] == list(OUTPUTS)
    wanted = expected(pixels_of_files(FILES[:1]))
    assert found == {name: values.tobytes() for name, values in wanted.items()}


def test_binary_data_of_an_output_overrides_binary_data_output(client):
    for whole in (True, False):
        request = {
            "inputs": [images_input()],
            "parameters": {"binary_data_output": whole},
            "outputs": [
                {"name": "energy"},
                {"name": "logits", "parameters": {"binary_data": not whole}},
                {"name": "ood_score", "parameters": {"binary_data": True}},
            ],
        }
        head, found = read_binary(client.post(INFER, json=request))
        assert [one["name"] for one in head["outputs"]] == ["energy", "logits", "ood_score"]
        assert list(found) == (["energy", "ood_score"] if whole else ["logits", "ood_score"])
        assert all(("data" in one) != (one["name"] in found) for one in head["outputs"])
        assert found["ood_score"] == expected(IMAGES)["ood_score"].tobytes()


def test_answers_echo_the_id_and_name_the_model_and_its_version(client):
    request = {"inputs": [images_input()], "outputs": [{"name": "energy"}]}
    answer = client.post(INFER, json={**request, "id": "straße"}).json()
    assert {key: answer[key] for key in ("id", "model_name", "model_version")} == {
        "id": "straße",
        "model_name": "model",
        "model_version": "7",
    }
    assert "id" not in client.post(INFER, json=request).json()


@pytest.mark.parametrize("name", ["logits", "probabilities"])
def test_classification_answers_score_place_and_label_best_first(client, name):
    for asked, answered in [(1, 1), (2, 2), (3, 3), (1000, 3)]:
        outputs = [{"name": name, "parameters": {"classification": asked}}]
        answer = client.post(INFER, json={"inputs": [images_input()], "outputs": outputs}).json()
        (tensor,) = answer["outputs"]
        assert (tensor["datatype"], tensor["shape"]) == ("BYTES", [2, answered])
        values = expected(IMAGES)[name]
        for row, texts in zip(values, np.reshape(tensor["data"], (2, answered)), strict=True):
            for text, place in zip(texts, (-row).argsort(), strict=False):
                score, index, label = text.split(":")
                assert (np.float32(score), int(index), label) == (row[place], place, CLASSES[place])


def test_pixels_in_binary_reach_the_model_without_a_copy():
    from oodtune.serve.oip.inference import prepare
    from oodtune.serve.oip.json_request import read_request

    body = memoryview(IMAGES.tobytes())
    model = ServedModel("model", "7", open_bundle(tiny_bundle()), 4, 0.001)
    request = read_request("model", "7", json.dumps({"inputs": [binary_images()]}).encode(), body)
    assert np.shares_memory(prepare(request, model, 8)(model, lambda num_pixels: None), np.frombuffer(body, np.uint8))


def test_gzip_is_read_and_written_only_where_it_is_asked_for(client):
    content = gzip.compress(json.dumps({"inputs": [images_input(random_images(20))]}).encode())
    plain = client.post(INFER, content=content, headers={"content-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    for asked, given_ in [("gzip", True), ("deflate, GZIP;q=0.5", True), ("gzip;q=0, br", False), ("br", False)]:
        headers = {"content-encoding": "gzip", "accept-encoding": asked}
        answer = client.post(INFER, content=content, headers=headers)
        assert (answer.headers.get("content-encoding") == "gzip") == given_
        assert answer.json() == plain.json()
    small = {"inputs": [images_input()], "outputs": [{"name": "energy"}]}
    assert "content-encoding" not in client.post(INFER, json=small, headers={"accept-encoding": "gzip"}).headers


def test_metadata_names_every_tensor_as_infer_takes_and_gives_it(client):
    about = client.get("/v2/models/model").json()
    assert (about["name"], about["versions"], about["platform"]) == ("model", ["7"], "onnxruntime_onnx")
    assert about["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": [-1, SIZE, SIZE, 3]},
        {"name": "encoded", "datatype": "BYTES", "shape": [-1]},
    ]
    assert about["properties"]["digest"] == open_bundle(tiny_bundle()).digest
    answer = client.post(INFER, json={"inputs": [images_input()]}).json()
    described = [{**one, "shape": [-1, *one["shape"][1:]]} for one in answer["outputs"]]
    for one in described:
        del one["data"]
    assert described == about["outputs"]
    assert about["outputs"][3]["shape"] == [-1, len(DOMAINS)]


def test_the_server_names_its_extensions(client):
    about = client.get("/v2").json()
    assert about["name"] == "oodtune"
    assert about["extensions"] == ["binary_tensor_data", "classification", "model_configuration"]
    assert client.get("/v2/models/model/config").json()["input"][0]["data_type"] == "TYPE_UINT8"


def test_a_model_is_ready_once_it_is_loaded_and_until_the_server_drains():
    with serving() as client:
        ready = client.get("/v2/models/model/ready")
        assert (ready.status_code, ready.json()) == (200, {"name": "model", "ready": True})
        client.parts.health.draining = True
        assert client.get("/v2/models/model/ready").status_code == 503
    with serving(load=False) as client:
        for method, path in [("GET", "/v2/models/model"), ("GET", "/v2/models/model/ready"), ("POST", INFER)]:
            refuse(client.request(method, path), "still being loaded", 503)
