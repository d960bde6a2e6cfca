"""Networks to one ONNX graph: pixels in, logits and calibrated probabilities out."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from oodtune import __version__
from oodtune.bundle import INPUT, Outputs
from oodtune.errors import UserError
from oodtune.export.domains import DomainDistances, DomainGaussians
from oodtune.export.quiet import quiet

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
    domains: tuple[DomainGaussians, ...]
    """Of every network's features: the training domains."""
    lineage: Mapping[str, str] = field(default_factory=dict)
    """A few strings for those who find the ONNX file without its bundle."""
    averages: Literal["logit", "probability"] = "logit"
    """What is averaged over several networks."""


class Classifier(Protocol):
    """The part of `oodtune.model.network.Network` that is served."""

    def features(self, pixels: Tensor, /) -> Tensor:
        """Return penultimate features (B, D) of pixels (B, 3, S, S), float32 in 0..255."""

    def classify(self, features: Tensor, /) -> Tensor:
        """Return logits (B, K) of penultimate features (B, D)."""


class ServedGraph(nn.Module):
    """One network, or the ensemble of several: the mean of their logits, or of their probabilities."""

    def __init__(self, networks: Sequence[nn.Module], spec: GraphSpec) -> None:
        super().__init__()
        assert len(networks) == len(spec.domains) > 0
        self.networks = nn.ModuleList(networks)
        self.distances = nn.ModuleList(DomainDistances(gaussians) for gaussians in spec.domains)
        self.temperature = spec.temperature
        self.averages = spec.averages

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the fields of `oodtune.bundle.Outputs` for `images` (B, S, S, 3), uint8."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)  # (B, 3, S, S)
        features = [network.features(pixels) for network in self._members()]  # M of (B, D)
        members = torch.stack([one.classify(x) for one, x in zip(self._members(), features, strict=True)])  # (M, B, K)
        distances = torch.stack([one(x) for one, x in zip(self.distances, features, strict=True)])
        logits = members[0] if len(members) == 1 else self._average(members)  # (B, K)
        energy = -torch.logsumexp(members, dim=2).mean(0)  # (B,)
        return logits, torch.softmax(logits / self.temperature, dim=1), energy, distances.mean(0)

    def _members(self) -> Iterable[Classifier]:
        return self.networks  # type: ignore[return-value]

    def _average(self, logits: Tensor) -> Tensor:
        """Return the mean (B, K) of members' logits (M, B, K), or the logarithm of their mean probabilities."""
        if self.averages == "logit":
            return logits.mean(0)
        return torch.logsumexp(torch.log_softmax(logits, dim=2), dim=0) - math.log(len(self.networks))


def export_onnx(networks: Sequence[nn.Module], spec: GraphSpec, path: Path) -> ServedGraph:
    """Write `networks` as one ONNX graph: input `images` (batch, S, S, 3) uint8, outputs those of
    `oodtune.bundle.Outputs`, float32. Several networks become one graph, their ensemble.

    A network is a `Classifier`; it ends on the CPU, in evaluation mode. Returns what was written, for `run_torch` to
    compare. Raises UserError if the model is too large for one file.
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
    return graph


@torch.inference_mode()
def run_torch(graph: ServedGraph, pixels: npt.NDArray[np.uint8]) -> Outputs:
    """Return the outputs of pixels (N, S, S, 3), uint8, by torch."""
    return Outputs(*(output.numpy() for output in graph(torch.from_numpy(pixels))))


def _trace(graph: ServedGraph, spec: GraphSpec) -> onnx.ModelProto:
    example = torch.zeros(2, spec.image_size, spec.image_size, 3, dtype=torch.uint8)
    with quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=list(Outputs._fields),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


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
    num_classes, num_domains = len(spec.classes), len(spec.domains[0].means)
    shapes = {output.name: _shape(output) for output in model.graph.output}
    assert list(shapes) == list(Outputs._fields), shapes
    expected = Outputs([num_classes], [num_classes], [], [num_domains])  # type: ignore[arg-type]
    assert shapes == {name: ["batch", *sizes] for name, sizes in expected._asdict().items()}, shapes


def _shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
