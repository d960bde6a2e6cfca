"""Networks to one ONNX graph: pixels in, logits and calibrated probabilities out."""

import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import onnx
import torch
from torch import Tensor, nn

from oodtune import __version__
from oodtune.errors import UserError

OPSET: Final = 20
MAX_FILE_BYTES: Final = 2**31 - 1
"""Protobuf's limit of one file. Larger models would need external data, which a bundle has not."""


@dataclass(frozen=True)
class GraphSpec:
    """What a served graph is, beside its weights."""

    temperature: float
    """Divides the logits before the softmax; > 0."""
    image_size: int
    """Height and width of the images, in pixels; static, for timm's SAME padding hangs on symbolic sizes."""
    classes: tuple[str, ...]
    lineage: Mapping[str, str] = field(default_factory=dict)
    """A few strings for those who find the ONNX file without its bundle."""
    averages: Literal["logit", "probability"] = "logit"
    """What is averaged over several networks."""


class ServedGraph(nn.Module):
    """One network, or the ensemble of several: the mean of their logits, or of their probabilities."""

    def __init__(self, networks: Sequence[nn.Module], spec: GraphSpec) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.temperature = spec.temperature
        self.averages = spec.averages

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, K) and probabilities (B, K) of `images` (B, S, S, 3), uint8."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)  # (B, 3, S, S)
        members = [network(pixels) for network in self.networks]  # M of (B, K)
        logits = members[0] if len(members) == 1 else self._average(torch.stack(members))  # (B, K)
        return logits, torch.softmax(logits / self.temperature, dim=1)

    def _average(self, logits: Tensor) -> Tensor:
        """Return the mean (B, K) of members' logits (M, B, K), or the logarithm of their mean probabilities."""
        if self.averages == "logit":
            return logits.mean(0)
        return torch.logsumexp(torch.log_softmax(logits, dim=2), dim=0) - math.log(len(self.networks))


def export_onnx(networks: Sequence[nn.Module], spec: GraphSpec, path: Path) -> None:
    """Write `networks` as one ONNX graph: input `images` (batch, S, S, 3) uint8; outputs `logits` and
    `probabilities` (batch, K) float32. Several networks become one graph, their ensemble.

    A network maps pixels (B, 3, S, S), float32 in 0..255, to logits (B, K).
    Raises UserError if the model is too large for one file.
    """
    assert networks
    assert spec.temperature > 0
    graph = ServedGraph(networks, spec).cpu().eval()
    weight_bytes = sum(tensor.nbytes for tensor in graph.state_dict().values())
    if weight_bytes > MAX_FILE_BYTES:
        raise UserError(
            f"{path}: expected at most {MAX_FILE_BYTES:,} bytes of weights in one ONNX file, found "
            f"{weight_bytes:,} in {len(networks)} networks; select a soup or a trial, or a smaller backbone"
        )
    model = _trace(graph, spec)
    _anonymise(model)
    onnx.helper.set_model_props(model, _metadata(spec))
    onnx.save(model, path)
    _check(path, spec)


def _trace(graph: ServedGraph, spec: GraphSpec) -> onnx.ModelProto:
    example = torch.zeros(2, spec.image_size, spec.image_size, 3, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=["logits", "probabilities"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings and log lines, which only its developers can act on, to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _anonymise(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes: every node carries a stack trace with the paths of this machine."""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        for value in graph.value_info:
            del value.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]


def _metadata(spec: GraphSpec) -> dict[str, str]:
    facts = {
        "classes": json.dumps(spec.classes, ensure_ascii=False),
        "oodtune_version": __version__,
        "temperature": repr(spec.temperature),
    }
    assert not facts.keys() & spec.lineage.keys()
    return dict(sorted({**facts, **spec.lineage}.items()))


def _check(path: Path, spec: GraphSpec) -> None:
    """Read the file back: the exporter saves another opset than the one asked for without an exception."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    assert opsets.get("") == OPSET, opsets
    assert _shape(model.graph.input[0]) == ["batch", spec.image_size, spec.image_size, 3]
    for output in model.graph.output:
        assert _shape(output) == ["batch", len(spec.classes)], output.name


def _shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
