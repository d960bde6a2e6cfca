"""The parts of a served graph, found by how its nodes hang together: normalisation, backbone, heads and scores."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import onnx

WEIGHTED: Final = frozenset({"Conv", "Gemm", "MatMul"})
"""Operators that hold nearly all weights and arithmetic of a network."""


@dataclass(frozen=True)
class Parts:
    """Names of nodes. Nothing is in two parts."""

    normalisation: frozenset[str]
    """From the uint8 images to the first weighted operators, without these."""
    first: frozenset[str]
    """The weighted operators that see the images: one for each network."""
    backbone: frozenset[str]
    """From there to penultimate features."""
    rest: frozenset[str]
    """From features to outputs: heads, softmax, energy, distances."""


def find_parts(graph: onnx.GraphProto) -> Parts:
    """Return the parts of the graph; its nodes are in topological order, with unique names.

    What both logits and domain distances are made of is the backbones, with the normalisation before them.
    """
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    before_features = _ancestors(graph, "logits") & _ancestors(graph, "domain_distances")
    untouched, first = _before_weights(graph)
    untouched, first = untouched & before_features, first & before_features
    assert first
    return Parts(
        normalisation=frozenset(untouched),
        first=frozenset(first),
        backbone=frozenset(before_features - untouched - first),
        rest=frozenset(set(names) - before_features),
    )


def copy_facts(source: onnx.ModelProto, model: onnx.ModelProto, precision: str) -> None:
    """Give `model` the metadata of `source`, its `precision`, and no operator set that it has no operators of."""
    facts = {prop.key: prop.value for prop in source.metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**facts, "precision": precision})
    used = {node.domain for node in model.graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)


def _ancestors(graph: onnx.GraphProto, output: str) -> set[str]:
    """Return the names of the nodes that `output` is made of."""
    makers = {made: node for node in graph.node for made in node.output}
    found: set[str] = set()
    waiting = [output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting.extend(node.input)
    return found


def _before_weights(graph: onnx.GraphProto) -> tuple[set[str], set[str]]:
    """Return the nodes that no weighted operator comes before: those that are none, and those that are."""
    weighed: set[str] = set()  # tensors
    untouched: set[str] = set()
    first: set[str] = set()
    for node in graph.node:
        is_after = _any_in(node.input, weighed)
        if is_after or node.op_type in WEIGHTED:
            weighed.update(node.output)
        if not is_after:
            (first if node.op_type in WEIGHTED else untouched).add(node.name)
    return untouched, first


def _any_in(names: Iterable[str], found: set[str]) -> bool:
    return any(name in found for name in names)
