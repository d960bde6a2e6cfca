"""Requests for inference in JSON, with or without binary tensors behind it. Numbers never become Python objects."""

import base64
import binascii
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import simdjson

from oodtune.serve.oip.datatypes import Raw
from oodtune.serve.oip.inference import ENCODED, IMAGES, Elements, InferRequest, InputTensor, WantedOutput
from oodtune.serve.refusal import RefusedError

MAX_JSON_BYTES: Final = 4 * 1024 * 1024
"""A parsed document takes up to 40 bytes of memory for each of its own."""
_LARGE_BYTES: Final = 1024 * 1024
"""The memory of larger documents is given back at once, and only one of them is parsed at a time."""
_KNOWN_BYTES: Final = 1024
"""What such a header makes is kept: no more than its numbers, 8 bytes for each of its own."""
_MOST_ITEMS: Final = 16
"""Inputs, outputs or dimensions: no valid request has more."""
_KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    str: "a string",
    simdjson.Array: "an array",
    simdjson.Object: "an object",
}

T = TypeVar("T", bool, int, str, simdjson.Array, simdjson.Object)

_large = threading.Lock()


class _Parsed(NamedTuple):
    """What the JSON says."""

    request: InferRequest
    sizes: tuple[int | None, ...]
    """How many bytes behind the JSON are the data of each input; None: its data is in the JSON."""


class _Kept(threading.local):
    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_kept = _Kept()


def read_request(model_name: str, model_version: str, header: Raw, blob: memoryview) -> InferRequest:
    """Return the request of a JSON `header`; `blob` holds its binary tensors, in order, and is not copied.

    Raises RefusedError, where the header is no such request, or `blob` has another length than it says.
    """
    if len(header) <= _KNOWN_BYTES:
        return _hand_out(_read_known(model_name, model_version, bytes(header)), blob)
    return _hand_out(_read_header(model_name, model_version, header), blob)


@lru_cache(maxsize=64)
def _read_known(model_name: str, model_version: str, header: bytes) -> _Parsed:
    """What clients say in front of binary tensors, they say again and again."""
    return _read_header(model_name, model_version, header)


def _read_header(model_name: str, model_version: str, header: Raw) -> _Parsed:
    if len(header) > MAX_JSON_BYTES:
        message = f"expected at most {MAX_JSON_BYTES} bytes of JSON; send tensors in their binary form"
        raise RefusedError("too_large", message)
    if len(header) > _LARGE_BYTES:
        with _large:
            return _read_apart(simdjson.Parser(), model_name, model_version, header)
    try:
        return _read_apart(_kept.parser, model_name, model_version, header)
    except RefusedError:
        raise
    except Exception:  # a bug: what it holds of the document must not spoil the next one
        _kept.parser = simdjson.Parser()
        raise


def _read_apart(parser: simdjson.Parser, name: str, version: str, header: Raw) -> _Parsed:
    """Read, and let go of all that refers to the parsed document, of which a parser has one only."""
    try:
        return _read(parser, name, version, header)
    except RefusedError as error:
        refusal = error.with_traceback(None)  # its frames hold parts of the document
        refusal.__context__ = None
    raise refusal


def _read(parser: simdjson.Parser, name: str, version: str, header: Raw) -> _Parsed:
    try:
        document = parser.parse(bytes(header))
    except (ValueError, RuntimeError):  # of simdjson; UnicodeDecodeError is a ValueError
        raise _bad("expected valid JSON, less than 1024 deep, in UTF-8") from None
    if not isinstance(document, simdjson.Object):
        raise _bad("expected a JSON object with inputs")
    parameters = _parameters(document, "parameters")
    read = [_read_input(one) for one in _objects(document, "inputs")]
    request = InferRequest(
        model_name=name,
        model_version=version,
        id=_optional(document, "id", str) or "",
        inputs=tuple(tensor for tensor, _ in read),
        outputs=tuple(map(_read_output, _objects(document, "outputs"))),
        parameters={
            key: value
            for key, value in (
                ("timeout", _optional(parameters, "timeout", int)),
                ("binary_data_output", _optional(parameters, "binary_data_output", bool)),
            )
            if value is not None
        },
    )
    return _Parsed(request, tuple(size for _, size in read))


def _hand_out(parsed: _Parsed, blob: memoryview) -> InferRequest:
    """Return the request with the data that is behind its JSON. Raises RefusedError if that is longer or shorter."""
    inputs, at = [], 0
    for tensor, size in zip(parsed.request.inputs, parsed.sizes, strict=True):
        if size is None:
            inputs.append(tensor)
            continue
        if not 0 <= size <= len(blob) - at:
            raise _bad("binary_data_size: expected the size of the tensor's bytes in the body, found fewer of them")
        inputs.append(tensor._replace(data=blob[at : at + size]))
        at += size
    if at < len(blob):
        rest = len(blob) - at
        raise _bad(f"expected the sizes of binary tensors to sum up to the body's, {rest} bytes are left")
    return parsed.request._replace(inputs=tuple(inputs))


def _read_input(tensor: simdjson.Object) -> tuple[InputTensor, int | None]:
    """Return an input, and the size of its data if that is behind the JSON."""
    parameters = _parameters(tensor, "inputs.parameters")
    datatype = _required(tensor, "datatype", str)
    size = _optional(parameters, "binary_data_size", int)
    if size is not None and _has(tensor, "data"):
        raise _bad("expected an input with either data or binary_data_size, found both")
    read = InputTensor(
        name=_required(tensor, "name", str),
        datatype=datatype,
        shape=_read_shape(_required(tensor, "shape", simdjson.Array)),
        data=_read_data(tensor, datatype) if size is None else b"",
    )
    return read, size


def _read_shape(shape: simdjson.Array) -> tuple[int, ...]:
    sizes = tuple(shape) if len(shape) <= _MOST_ITEMS else ()
    if not sizes or any(type(size) is not int for size in sizes):
        raise _bad("shape: expected an array of whole numbers, one for each dimension")
    return sizes  # type: ignore[return-value]


def _read_data(tensor: simdjson.Object, datatype: str) -> Elements:
    data = _required(tensor, "data", simdjson.Array)
    if datatype == "UINT8":
        return _read_numbers(data)
    return [_decode(text) for text in data] if datatype == "BYTES" else []


def _read_numbers(data: simdjson.Array) -> Elements:
    """Return the numbers of an array, flat or nested. Some clients write 7 as 7.0."""
    try:
        return np.frombuffer(data.as_buffer(of_type="u"), np.uint64)
    except (TypeError, ValueError):  # fractions, booleans, strings; negative ones
        pass
    try:
        numbers = np.frombuffer(data.as_buffer(of_type="d"), np.float64)
    except TypeError:
        numbers = np.array([np.nan])
    if not np.isin(numbers, np.arange(256)).all():
        raise _bad(f"{IMAGES}: expected data to be whole numbers from 0 to 255, flat or nested")
    return numbers.astype(np.uint8)


def _decode(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError, binascii.Error):
        raise _bad(f"{ENCODED}: expected data to be a flat array of strings, each a file in base64") from None


def _read_output(wanted: simdjson.Object) -> WantedOutput:
    name, parameters = _required(wanted, "name", str), _parameters(wanted, "outputs.parameters")
    return WantedOutput(
        name=name,
        binary=_optional(parameters, "binary_data", bool),
        classification=_optional(parameters, "classification", int) or 0,
    )


def _objects(document: simdjson.Object, key: str) -> Iterator[simdjson.Object]:
    array = _optional(document, key, simdjson.Array)
    if array is None:
        return
    if len(array) > _MOST_ITEMS:
        raise _bad(f"{key}: expected at most {_MOST_ITEMS} of them")
    for one in array:
        if not isinstance(one, simdjson.Object):
            raise _bad(f"{key}: expected an array of objects")
        yield one


def _parameters(parent: simdjson.Object, path: str) -> simdjson.Object | None:
    parameters = _optional(parent, "parameters", simdjson.Object)
    if parameters is not None and _has(parameters, "shared_memory_region"):
        raise _bad(f"{path}: expected no shared memory, which this server does not have; send tensors in the body")
    return parameters


def _required(parent: simdjson.Object, key: str, kind: type[T]) -> T:
    value = _optional(parent, key, kind)
    if value is None:
        raise _bad(f"{key}: expected {_KINDS[kind]}, found none")
    return value


def _optional(parent: simdjson.Object | None, key: str, kind: type[T]) -> T | None:
    """Return the value of a key; None where there is no such key, or no parent that could have it."""
    value: Any = parent.get(key) if parent is not None and _has(parent, key) else None
    if value is not None and type(value) is not kind:
        raise _bad(f"{key}: expected {_KINDS[kind]}, found something else")
    return value


def _has(parent: simdjson.Object, key: str) -> bool:
    """Tell whether an object has a key. To list a few is a tenth of what it costs simdjson to miss one."""
    return key in (list(parent) if len(parent) <= _MOST_ITEMS else parent)


def _bad(message: str) -> RefusedError:
    return RefusedError("bad_request", message)
