"""A few drawn images in a bundle and what its graph made of them: whoever serves it repeats that first. No torch.

Nothing is taken from the user's images. Each file takes another way through the decoder.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from oodtune.bundle import GOLDEN, Bundle, Outputs
from oodtune.config import PreprocessConfig
from oodtune.errors import ArtifactError, DataError
from oodtune.pixels import Pixels
from oodtune.preprocess import read_pixels

TOLERANCES: Final = {"fp32": 1e-4, "fp16": 0.05, "int8": 0.1}
"""Of a graph's outputs on another machine, in units of their standard deviation where that exceeds 1. Sums in another
order cost float32 its last digits; fp16 and int8 have fewer of them, and int8 kernels saturate on some CPUs."""
_ORIENTATION: Final = 0x0112
_ON_ITS_SIDE: Final = 6


def draw_golden() -> list[bytes]:
    """Return encoded images: equal ones every time, with one version of Pillow."""
    wide, tall, square = _draw((160, 96), 0), _draw((72, 144), 1), _draw((96, 96), 2)
    veiled = square.convert("RGBA")
    veiled.putalpha(Image.linear_gradient("L").resize(square.size))
    exif = Image.Exif()
    exif[_ORIENTATION] = _ON_ITS_SIDE
    return [
        _encode(wide, "JPEG", quality=90),
        _encode(tall, "PNG"),
        _encode(square.convert("L"), "PNG"),
        _encode(veiled, "PNG"),
        _encode(square.convert("CMYK"), "JPEG", quality=90),
        _encode(wide, "JPEG", quality=90, exif=exif),
        _encode(tall, "WEBP", quality=90),
        _encode(square.convert("P", palette=Image.Palette.ADAPTIVE, colors=16), "GIF"),
    ]


def pixels_of(config: PreprocessConfig, encoded: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """Return pixels (N, S, S, 3) of encoded images. Raises DataError if one is not readable here."""
    return np.stack([read_pixels(one, config)[0] for one in encoded])


def write_golden(path: Path, encoded: Sequence[bytes], pixels: Pixels, outputs: Mapping[str, Outputs]) -> None:
    """Write encoded images, the digests of their pixels (N, S, S, 3) and the outputs of each variant (`fp32`, ...).

    Equal values give equal bytes.
    """
    assert len(encoded) == len(pixels)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        f"{variant}/{name}": values for variant, one in outputs.items() for name, values in one._asdict().items()
    }
    arrays["lengths"] = np.asarray([len(one) for one in encoded], np.int64)
    arrays["files"] = np.frombuffer(b"".join(encoded), np.uint8)
    arrays["pixel_sha256"] = np.asarray([_digest(pixels[place : place + 1]) for place in range(len(pixels))])
    np.savez(path, allow_pickle=False, **arrays)


def check_golden(bundle: Bundle) -> None:
    """Decode the golden images of a bundle and predict them, one at a time, as a request would.

    Raises ArtifactError if the pixels are not those of the export, bit for bit, or an output differs by more than
    TOLERANCES: this machine would serve something else than what was evaluated.
    """
    path = bundle.artifact.path / GOLDEN
    arrays = _read(path)
    encoded = _split(arrays["files"].tobytes(), arrays["lengths"].tolist())
    pixels = _decode(bundle, encoded, arrays["pixel_sha256"].tolist())
    found = [bundle.run(pixels[place : place + 1]) for place in range(len(pixels))]
    for name, parts in zip(Outputs._fields, zip(*found, strict=True), strict=True):
        key = f"{bundle.variant}/{name}"
        if key not in arrays:
            raise ArtifactError(f"{path}: expected {key!r}, found {sorted(arrays)}; run `oodtune export` again")
        _check_close(bundle, name, np.concatenate(parts), arrays[key])


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, BadZipFile) as error:
        raise ArtifactError(
            f"{path}: expected golden images, found none ({error}); run `oodtune export` again"
        ) from None


def _decode(bundle: Bundle, encoded: Sequence[bytes], digests: Sequence[str]) -> npt.NDArray[np.uint8]:
    try:
        pixels = pixels_of(bundle.preprocess, encoded)
    except DataError as error:
        raise ArtifactError(
            f"{bundle.artifact.path}: expected to decode the golden images, found that this machine cannot ({error}); "
            "install the locked version of Pillow, with its decoders of JPEG, PNG, WebP and GIF"
        ) from None
    for place, digest in enumerate(digests):
        if _digest(pixels[place : place + 1]) != digest:
            raise ArtifactError(
                f"{bundle.artifact.path}: expected golden image {place} ({_format(encoded[place])}) to decode to the "
                "pixels of the evaluation, found others on this machine; install the version of Pillow that is locked "
                "in requirements/, or export again with this one"
            )
    return pixels


def _check_close(bundle: Bundle, name: str, found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> None:
    if found.shape != expected.shape:
        raise ArtifactError(
            f"{bundle.artifact.path}: expected {name} of shape {expected.shape} for the golden images, found "
            f"{found.shape}; run `oodtune export` again"
        )
    allowed = TOLERANCES[bundle.variant] * max(1.0, float(expected.std()))
    difference = float(np.abs(found.astype(np.float64) - expected).max())
    # Written so that a NaN, which compares as False, is refused.
    if not difference <= allowed:
        raise ArtifactError(
            f"{bundle.artifact.path}: expected {name} of the golden images within {allowed:.3g} of the exported ones, "
            f"found a difference of {difference:.3g} with {bundle.provider}, variant {bundle.variant}; use the locked "
            "version of onnxruntime, another provider or variant, or export again"
        )


def _draw(size: tuple[int, int], seed: int) -> Image.Image:
    """Draw shapes on a gradient with some noise: edges, smooth parts and texture."""
    width, height = size
    generator = np.random.default_rng(seed)
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)[:, None]
    gradient = np.stack(np.broadcast_arrays(across + 0 * down, down + 0 * across, (across + down) / 2), axis=2)
    noise = generator.integers(-12, 13, (height, width, 3))
    image = Image.fromarray(np.clip(gradient + noise, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        left, top = (int(generator.integers(0, side // 2)) for side in size)
        colour = tuple(generator.integers(0, 256, 3).tolist())
        box = (left, top, left + width // 3, top + height // 3)
        (pen.ellipse if generator.random() < 0.5 else pen.rectangle)(box, fill=colour)
    return image


def _encode(image: Image.Image, kind: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def _split(data: bytes, lengths: Sequence[int]) -> list[bytes]:
    ends = np.cumsum(lengths).tolist()
    return [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _format(encoded: bytes) -> str:
    with Image.open(io.BytesIO(encoded)) as image:
        return f"{image.format}, {image.mode}"


def _digest(pixels: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
