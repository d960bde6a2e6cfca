"""What the servers are measured with: a bundle of random weights, an image, and its request in three forms."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from oodtune import bundle, golden
from oodtune.artifact import create_artifact, write_json
from oodtune.config import PreprocessConfig
from oodtune.preprocess import decode_image, preprocess

Payload = Literal["jpeg", "binary", "json"]
PAYLOADS: Final[tuple[Payload, ...]] = ("jpeg", "binary", "json")
CLASSES: Final = tuple(f"class{place}" for place in range(8))
DOMAINS: Final = ("ink", "oil", "wax")
TEMPERATURE: Final = 1.3
_IMAGES: Final = 24
_INFER: Final = "/v2/models/model/infer"


@dataclass(frozen=True)
class Post:
    """One request, which a load generator sends again and again."""

    path: str
    headers: dict[str, str]
    body: bytes


def write_bundle(out: Path, backbone: str, size: int) -> Path:
    """Write a bundle of a network with random weights for images of `size` px, as the export stage does."""
    import torch

    from oodtune.domain_scores import measure_scores
    from oodtune.export.domains import fit_domains
    from oodtune.export.onnx import GraphSpec, export_onnx
    from oodtune.model.network import build_network
    from oodtune.trial import NetworkSpec

    torch.manual_seed(0)
    network = build_network(
        NetworkSpec(backbone=backbone, classes=CLASSES, preprocess=PreprocessConfig(size=size))
    ).eval()
    images = {domain: draw_images(size, seed) for seed, domain in enumerate(DOMAINS)}
    with torch.no_grad():
        features = {
            domain: network.features(torch.from_numpy(drawn).permute(0, 3, 1, 2).float()).numpy()
            for domain, drawn in images.items()
        }
    with create_artifact(out, "bundle") as writer:
        path = writer.path / bundle.model_path()
        path.parent.mkdir(parents=True)
        spec = GraphSpec(TEMPERATURE, size, CLASSES, (fit_domains(features),))
        export_onnx([network], spec, path)
        session, _ = bundle.open_session(path)
        outputs = bundle.run_session(session, np.concatenate(list(images.values())))
        scores = measure_scores(DOMAINS, CLASSES, outputs.probabilities, outputs.energy, outputs.domain_distances)
        config = PreprocessConfig(size=size)
        encoded = golden.draw_golden()
        pixels = golden.pixels_of(config, encoded)
        expected = {"fp32": bundle.run_session(session, pixels)}
        golden.write_golden(writer.path / bundle.GOLDEN, encoded, pixels, expected)
        write_json(writer.path / bundle.DOMAINS, scores.model_dump(mode="json"))
        write_json(writer.path / bundle.PREPROCESS, config.model_dump(mode="json"))
        write_json(writer.path / bundle.LABELS, list(CLASSES))
        write_json(writer.path / bundle.CALIBRATION, {"temperature": TEMPERATURE})
        write_json(writer.path / bundle.LINEAGE, {"winner": {"name": "random"}, "commit": None})
        write_json(writer.path / bundle.PARITY, {})
    return out


def draw_images(size: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return smooth random images (N, S, S, 3): their JPEGs have the size of photographs'."""
    coarse = np.random.default_rng(seed).integers(0, 256, (_IMAGES, size // 8, size // 8, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in coarse])


def draw_jpeg(size: int) -> bytes:
    """Return a JPEG of `size` px: about 4 KB at 96, 15 KB at 224."""
    stream = io.BytesIO()
    Image.fromarray(draw_images(size, 99)[0]).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def make_post(payload: Payload, jpeg: bytes, size: int) -> Post:
    """Return the request that asks for everything about the image."""
    if payload == "jpeg":
        return Post("/v1/classify", {"Content-Type": "image/jpeg"}, jpeg)
    pixels = preprocess(decode_image(jpeg), PreprocessConfig(size=size))[None]  # (1, S, S, 3)
    tensor = {"name": bundle.INPUT, "datatype": "UINT8", "shape": list(pixels.shape)}
    if payload == "json":
        body = json.dumps({"inputs": [{**tensor, "data": pixels.ravel().tolist()}]}).encode()
        return Post(_INFER, {"Content-Type": "application/json"}, body)
    header = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": pixels.nbytes}}]}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
    return Post(_INFER, headers, header + pixels.tobytes())
