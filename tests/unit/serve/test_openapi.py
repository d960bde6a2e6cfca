"""Facts of the OpenAPI document: it is valid, complete, and what it promises is what is answered."""

import asyncio
import re
from functools import cache

import httpx
import jsonschema_rs
import pytest
import schemathesis
from starlette.routing import Route

from oodtune.serve import ServeSettings
from oodtune.serve.app import create_app
from oodtune.serve.loading import load_model
from oodtune.serve.parts import create_parts
from tests.unit.tiny_bundle import CLASSES, encode, random_images, tiny_bundle

PAGES = {"/", "/page.css", "/page.js", "/docs", "/openapi.json"}
"""What is for people and their browsers; the document is about the rest."""
PNG = encode(random_images(1)[0])
PIXELS = random_images(2)
MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"
INFER = f"{MODEL}/infer"


@cache
def model():
    return load_model(tiny_bundle(), "one", ServeSettings())


def application(**settings):
    parts = create_parts(ServeSettings.model_validate(settings))
    parts.served.replace(model())
    return create_app(parts)


def request(method: str, path: str, app=None, **content) -> httpx.Response:
    async def ask() -> httpx.Response:
        served = app or application(workers=1, max_body_bytes=50_000)
        transport = httpx.ASGITransport(served)
        async with (
            served.router.lifespan_context(served),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            return await client.request(method, path, **content)

    return asyncio.run(ask())


@cache
def document() -> dict:
    return request("GET", "/openapi.json").json()


def operations(described: dict) -> dict[tuple[str, str], dict]:
    return {
        (method.upper(), path): item[method]
        for path, item in described["paths"].items()
        for method in ("get", "post")
        if method in item
    }


def routes(app) -> set[tuple[str, str]]:
    found = {(method, one.path) for one in app.routes if isinstance(one, Route) for method in one.methods or ()}
    return {(method, path) for method, path in found if method != "HEAD" and path not in PAGES}


def test_the_document_is_valid_openapi():
    assert document()["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(document()).validate()  # raises


def test_the_document_describes_every_route_and_no_other():
    assert set(operations(document())) == routes(application())


def test_metrics_on_a_port_of_their_own_are_not_described_on_this_one():
    elsewhere = request("GET", "/openapi.json", application(metrics_port=0)).json()
    assert set(document()["paths"]) - set(elsewhere["paths"]) == {"/metrics"}


def infer(*outputs: dict, **changed) -> dict:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 32, 32, 3], "data": PIXELS.ravel().tolist()}
    return {"inputs": [{**tensor, **changed}], "outputs": list(outputs)}


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/classify", {"content": PNG}, 200),
        ("POST", "/v1/classify", {"content": PNG, "params": {"top_k": 2}}, 200),
        ("POST", "/v1/classify", {"content": PNG, "params": {"top_k": 4}}, 400),
        ("POST", "/v1/classify", {"content": b"no image"}, 400),
        ("POST", "/v1/classify", {"content": bytes(60_000)}, 413),
        ("GET", "/v2", {}, 200),
        ("GET", "/v2/health/live", {}, 200),
        ("GET", "/v2/health/ready", {}, 200),
        ("GET", "/healthz", {}, 200),
        ("GET", "/metrics", {}, 200),
        ("GET", MODEL, {}, 200),
        ("GET", f"{MODEL}/ready", {}, 200),
        ("GET", f"{MODEL}/config", {}, 200),
        ("GET", VERSION, {}, 200),
        ("GET", f"{VERSION}/ready", {}, 200),
        ("GET", f"{VERSION}/config", {}, 200),
        ("POST", INFER, {"json": infer()}, 200),
        ("POST", INFER, {"json": infer({"name": "logits", "parameters": {"classification": 2}})}, 200),
        ("POST", INFER, {"json": infer(shape=[1, 32, 32, 3])}, 400),
        ("POST", INFER, {"content": PNG, "headers": {"inference-header-content-length": "0"}}, 200),
        ("POST", f"{VERSION}/infer", {"json": infer({"name": "ood_score"})}, 200),
    ],
)
def test_answers_are_as_described(method, path, content, status):
    answer = request(method, path.format(name="model", version="one"), **content)
    assert answer.status_code == status, answer.text
    described = operations(document())[method, path]["responses"]
    assert str(status) in described
    if answer.headers["content-type"] == "application/json":
        schemathesis.openapi.from_dict(document())[path][method].validate_response(answer)  # raises
    else:
        assert answer.headers["content-type"].split(";")[0] in described[str(status)]["content"]


@pytest.mark.parametrize(
    ("sent", "valid"),
    [
        (infer(), True),
        (infer({"name": "energy"}, {"name": "logits", "parameters": {"classification": 2}}), True),
        (infer({"name": "energy", "parameters": {"classification": 2}}), False),
        (infer({"name": "unknown"}), False),
        (infer(shape=[2, 32, 32]), False),
        (infer(shape=[2, 33, 32, 3]), False),
        (infer(datatype="FP32"), False),
        (infer(name="encoded"), False),
        (infer(data=[256]), False),
        (infer(name="encoded", datatype="BYTES", shape=[1], data=["AAAA"]), True),
        ({"inputs": []}, False),
        ({"inputs": infer()["inputs"] * 2}, False),
    ],
)
def test_what_the_schema_of_requests_refuses_the_server_refuses_too(sent, valid):
    schema = {**document(), "$ref": "#/components/schemas/InferRequest"}
    assert jsonschema_rs.validator_for(schema).is_valid(sent) == valid
    if not valid:
        assert request("POST", INFER.format(name="model"), json=sent).status_code == 400


def test_an_unknown_model_is_answered_as_described():
    answer = request("GET", "/v2/models/another")
    assert answer.status_code == 404
    schemathesis.openapi.from_dict(document())[MODEL]["GET"].validate_response(answer)


def test_the_example_of_a_request_can_be_sent_as_it_is():
    media = operations(document())["POST", INFER]["requestBody"]["content"]["application/json"]
    answer = request("POST", INFER.format(name="model"), json=media["example"])
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["shape"] == [1, len(CLASSES)]


def test_a_token_is_described_where_one_is_needed_and_nowhere_else():
    with_token = request("GET", "/openapi.json", application(token="secret")).json()
    assert with_token["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    public = {path for (_, path), one in operations(with_token).items() if one.get("security") == []}
    assert public == {"/healthz", "/metrics", "/v2/health/live", "/v2/health/ready"}
    for (method, path), one in operations(with_token).items():
        answer = request(method, path.format(name="model", version="one"), application(token="secret"), content=b"")
        assert (answer.status_code == 401) == (path not in public) == ("401" in one["responses"]), path
    assert "security" not in document()
    assert all("401" not in one["responses"] for one in operations(document()).values())


def test_another_model_is_another_document():
    async def scenario() -> list[str]:
        parts = create_parts(ServeSettings(workers=1))
        transport = httpx.ASGITransport(create_app(parts))
        etags = []
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/openapi.json")).status_code == 503  # no model yet
            for version in ("one", "two"):
                parts.served.replace(load_model(tiny_bundle(), version, parts.settings))
                answer = await client.get("/openapi.json")
                assert f'"enum":["{version}"]' in answer.text
                etags.append(answer.headers["etag"])
        return etags

    one, two = asyncio.run(scenario())
    assert one != two


def test_the_page_of_the_document_shows_every_operation_and_runs_nothing():
    answer = request("GET", "/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    shown = set(re.findall(r'<span class="method">(\w+)</span> ([^<]+)</h2>', answer.text))
    assert shown == set(operations(document()))
