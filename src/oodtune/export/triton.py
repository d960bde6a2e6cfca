"""A graph as an entry of a model repository, as Triton and KServe's Triton runtime read it: `<name>/config.pbtxt`.

Format: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from oodtune.bundle import INPUT, repository_name

CONFIG: Final = "config.pbtxt"
LABELS: Final = "labels.txt"
MAX_BATCH: Final = 64
"""Images that the server may put into one run of the graph."""


def write_repository_entry(
    directory: Path, image_size: int, classes: Sequence[str], num_domains: int, variant: str = "fp32"
) -> None:
    """Write what stands beside `<name>/1/model.onnx` in the bundle at `directory`: settings and labels.

    `num_domains` is M, the number of training domains; the graph takes images of `image_size` pixels a side.
    """
    entry = directory / repository_name(variant)
    entry.mkdir(parents=True, exist_ok=True)
    (entry / CONFIG).write_text(render_config(image_size, len(classes), num_domains, variant), encoding="utf-8")
    lines = "".join(f"{' '.join(name.split())}\n" for name in classes)  # one line each, whatever a name holds
    (entry / LABELS).write_text(lines, encoding="utf-8")


def render_config(image_size: int, num_classes: int, num_domains: int, variant: str = "fp32") -> str:
    """Return the `ModelConfig` of a graph as protobuf text."""
    outputs = [
        _output("logits", num_classes, f'label_filename: "{LABELS}"'),
        _output("probabilities", num_classes, f'label_filename: "{LABELS}"'),
        # The graph gives (batch,); Triton wants a dimension beside the batch.
        _output("energy", 1, "reshape { shape: [ ] }"),
        _output("domain_distances", num_domains),
    ]
    joined = ",\n".join(outputs)
    return f"""\
name: "{repository_name(variant)}"
platform: "onnxruntime_onnx"
max_batch_size: {MAX_BATCH}
input [
  {{
    name: "{INPUT}"
    data_type: TYPE_UINT8
    dims: [ {image_size}, {image_size}, 3 ]
  }}
]
output [
{joined}
]
dynamic_batching {{ }}
"""


def _output(name: str, size: int, *more: str) -> str:
    lines = (f'name: "{name}"', "data_type: TYPE_FP32", f"dims: [ {size} ]", *more)
    return "  {\n" + "".join(f"    {line}\n" for line in lines) + "  }"
