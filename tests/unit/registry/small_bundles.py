"""Bundles of random bytes: what is in them matters to nobody who moves them."""

from pathlib import Path

import numpy as np

from oodtune.artifact import Artifact, create_artifact, open_artifact
from oodtune.registry.objects import Objects
from oodtune.registry.publish import publish_bundle

SEVERAL_PARTS = 9 * 1024 * 1024


def write_bundle(out: Path, seed: int = 0, num_bytes: int = 1000) -> Artifact:
    """Write a bundle whose model.onnx has `num_bytes`, beside a small file, one in a folder and an empty one."""
    generator = np.random.default_rng(seed)
    with create_artifact(out, "bundle") as writer:
        (writer.path / "model.onnx").write_bytes(generator.bytes(num_bytes))
        (writer.path / "labels.json").write_text(f'["cat", "dog {seed}"]')
        (writer.path / "variants").mkdir()
        (writer.path / "variants/int8.onnx").write_bytes(generator.bytes(100))
        (writer.path / "NOTICE").touch()
    return open_artifact(out, "bundle")


def publish_new(objects: Objects, folder: Path, seeds: range) -> list[str]:
    """Publish a bundle of each seed; return the versions."""
    return [publish_bundle(objects, write_bundle(folder / str(seed), seed)) for seed in seeds]


def read_all(folder: Path) -> dict[str, bytes]:
    """Return path -> bytes of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
