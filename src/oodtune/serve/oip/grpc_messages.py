"""Between protobuf messages of the Open Inference Protocol and requests and answers in neutral terms."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError

from oodtune.serve.oip.datatypes import raw_bytes
from oodtune.serve.oip.grpc_wire import check_message
from oodtune.serve.oip.inference import (
    Elements,
    InferRequest,
    InputTensor,
    OutputTensor,
    TensorSpec,
    WantedOutput,
)
from oodtune.serve.oip.protocol import message
from oodtune.serve.refusal import RefusedError
from oodtune.serve.served_model import ServedModel

_ModelInferResponse = message("inference.ModelInferResponse")
_ModelMetadataResponse = message("inference.ModelMetadataResponse")


def read_message(raw: bytes, message_class: Any, max_fields: int) -> Any:
    """Return the message in `raw`. Raises RefusedError if it is none of this class, or has too many fields."""
    check_message(raw, message_class.DESCRIPTOR, max_fields)
    try:
        return message_class.FromString(raw)
    except DecodeError:
        error = "expected a whole protobuf message of the method's type, found other bytes"
        raise RefusedError("bad_request", error) from None


def read_infer_request(request: Any) -> InferRequest:
    """Return what a ModelInferRequest asks for. Raises RefusedError if its parts contradict each other."""
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        error = f"raw_input_contents: expected one for each of {len(request.inputs)} inputs, found {len(raw)}"
        raise RefusedError("bad_request", error)
    inputs = [_read_input(one, raw[place] if raw else None) for place, one in enumerate(request.inputs)]
    return InferRequest(
        model_name=request.model_name,
        model_version=request.model_version,
        id=request.id,
        inputs=tuple(inputs),
        outputs=tuple(_read_wanted(one) for one in request.outputs),
        parameters=_read_parameters(request.parameters),
    )


def _read_input(tensor: Any, raw: bytes | None) -> InputTensor:
    if raw is not None and tensor.HasField("contents"):
        raise RefusedError("bad_request", "expected contents or raw_input_contents, found both; send one of them")
    data: bytes | Elements
    if raw is not None:
        data = raw
    elif tensor.datatype == "BYTES":
        data = list(tensor.contents.bytes_contents)
    else:
        data = tensor.contents.uint_contents
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)


def _read_wanted(output: Any) -> WantedOutput:
    classes = _read_parameters(output.parameters).get("classification", 0)
    if isinstance(classes, bool) or not isinstance(classes, int):
        raise RefusedError("bad_request", "classification: expected a whole number of classes, of type int64")
    return WantedOutput(output.name, binary=True, classification=classes)


def _read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: getattr(value, chosen)
        for key, value in parameters.items()
        if (chosen := value.WhichOneof("parameter_choice")) is not None
    }


def write_infer_response(request: InferRequest, model: ServedModel, outputs: list[OutputTensor]) -> Any:
    """Return the ModelInferResponse of `outputs`, each in raw form: some clients read no other."""
    return _ModelInferResponse(
        model_name=model.name,
        model_version=model.version,
        id=request.id,
        outputs=[{"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in outputs],
        raw_output_contents=[raw_bytes(one.data) for one in outputs],
    )


def write_model_metadata(model: ServedModel, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Any:
    """Return the ModelMetadataResponse of a model with these tensors."""
    return _ModelMetadataResponse(
        name=model.name,
        versions=[model.version],
        platform="onnxruntime_onnx",
        inputs=[{"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in inputs],
        outputs=[{"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in outputs],
    )
