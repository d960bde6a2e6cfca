"""JSON Schemas of what is sent and answered."""

from dataclasses import dataclass
from typing import Any, Final

Schema = dict[str, Any]

_STRING: Final[Schema] = {"type": "string"}
_BOOLEAN: Final[Schema] = {"type": "boolean"}
_SHARE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_OUTPUTS: Final = ("logits", "probabilities", "energy", "domain_distances", "ood_score")
_RANKED: Final = ("logits", "probabilities")
_HUNDRED_YEARS_US: Final = 2**53


@dataclass(frozen=True)
class ApiFacts:
    """What the interface of one server depends on."""

    name: str
    """Of the model; `version` is its version."""
    version: str
    size: int
    """Height and width of its images, in pixels."""
    num_classes: int
    num_domains: int
    max_images: int
    """In one request."""
    max_body_bytes: int
    has_token: bool
    """Requests need a bearer token."""
    has_metrics: bool
    """`/metrics` is on this port."""


def ref(name: str) -> Schema:
    """Return the reference to one of `schemas`."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(facts: ApiFacts) -> dict[str, Schema]:
    """Return every schema by its name."""
    return {
        "Error": _closed(error={**_STRING, "description": "What was expected, what came and what to do."}),
        **_classify(facts),
        **_requests(facts),
        **_answers(facts),
        **_metadata(facts),
    }


def _object(optional: tuple[str, ...] = (), **properties: Schema) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _closed(optional: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {**_object(optional, **properties), "additionalProperties": False}


def _array(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    return {"type": "array", "items": items, "minItems": least, **({"maxItems": most} if most is not None else {})}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _classify(facts: ApiFacts) -> dict[str, Schema]:
    answer = _closed(
        model={**_STRING, "description": "sha256 that names every byte of the bundle.", "pattern": "^[0-9a-f]{64}$"},
        model_name=_STRING,
        model_version=_STRING,
        classes={
            **_array(_closed(label=_STRING, probability=_SHARE), 1, facts.num_classes),
            "description": "The most probable classes, best first, with calibrated probabilities.",
        },
        ood=_closed(
            score={**_SHARE, "description": "Share of images of the training domains that are nearer to them."},
            max_score={**_SHARE, "description": "A score above this is out of domain."},
            out_of_domain=_BOOLEAN,
            energy={"type": "number", "description": "Minus the log-sum-exp of the logits; higher is stranger."},
        ),
        domains={
            **_array(_closed(name=_STRING, distance={"type": "number"}), facts.num_domains, facts.num_domains),
            "description": "The training domains and the image's distance to each, nearest first.",
        },
    )
    return {"Classification": answer}


def _requests(facts: ApiFacts) -> dict[str, Schema]:
    count = {"type": "integer", "minimum": 1, "maximum": facts.max_images}
    value = {"type": "integer", "minimum": 0, "maximum": 255}
    parameters = _or_null(_object(("timeout", "binary_data_output"), **_request_parameters()))
    return {
        "InferRequest": _object(
            ("id", "parameters", "outputs"),
            id=_or_null({**_STRING, "description": "Echoed in the answer."}),
            parameters=parameters,
            inputs=_array({"oneOf": [ref("ImagesTensor"), ref("EncodedTensor")]}, 1, 1),
            outputs={
                **_or_null(_array({"oneOf": [ref("RankedOutput"), ref("PlainOutput")]}, 0, len(_OUTPUTS))),
                "description": "The outputs to answer, each once at most; by default all of them.",
            },
        ),
        "ImagesTensor": {
            **_tensor("images", "UINT8", [count, *({"const": size} for size in (facts.size, facts.size, 3))]),
            "description": "RGB pixels, preprocessed as the model's metadata says: N x height x width x channels.",
        }
        | _either_data({"anyOf": [_array(value, 1), _array({"type": "array"}, 1)], "description": "Flat or nested."}),
        "EncodedTensor": {
            **_tensor("encoded", "BYTES", [count]),
            "description": "N files: JPEG, PNG, WebP, BMP, GIF or TIFF.",
        }
        | _either_data(_array({**_STRING, "contentEncoding": "base64"}, 1, facts.max_images)),
        "RankedOutput": _object(
            ("parameters",),
            name={"enum": list(_RANKED)},
            parameters=_or_null(
                _object(
                    ("binary_data", "classification"),
                    binary_data=_or_null(_BOOLEAN),
                    classification=_or_null(
                        {**_COUNT, "description": "Answer this many best classes, as `score:index:label`."}
                    ),
                )
            ),
        ),
        "PlainOutput": _object(
            ("parameters",),
            name={"enum": [name for name in _OUTPUTS if name not in _RANKED]},
            parameters=_or_null(
                _object(
                    ("binary_data", "classification"),
                    binary_data=_or_null(_BOOLEAN),
                    classification={"enum": [0, None]},
                )
            ),
        ),
    }


def _request_parameters() -> dict[str, Schema]:
    microseconds = "Microseconds that the request may wait for a worker; 0: the server's own limit."
    return {
        "timeout": _or_null({**_COUNT, "maximum": _HUNDRED_YEARS_US, "description": microseconds}),
        "binary_data_output": _or_null({**_BOOLEAN, "description": "Answer outputs in binary form."}),
    }


def _tensor(name: str, datatype: str, dimensions: list[Schema]) -> Schema:
    num = len(dimensions)
    shape = {"type": "array", "prefixItems": dimensions, "minItems": num, "maxItems": num}
    return _object(name={"const": name}, datatype={"const": datatype}, shape=shape)


def _either_data(data: Schema) -> Schema:
    """Return what a tensor has beside its name: its data, or their size behind the JSON."""
    size = _object(binary_data_size={**_COUNT, "description": "Bytes of the tensor, behind the JSON."})
    return {
        "oneOf": [
            {"properties": {"data": data}, "required": ["data"]},
            {"properties": {"parameters": size, "data": False}, "required": ["parameters"]},
        ]
    }


def _answers(facts: ApiFacts) -> dict[str, Schema]:
    return {
        "InferAnswer": _object(
            ("id",),
            model_name={"const": facts.name},
            model_version=_STRING,
            id=_STRING,
            outputs=_array(ref("OutputTensor"), 1, len(_OUTPUTS)),
        ),
        "OutputTensor": _object(
            ("data", "parameters"),
            name={"enum": list(_OUTPUTS)},
            datatype={"enum": ["FP32", "BYTES"]},
            shape=_array(_COUNT, 1, 2),
            data=_array({"type": ["number", "string"]}),
            parameters=_object(binary_data_size=_COUNT),
        ),
    }


def _metadata(facts: ApiFacts) -> dict[str, Schema]:
    name: Schema = {"const": facts.name}
    dimensions = _array({"type": "integer", "minimum": -1}, 1)
    spec = _object(name=_STRING, datatype={"enum": ["UINT8", "BYTES", "FP32"]}, shape=dimensions)
    config = _object(name=_STRING, data_type=_STRING, dims=dimensions)
    return {
        "Live": _closed(live=_BOOLEAN),
        "Ready": _closed(ready=_BOOLEAN),
        "ModelReady": _closed(name=name, ready=_BOOLEAN),
        "Health": _object(healthy=_BOOLEAN, workers=_COUNT, workers_expected=_COUNT, model=_or_null(_STRING)),
        "Server": _object(name=_STRING, version=_STRING, extensions=_array(_STRING)),
        "Model": _object(
            ("parameters",),
            name=name,
            versions=_array(_STRING, 1),
            platform=_STRING,
            inputs={**_array(spec, 2, 2), "description": "A request has one of the two; -1 is any number of images."},
            outputs=_array(spec, len(_OUTPUTS), len(_OUTPUTS)),
            parameters={"type": "object"},
        ),
        "ModelConfig": _object(
            name=name,
            platform=_STRING,
            backend=_STRING,
            max_batch_size=_COUNT,
            input=_array(config, 2, 2),
            output=_array(config, len(_OUTPUTS), len(_OUTPUTS)),
        ),
    }
