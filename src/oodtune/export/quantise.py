"""A served graph to int8, for CPUs: weights and activations of its backbone as 8-bit integers.

What was measured, on networks of three families: the head as int8 costs most of the accuracy; the first convolution in
float32 costs no time and saves much; 8-bit weights overflow the 16-bit sums of CPUs without VNNI, 7-bit ones do not;
percentiles instead of extremes gain nothing; in a transformer the residual sums have outliers that 8 bits cannot hold.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from oodtune.bundle import INPUT
from oodtune.export.parts import WEIGHTED, copy_facts, find_parts
from oodtune.export.quiet import quiet
from oodtune.onnx_runtime import import_onnxruntime
from oodtune.pixels import Pixels
from oodtune.progress import Progress, silent

NUM_CALIBRATION: Final = 256
"""Images that set the ranges of activations, over all source domains."""
_BATCH: Final = 16
_SEED: Final = 0
_BETWEEN: Final = ("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "ReduceMean", "Relu")
"""What may stay in int8 between two convolutions."""


def draw_calibration(splits: Mapping[str, Pixels], count: int = NUM_CALIBRATION) -> npt.NDArray[np.uint8]:
    """Return about `count` images (N, S, S, 3) of the in-splits that `splits` maps domains to, as many of each.

    They must be source domains: what a held-out domain looks like is not known where the model is made.
    """
    generator = np.random.default_rng(_SEED)
    share = -(-count // len(splits))
    chosen = [images[np.sort(generator.permutation(len(images))[:share])] for images in splits.values()]
    return np.concatenate(chosen)


def quantise(source: Path, images: npt.NDArray[np.uint8], path: Path, progress: Progress = silent) -> None:
    """Write the graph at `source` as int8 (QDQ) to `path`; images (N, S, S, 3) set the ranges. Equal inputs give
    equal bytes. Inputs and outputs are those of `source`."""
    import_onnxruntime()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with quiet(), tempfile.TemporaryDirectory(prefix="oodtune-int8-") as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)  # constants folded, shapes known
        graph = onnx.load(prepared).graph
        quantize_static(
            prepared,
            path,
            _Reader(images, progress),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_operators(graph),
            nodes_to_exclude=_kept(graph),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True},  # attention multiplies activations: it stays
        )
    model = onnx.load(path)
    copy_facts(onnx.load(source, load_external_data=False), model, "int8")
    onnx.save(model, path)


class _Reader:
    """onnxruntime's CalibrationDataReader: batches of images, then None."""

    def __init__(self, images: npt.NDArray[np.uint8], progress: Progress) -> None:
        assert len(images)
        self._images, self._progress = images, progress
        self._at = 0

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        self._progress(min(self._at, len(self._images)), len(self._images), "calibration images")
        batch = self._images[self._at : self._at + _BATCH]
        self._at += _BATCH
        return {INPUT: batch} if len(batch) else None


def _operators(graph: onnx.GraphProto) -> list[str]:
    is_transformer = any(node.op_type == "LayerNormalization" for node in graph.node)
    return sorted(WEIGHTED) if is_transformer else sorted({*WEIGHTED, *_BETWEEN})


def _kept(graph: onnx.GraphProto) -> list[str]:
    """Return the nodes that stay in float32."""
    parts = find_parts(graph)
    return sorted(parts.normalisation | parts.first | parts.rest)
