"""Real, tiny bundles for tests: small convolutional networks of three classes on 32 px, exported once."""

import io
import os
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from oodtune.artifact import create_artifact, write_json
from oodtune.locks import lock_file

CLASSES = ("cat", "dog", "tree")
DOMAINS = ("day", "night")
SIZE = 32
TEMPERATURE = 1.7


def tiny_network(seed: int):
    """Return a network with the interface of `oodtune.model.network.Network`, drawn from `seed`."""
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2, padding=1),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(4),
                nn.Flatten(),
            )
            self.dropout = nn.Dropout(0.9)
            self.classify = nn.Linear(8 * 16, len(CLASSES))

        def forward(self, pixels):
            return self.classify(self.dropout(self.features(pixels)))

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    network = Tiny()
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


def domain_images(domain: str, count: int = 24, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Images of a training domain: `day` is bright, `night` dark."""
    shift = {"day": 128, "night": 0}[domain]
    return random_images(count, seed) // 2 + np.uint8(shift)


def tiny_gaussians(network):
    """Fit the training domains to a network's features."""
    import torch

    from oodtune.export.domains import fit_domains

    found = {}
    for domain in DOMAINS:
        pixels = torch.from_numpy(domain_images(domain)).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            found[domain] = network.features(pixels).numpy()
    return fit_domains(found)


def write_bundle(out: Path, seeds: tuple[int, ...] = (0,)) -> Path:
    """Write a bundle of the tiny networks of `seeds`, as the export stage does."""
    from oodtune import bundle, golden
    from oodtune.config import PreprocessConfig
    from oodtune.export.onnx import GraphSpec, export_onnx

    networks = [tiny_network(seed) for seed in seeds]
    preprocess = PreprocessConfig(size=SIZE)
    with create_artifact(out, "bundle") as writer:
        gaussians = tuple(tiny_gaussians(network) for network in networks)
        spec = GraphSpec(TEMPERATURE, SIZE, CLASSES, gaussians, {"model": "tiny"})
        path = writer.path / bundle.model_path()
        path.parent.mkdir(parents=True)
        export_onnx(networks, spec, path)
        session, _ = bundle.open_session(path)
        encoded = golden.draw_golden()
        pixels = golden.pixels_of(preprocess, encoded)
        outputs = {"fp32": bundle.run_session(session, pixels)}
        golden.write_golden(writer.path / bundle.GOLDEN, encoded, pixels, outputs)
        _write_facts(writer.path, session, preprocess)
    return out


def _write_facts(directory: Path, session, preprocess) -> None:
    from oodtune import bundle
    from oodtune.domain_scores import measure_scores
    from oodtune.export.card import Card, render_card
    from oodtune.export.triton import write_repository_entry

    seen = np.concatenate([domain_images(domain, seed=1) for domain in DOMAINS])
    outputs = bundle.run_session(session, seen)
    scores = measure_scores(DOMAINS, CLASSES, outputs.probabilities, outputs.energy, outputs.domain_distances)
    lineage = {"winner": {"name": "tiny"}, "commit": None}
    card = Card(CLASSES, preprocess, TEMPERATURE, scores, lineage, parity={}, variants={})
    write_json(directory / bundle.DOMAINS, scores.model_dump(mode="json"))
    write_json(directory / bundle.PREPROCESS, preprocess.model_dump(mode="json"))
    write_json(directory / bundle.LABELS, list(CLASSES))
    write_json(directory / bundle.CALIBRATION, {"temperature": TEMPERATURE})
    write_json(directory / bundle.LINEAGE, lineage)
    write_json(directory / bundle.PARITY, {})
    (directory / bundle.CARD).write_text(render_card(card), encoding="utf-8")
    write_repository_entry(directory, SIZE, CLASSES, len(DOMAINS))


@cache
def tiny_bundle() -> Path:
    """Return a bundle of one tiny network; tests must not change it."""
    return _write_once("single", seeds=(0,))


@cache
def tiny_ensemble() -> Path:
    """Return a bundle of two tiny networks; tests must not change it."""
    return _write_once("ensemble", seeds=(0, 1))


def _write_once(name: str, seeds: tuple[int, ...]) -> Path:
    """Write a bundle where all processes of this run find it: only one of them exports, and imports torch for it."""
    out = Path(os.environ["OODTUNE_TESTS_SHARED"], name)
    with lock_file(out.with_suffix(".lock"), wait=True):
        return out if out.exists() else write_bundle(out, seeds)
