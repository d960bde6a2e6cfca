"""OpenAPI 3.1 of the HTTP interface."""

import importlib.metadata
from typing import Any, Final

from oodtune.serve.openapi.schemas import ApiFacts, Schema, ref, schemas

__all__ = ["ApiFacts", "describe_api"]

_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"
_PIXEL_PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
"""A grey PNG of one pixel: examples can be sent as they are."""
_FAILURES: Final = {
    400: "BadRequest",
    401: "Unauthorised",
    404: "NotFound",
    408: "TooSlow",
    413: "TooLarge",
    503: "Unavailable",
}
_BODY: Final = (400, 408, 413, 503)
"""How a request with a body can fail."""
_DESCRIPTION: Final = """Image classification that says when an image is unlike those the model was trained on.

Every failure is JSON `{"error": "..."}`: an unknown path is 404, a known one with another method 405, and 503 with
`Retry-After` means that the server is overloaded or not ready. `/v2` is the Open Inference Protocol, version 2,
with its extensions for binary tensors and classification. Bodies may be compressed (`Content-Encoding: gzip` or
`deflate`)."""


def describe_api(facts: ApiFacts) -> dict[str, Any]:
    """Return the document of a server."""
    paths = {**_classify(facts), **_protocol(facts), **_health(facts)}
    components: dict[str, Any] = {"schemas": schemas(facts), "responses": _failures()}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"oodtune: {facts.name}",
            "version": importlib.metadata.version("oodtune"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }
    if facts.has_token:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
    return document


def _failures() -> dict[str, Any]:
    def failure(description: str, example: str, **headers: Schema) -> dict[str, Any]:
        content = {_JSON: {"schema": ref("Error"), "example": {"error": example}}}
        told = {name: {"schema": schema} for name, schema in headers.items()}
        return {"description": description, "content": content, **({"headers": told} if told else {})}

    wait = {"Retry-After": {"type": "integer", "minimum": 1, "description": "Seconds."}}
    challenge = {"WWW-Authenticate": {"const": "Bearer"}}
    return {
        "BadRequest": failure("The request is wrong, or holds no image.", "expected a JSON object with inputs"),
        "Unauthorised": failure("The bearer token is missing or wrong.", "expected a bearer token", **challenge),
        "NotFound": failure("There is no such model or version.", "no such model; this server has only 'model'"),
        "TooSlow": failure("The body came too slowly.", "expected the whole body within 30 s; send it faster"),
        "TooLarge": failure("The body is too large.", "expected a body of at most 16777216 bytes; send a smaller one"),
        "Unavailable": failure("Overloaded or not ready; try again later.", "40 requests wait already", **wait),
    }


def _operation(
    facts: ApiFacts, name: str, tag: str, summary: str, curl: str, answers: dict[str, Any], fails: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Return an operation; those that can fail need the token, where there is one."""
    needs_token = facts.has_token and tag != "health"
    fails = tuple(sorted({*fails, 401})) if needs_token else fails
    failures = {str(code): {"$ref": f"#/components/responses/{_FAILURES[code]}"} for code in fails}
    token = '-H "Authorization: Bearer $TOKEN" ' if needs_token else ""
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": {**failures, **answers},
        "x-codeSamples": [{"lang": "Shell", "source": f"curl {token}{curl}"}],
        **({"security": []} if facts.has_token and tag == "health" else {}),
    }


def _json(description: str, schema: str, example: Any = None) -> dict[str, Any]:
    shown = {"example": example} if example is not None else {}
    return {"description": description, "content": {_JSON: {"schema": ref(schema), **shown}}}


def _classify(facts: ApiFacts) -> dict[str, Any]:
    file = {"schema": {"type": "string", "format": "binary"}}
    top_k = {"type": "integer", "minimum": 1, "maximum": facts.num_classes, "default": min(5, facts.num_classes)}
    post = _operation(
        facts,
        "classify",
        "classification",
        "Classify one image",
        "--data-binary @image.jpg $ADDRESS/v1/classify",
        {"200": _json("The labels, and how unusual the image is.", "Classification", _classification(facts))},
        _BODY,
    )
    post["parameters"] = [
        {"name": "top_k", "in": "query", "schema": top_k, "description": "How many classes to answer.", "example": 1}
    ]
    post["requestBody"] = {
        "description": f"JPEG, PNG, WebP, BMP, GIF or TIFF, of at most {facts.max_body_bytes} bytes; "
        "the Content-Type does not matter.",
        "required": True,
        "content": {_BINARY: file, "image/*": file},
    }
    return {"/v1/classify": {"post": post}}


def _classification(facts: ApiFacts) -> dict[str, Any]:
    names = [f"domain {place + 1}" for place in range(facts.num_domains)]
    return {
        "model": "0123456789abcdef" * 4,
        "model_name": facts.name,
        "model_version": facts.version,
        "classes": [{"label": "a label", "probability": 0.875}],
        "ood": {"score": 0.25, "max_score": 0.95, "out_of_domain": False, "energy": -4.5},
        "domains": [{"name": name, "distance": 10.0 + place} for place, name in enumerate(names)],
    }


def _protocol(facts: ApiFacts) -> dict[str, Any]:
    server = _operation(facts, "server", "protocol", "The server", "$ADDRESS/v2", {"200": _json("It.", "Server")})
    server["responses"]["200"]["description"] = "Name, version and extensions."
    paths: dict[str, Any] = {"/v2": {"get": server}}
    for at, real, suffix in (
        ("/v2/models/{name}", f"/v2/models/{facts.name}", ""),
        ("/v2/models/{name}/versions/{version}", f"/v2/models/{facts.name}/versions/{facts.version}", "Version"),
    ):
        parameters = _path_parameters(facts, bool(suffix))
        of = "this version of the model" if suffix else "the model"
        for path, operation, summary, schema, fails in (
            ("", "model", f"Inputs and outputs of {of}", "Model", (404, 503)),
            ("/ready", "modelReady", f"Whether {of} is ready", "ModelReady", (404,)),
            ("/config", "modelConfig", f"The configuration of {of}, as Triton calls it", "ModelConfig", (404, 503)),
        ):
            answers = {"200": _json(f"{summary}.", schema)}
            if path == "/ready":
                answers["503"] = {"description": "Not ready.", "content": _ready_or_error()}
            get = _operation(facts, operation + suffix, "protocol", summary, f"$ADDRESS{real}{path}", answers, fails)
            paths[at + path] = {"parameters": parameters, "get": get}
        paths[f"{at}/infer"] = {"parameters": parameters, "post": _infer(facts, f"{real}/infer", suffix)}
    return paths


def _ready_or_error() -> dict[str, Any]:
    return {_JSON: {"schema": {"oneOf": [ref("ModelReady"), ref("Error")]}}}


def _path_parameters(facts: ApiFacts, with_version: bool) -> list[dict[str, Any]]:
    known = {"name": facts.name, **({"version": facts.version} if with_version else {})}
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}
        for name, value in known.items()
    ]


def _infer(facts: ApiFacts, path: str, suffix: str) -> dict[str, Any]:
    length = "Inference-Header-Content-Length"
    whole: Schema = {"type": "integer", "minimum": 0}
    tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [_PIXEL_PNG]}
    example = {"id": "1", "inputs": [tensor], "outputs": [{"name": "probabilities"}]}
    binary = {"schema": {"type": "string", "format": "binary"}}
    answer = _json("The outputs; in binary form where that was asked for.", "InferAnswer")
    answer["content"][_BINARY] = binary
    answer["headers"] = {length: {"schema": whole, "description": "Bytes of JSON before the binary tensors."}}
    curl = f"-H '{length}: 0' --data-binary @image.jpg --output answer $ADDRESS{path}"
    summary = "Compute outputs of images" + (" by this version of the model" if suffix else "")
    post = _operation(facts, "infer" + suffix, "protocol", summary, curl, {"200": answer}, (*_BODY, 404))
    meaning = "Bytes of JSON in the body; binary tensors follow. 0: the body is one image file, and no JSON."
    post["parameters"] = [{"name": length, "in": "header", "schema": whole, "description": meaning}]
    post["requestBody"] = {
        "description": f"At most {facts.max_body_bytes} bytes and {facts.max_images} images.",
        "required": True,
        "content": {_JSON: {"schema": ref("InferRequest"), "example": example}, _BINARY: binary},
    }
    return post


def _health(facts: ApiFacts) -> dict[str, Any]:
    paths = {}
    for path, name, summary, schema in (
        ("/v2/health/live", "live", "Whether the process works; if not, restart it", "Live"),
        ("/v2/health/ready", "ready", "Whether requests will be answered", "Ready"),
        ("/healthz", "health", "Both, and what is served, for people", "Health"),
    ):
        answers = {"200": _json("Yes.", schema), "503": _json("No.", schema)}
        paths[path] = {"get": _operation(facts, name, "health", summary, f"$ADDRESS{path}", answers)}
    if facts.has_metrics:
        text = {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
        summary = "Metrics for Prometheus"
        get = _operation(facts, "metrics", "health", summary, "$ADDRESS/metrics", {"200": text})
        paths["/metrics"] = {"get": get}
    return paths
