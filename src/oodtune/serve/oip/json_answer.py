"""Answers to requests for inference: JSON, and binary tensors behind it where they are wanted."""

import gzip
from typing import Any, Final

import orjson

from oodtune.serve.answers import JSON, Answer
from oodtune.serve.oip.datatypes import raw_bytes
from oodtune.serve.oip.inference import InferRequest, OutputTensor
from oodtune.serve.served_model import ServedModel

HEADER_LENGTH: Final = "inference-header-content-length"
"""The header that says how many bytes of a body are JSON; the rest is binary tensors."""
_LEAST_GZIP_BYTES: Final = 1024
_GZIP_LEVEL: Final = 1


def write_answer(request: InferRequest, model: ServedModel, tensors: list[OutputTensor]) -> Answer:
    """Return the answer of picked outputs. A float32 is written as the shortest number that reads as the same one."""
    blobs: list[bytes] = []
    as_binary = bool(request.parameters.get("binary_data_output", False))
    outputs = [_describe(one, as_binary if one.binary is None else one.binary, blobs) for one in tensors]
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if request.id:
        answer["id"] = request.id
    header = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    if not blobs:
        return Answer(header, JSON)
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return Answer(b"".join([header, *blobs]), headers)


def _describe(tensor: OutputTensor, as_binary: bool, blobs: list[bytes]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
    if as_binary:
        blobs.append(raw_bytes(tensor.data))
        described["parameters"] = {"binary_data_size": len(blobs[-1])}
    elif isinstance(tensor.data, list):
        described["data"] = [element.decode() for element in tensor.data]
    else:
        described["data"] = tensor.data.ravel()
    return described


def compress(answer: Answer, accept_encoding: str) -> Answer:
    """Return `answer` by gzip where that is asked for and worth it."""
    if len(answer.body) < _LEAST_GZIP_BYTES or not _accepts_gzip(accept_encoding):
        return answer
    headers = {**answer.headers, "content-encoding": "gzip", "vary": "accept-encoding"}
    return Answer(gzip.compress(answer.body, _GZIP_LEVEL, mtime=0), headers)


def _accepts_gzip(accept_encoding: str) -> bool:
    for item in accept_encoding.split(","):
        coding, _, weight = item.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False
