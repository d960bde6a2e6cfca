"""Real, tiny bundles for tests: small convolutional networks of three classes on 32 px, exported once."""

import atexit
import io
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from oodtune.artifact import create_artifact, write_json

CLASSES = ("cat", "dog", "tree")
SIZE = 32
TEMPERATURE = 1.7


def tiny_network(seed: int):
    """Return a network with the interface of `oodtune.model.network.Network`, drawn from `seed`."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.9),
        nn.Linear(8 * 16, len(CLASSES)),
    )
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return network.eval()


def torch_logits(network, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Logits (N, K) of images (N, S, S, 3), by torch."""
    import torch

    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        return network(pixels).numpy()


def random_images(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def encode(image: npt.NDArray[np.uint8], kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def write_bundle(out: Path, seeds: tuple[int, ...] = (0,)) -> Path:
    """Write a bundle of the tiny networks of `seeds`, as the export stage does."""
    from oodtune.export.onnx import GraphSpec, export_onnx

    with create_artifact(out, "bundle") as writer:
        spec = GraphSpec(TEMPERATURE, SIZE, CLASSES, {"model": "tiny"})
        export_onnx([tiny_network(seed) for seed in seeds], spec, writer.path / "model.onnx")
        write_json(writer.path / "preprocess.json", {"size": SIZE, "interpolation": "bicubic"})
        write_json(writer.path / "labels.json", list(CLASSES))
        write_json(writer.path / "calibration.json", {"temperature": TEMPERATURE})
        write_json(writer.path / "lineage.json", {"winner": {"name": "tiny"}, "commit": None})
        write_json(writer.path / "parity.json", {})
    return out


@cache
def tiny_bundle() -> Path:
    """Return a bundle of one tiny network; tests must not change it."""
    return write_bundle(_scratch_dir() / "single")


@cache
def tiny_ensemble() -> Path:
    """Return a bundle of two tiny networks; tests must not change it."""
    return write_bundle(_scratch_dir() / "ensemble", seeds=(0, 1))


@cache
def _scratch_dir() -> Path:
    scratch = tempfile.TemporaryDirectory(prefix="oodtune-test-")
    atexit.register(scratch.cleanup)
    return Path(scratch.name)
