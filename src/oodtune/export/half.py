"""A served graph to fp16, for GPUs: its backbone in half precision, the rest as it was.

onnxruntime has a converter, too. It rounds to float16 between all nodes, also between those that it is told to keep,
and domain distances overflow.
"""

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from oodtune.bundle import INPUT
from oodtune.export.parts import copy_facts, find_parts
from oodtune.onnx_runtime import import_onnxruntime
from oodtune.progress import Progress, silent

LARGEST: Final = float(np.finfo(np.float16).max) / 4
"""Nodes that see or make larger values stay in float32: images that nobody has seen yet may double them twice."""
_BATCH: Final = 16
_FLOAT, _HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)


def convert_half(source: Path, images: npt.NDArray[np.uint8], path: Path, progress: Progress = silent) -> None:
    """Write the graph at `source` with a backbone of float16 to `path`. Inputs and outputs are those of `source`.

    What overflows on `images` (N, S, S, 3) stays in float32, and so do normalisation, heads, softmax, energy and
    distances. Equal inputs give equal bytes.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(source), strict_mode=True, data_prop=True)
    graph, parts = model.graph, find_parts(model.graph)
    floats = _float_tensors(graph)
    backbone = [node for node in graph.node if node.name in parts.first | parts.backbone]
    made = sorted({name for node in backbone for name in node.output} & floats)
    large = _large_weights(graph) | _large_tensors(model, made, images, progress)
    halved = {node.name for node in backbone if not large.intersection([*node.input, *node.output])}
    _halve(graph, halved, floats, {opset.domain: opset.version for opset in model.opset_import})
    copy_facts(model, model, "fp16")
    onnx.save(model, path)


def _halve(graph: onnx.GraphProto, halved: Set[str], floats: Set[str], opsets: dict[str, int]) -> None:
    """Compute the nodes `halved` in float16, with casts where values pass between them and others."""
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.name in floats}
    kinds = dict.fromkeys(floats, _FLOAT)
    nodes: list[onnx.NodeProto] = []
    copies: set[str] = set()
    for node in graph.node:
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
        is_half = node.name in halved
        for place, name in enumerate(node.input):
            kind = _HALF if is_half and _takes_half(schema.inputs, place) else _FLOAT
            if kinds.get(name, kind) == kind:
                continue
            node.input[place] = copy = f"{name}_{'half' if kind == _HALF else 'float'}"
            if copy in copies:
                continue
            copies.add(copy)
            if name in weights:
                graph.initializer.append(_halve_tensor(weights[name], copy))
            else:
                nodes.append(helper.make_node("Cast", [name], [copy], f"cast_{copy}", to=kind))
        nodes.append(node)
        if is_half:
            _halve_attributes(node)
            made = [name for place, name in enumerate(node.output) if _takes_half(schema.outputs, place)]
            kinds.update({name: _HALF for name in made if name in floats})
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    _drop_unused(graph)


def _takes_half(formals: Sequence[onnx.defs.OpSchema.FormalParameter], place: int) -> bool:
    """True if an operator may have float16 at this place; the last formal parameter may stand for many."""
    return "tensor(float16)" in formals[min(place, len(formals) - 1)].types


def _halve_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        assert not attribute.HasField("g"), f"{node.name}: control flow"
        if attribute.name in ("to", "dtype") and attribute.i == _FLOAT:
            attribute.i = _HALF
        if attribute.HasField("t") and attribute.t.data_type == _FLOAT:
            attribute.t.CopyFrom(_halve_tensor(attribute.t, attribute.t.name))


def _halve_tensor(tensor: TensorProto, name: str) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _float_tensors(graph: onnx.GraphProto) -> set[str]:
    values = [*graph.value_info, *graph.output]
    made = {value.name for value in values if value.type.tensor_type.elem_type == _FLOAT}
    return made | {tensor.name for tensor in graph.initializer if tensor.data_type == _FLOAT}


def _large_weights(graph: onnx.GraphProto) -> set[str]:
    floats = [tensor for tensor in graph.initializer if tensor.data_type == _FLOAT]
    return {one.name for one in floats if not np.abs(numpy_helper.to_array(one)).max(initial=0.0) <= LARGEST}


def _large_tensors(
    model: onnx.ModelProto, tensors: Sequence[str], images: npt.NDArray[np.uint8], progress: Progress
) -> set[str]:
    """Return those of `tensors` in which some value of some image exceeds LARGEST, or is not finite."""
    session = _open_extremes(model, tensors)
    largest = np.zeros(len(tensors))
    for at in range(0, len(images), _BATCH):
        found = session.run(None, {INPUT: images[at : at + _BATCH]})
        largest = np.maximum(largest, np.stack(found))  # a NaN stays one
        progress(min(at + _BATCH, len(images)), len(images), "images")
    return {name for name, value in zip(tensors, largest, strict=True) if not value <= LARGEST}


def _open_extremes(model: onnx.ModelProto, tensors: Sequence[str]) -> Any:
    """Return a session whose outputs are the largest absolute values of `tensors`, one after the other."""
    onnxruntime = import_onnxruntime()
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for number, name in enumerate(tensors):
        size, extreme = f"size_{number}", f"extreme_{number}"
        probe.graph.node.append(helper.make_node("Abs", [name], [size]))
        probe.graph.node.append(helper.make_node("ReduceMax", [size], [extreme], keepdims=0))
        probe.graph.output.append(helper.make_tensor_value_info(extreme, TensorProto.FLOAT, []))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
