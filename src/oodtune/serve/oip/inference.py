"""A request for inference and its answer, whatever the protocol: checks, pixels, and the outputs it wants."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from oodtune.bundle import Floats, Outputs, Pixels
from oodtune.errors import DataError
from oodtune.preprocess import MAX_PIXELS, read_pixels
from oodtune.serve.engine import Load, Seen
from oodtune.serve.oip.datatypes import Raw, unpack_elements
from oodtune.serve.refusal import RefusedError
from oodtune.serve.served_model import ServedModel

IMAGES: Final = "images"
"""Pixels (N, S, S, 3), as `oodtune.preprocess` makes them."""
ENCODED: Final = "encoded"
"""N files: JPEG, PNG, ..."""
MAX_ALL_PIXELS: Final = 8 * MAX_PIXELS
"""Of all encoded images of a request: small files can claim many, and each takes a worker's time."""

OUTPUTS: Final = ("logits", "probabilities", "energy", "domain_distances", "ood_score")
_RANKED: Final = ("logits", "probabilities")
"""Outputs that have a value for every class."""

Elements = npt.NDArray[np.integer[Any]] | Sequence[int] | Sequence[bytes]


@dataclass(frozen=True)
class TensorSpec:
    """What metadata says of a tensor; -1 is any number of images."""

    name: str
    datatype: Literal["UINT8", "FP32", "BYTES"]
    shape: tuple[int, ...]


class InputTensor(NamedTuple):
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Raw | Elements
    """`bytes` and `memoryview` hold the binary form; all else is a flat sequence of elements."""


class WantedOutput(NamedTuple):
    name: str
    binary: bool | None = None
    """Whether it is to be answered in binary form; None: as the request's other outputs."""
    classification: int = 0
    """Answer this many best classes instead; 0: the tensor itself."""


_EVERY_OUTPUT: Final = tuple(map(WantedOutput, OUTPUTS))


class InferRequest(NamedTuple):
    model_name: str
    model_version: str
    """Empty: any."""
    id: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[WantedOutput, ...] = ()
    """None at all: every output."""
    parameters: Mapping[str, Any] = {}


class OutputTensor(NamedTuple):
    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: tuple[int, ...]
    data: Floats | list[bytes]
    """FP32: an array of `shape`; BYTES: flat."""
    binary: bool | None = None
    """As it was wanted."""


def input_specs(model: ServedModel) -> tuple[TensorSpec, ...]:
    """Return the two forms in which images may come; a request has one of them."""
    return _input_specs(model.size)


@cache
def _input_specs(size: int) -> tuple[TensorSpec, ...]:
    return TensorSpec(IMAGES, "UINT8", (-1, size, size, 3)), TensorSpec(ENCODED, "BYTES", (-1,))


def output_specs(model: ServedModel) -> tuple[TensorSpec, ...]:
    """Return what can be asked for, in the order of the default answer."""
    num_classes, num_domains = len(model.bundle.classes), len(model.bundle.domains.domains)
    shapes = ((-1, num_classes), (-1, num_classes), (-1,), (-1, num_domains), (-1,))
    return tuple(TensorSpec(name, "FP32", shape) for name, shape in zip(OUTPUTS, shapes, strict=True))


def prepare(request: InferRequest, model: ServedModel, max_images: int) -> Load:
    """Check all of a request that costs no time, and return what makes its pixels.

    Raises RefusedError that says what was expected; nothing is allocated by what the request claims.
    """
    _check_outputs(request.outputs)
    if len(request.inputs) != 1:
        message = f"expected one input, {IMAGES!r} or {ENCODED!r}, found {len(request.inputs)}; send one of the two"
        raise RefusedError("bad_request", message)
    (tensor,) = request.inputs
    spec = next((one for one in input_specs(model) if one.name == tensor.name), None)
    if spec is None:
        raise RefusedError("bad_request", f"expected an input named {IMAGES!r} or {ENCODED!r}, found another name")
    _check_tensor(tensor, spec, max_images)
    return _load_pixels(tensor) if spec.name == IMAGES else _load_encoded(tensor)


def timeout_s(request: InferRequest) -> float | None:
    """Return how long the request may wait: its parameter `timeout`, in microseconds; None where it sets none."""
    timeout = request.parameters.get("timeout", 0)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 0:
        raise RefusedError("bad_request", "timeout: expected a whole number of microseconds, 0 for the server's own")
    return min(timeout, 2**53) / 1e6 if timeout else None


def pick(request: InferRequest, model: ServedModel, outputs: Outputs) -> list[OutputTensor]:
    """Return the outputs that a request wants, in its order."""
    return [_pick_one(one, model, outputs) for one in request.outputs or _EVERY_OUTPUT]


def _pick_one(wanted: WantedOutput, model: ServedModel, outputs: Outputs) -> OutputTensor:
    if wanted.name == "ood_score":
        values = model.bundle.domains.score([min(row) for row in outputs.domain_distances.tolist()])  # (N,)
    else:
        values = getattr(outputs, wanted.name)
    if not wanted.classification:
        return OutputTensor(wanted.name, "FP32", values.shape, values, wanted.binary)
    top_k = min(wanted.classification, len(model.bundle.classes))
    best = (-values).argsort(axis=1, kind="stable")[:, :top_k]  # (N, top_k); ties by class
    ranked = [
        f"{row[place]!s}:{place}:{model.bundle.classes[place]}".encode()  # str() of a float32 keeps every bit
        for row, places in zip(values, best, strict=True)
        for place in places
    ]
    return OutputTensor(wanted.name, "BYTES", best.shape, ranked, wanted.binary)


def _check_outputs(outputs: Sequence[WantedOutput]) -> None:
    if len(outputs) > len(OUTPUTS) or len({one.name for one in outputs}) != len(outputs):
        raise RefusedError("bad_request", "expected every output once at most, found one of them twice")
    for one in outputs:
        if one.name not in OUTPUTS:
            raise RefusedError("bad_request", f"expected outputs among {list(OUTPUTS)}, found another name")
        if one.classification < 0 or (one.classification and one.name not in _RANKED):
            message = f"classification: expected a whole number of classes, of an output among {list(_RANKED)}"
            raise RefusedError("bad_request", message)


def _check_tensor(tensor: InputTensor, spec: TensorSpec, max_images: int) -> None:
    if tensor.datatype != spec.datatype:
        message = f"{spec.name}: expected datatype {spec.datatype}, found another; send {spec.datatype}"
        raise RefusedError("bad_request", message)
    shape = tensor.shape
    if len(shape) != len(spec.shape) or shape[1:] != spec.shape[1:] or not 1 <= shape[0] <= max_images:
        expected = ", ".join(["N", *map(str, spec.shape[1:])])
        message = f"{spec.name}: expected shape [{expected}], N from 1 to {max_images}, found another"
        raise RefusedError("bad_request", message)
    if spec.datatype == "BYTES" and isinstance(tensor.data, bytes | memoryview):
        return  # its own lengths say how many there are: see unpack_elements
    count = math.prod(shape)  # Python's integers have no overflow, and every dimension is known to be small
    found = tensor.data.nbytes if isinstance(tensor.data, memoryview) else len(tensor.data)
    if found != count:
        raise RefusedError("bad_request", f"{spec.name}: its shape says {count} elements, but {found} came")


def _load_pixels(tensor: InputTensor) -> Load:
    def load(model: ServedModel, seen: Seen) -> Pixels:
        return _pixels(tensor.data).reshape(tensor.shape)

    return load


def _pixels(data: Raw | Elements) -> Pixels:
    """Return elements (n,) as uint8; the binary form is not copied."""
    if isinstance(data, bytes | memoryview):
        return np.frombuffer(data, np.uint8)
    values = np.asarray(data)
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > 255:
        raise RefusedError("bad_request", f"{IMAGES}: expected whole numbers from 0 to 255")
    return values.astype(np.uint8)


def _load_encoded(tensor: InputTensor) -> Load:
    raw = tensor.data
    files = unpack_elements(raw, tensor.shape[0]) if isinstance(raw, bytes | memoryview) else raw

    def load(model: ServedModel, seen: Seen) -> Pixels:
        all_pixels, sum_pixels = [], 0
        for place, file in enumerate(files):
            assert isinstance(file, bytes)
            try:
                pixels, num_pixels = read_pixels(file, model.bundle.preprocess)
            except DataError as error:
                raise RefusedError("bad_image", f"{ENCODED}, file {place + 1} of {len(files)}: {error}") from None
            seen(num_pixels)
            sum_pixels += num_pixels
            if sum_pixels > MAX_ALL_PIXELS:
                message = f"{ENCODED}: expected at most {MAX_ALL_PIXELS:,} pixels in all images; send fewer at once"
                raise RefusedError("bad_request", message)
            all_pixels.append(pixels)
        return np.stack(all_pixels)  # (N, S, S, 3)

    return load
