"""What the server says of itself and of its model, whatever the protocol."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any, Final

from oodtune.serve.oip.inference import TensorSpec, input_specs, output_specs
from oodtune.serve.served_model import ServedModel

SERVER_NAME: Final = "oodtune"
EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_configuration")
PLATFORM: Final = "onnxruntime_onnx"


def server_metadata() -> dict[str, Any]:
    return {"name": SERVER_NAME, "version": importlib.metadata.version("oodtune"), "extensions": EXTENSIONS}


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """Return names, datatypes and shapes; -1 is any number of images. A request has one of the two inputs."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": _describe(input_specs(model)),
        "outputs": _describe(output_specs(model)),
        "properties": {
            "digest": model.bundle.digest,
            "variant": model.bundle.variant,
            "preprocess": model.bundle.preprocess.model_dump_json(),
            "encoded": "files such as JPEG or PNG; base64 in JSON",
        },
    }


def model_config(model: ServedModel) -> dict[str, Any]:
    """Return what Triton calls the model's configuration, as far as it has a meaning here."""
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": 0,
        "input": _configure(input_specs(model)),
        "output": _configure(output_specs(model)),
    }


def _describe(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in specs]


def _configure(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    types = {"UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}
    return [{"name": one.name, "data_type": types[one.datatype], "dims": one.shape} for one in specs]
