"""From an encoded image to pixels: the one function that the cache, evaluation and serving share."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from oodtune.config import PreprocessConfig
from oodtune.errors import DataError

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS: Final = 25_000_000
"""A 200 KB file can claim 80 million pixels and cost 600 MB; refuse before decoding."""
DEEP_MODES: Final = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
"""Pillow's modes of more than 8 bits a channel."""
_ORIENTATION: Final = 0x0112
"""The EXIF tag that says which side is up; 1 is upright."""
_TURNED: Final = range(2, 9)
_ON_ITS_SIDE: Final = range(5, 9)

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Decoded:
    """An image as a network may see it, and what its file said before it was converted."""

    image: Image.Image
    """RGB, upright."""
    width: int
    """In pixels, upright, as the file has it; `image` may be a reduced copy."""
    height: int
    format: str
    """As Pillow names it: `JPEG`, `PNG`, ..."""
    mode: str
    """Pillow's mode before conversion: `L`, `P`, `RGBA`, `CMYK`, `I;16`, ..."""
    transparent: bool
    rotated: bool
    """Its EXIF tag turned or mirrored it."""


def decode_image(source: bytes | Path) -> Image.Image:
    """Decode to RGB: upright by its EXIF tag, transparency laid on white, 16 bits scaled to 8.

    Raises DataError if it is not a whole image of a known format or has over MAX_PIXELS pixels.
    """
    return decode_with_facts(source).image


def decode_with_facts(source: bytes | Path, name: str = "image", at_least: int | None = None) -> Decoded:
    """As `decode_image`; `name` stands for the bytes in messages.

    With `at_least`, the image may come reduced, but to no fewer pixels a side: a JPEG is then read whole, so
    that damage is found, and decoded at an eighth to a half of its size, which is several times faster. That
    is for looking at images; pixels to train on or to predict from are decoded in full.
    """
    name = name if isinstance(source, bytes) else str(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{name}: expected at most {MAX_PIXELS:,} pixels, found {width}x{height}; scale it down"
                )
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            image.load()
            orientation = image.getexif().get(_ORIENTATION, 1)
            if rotated := orientation in _TURNED:
                ImageOps.exif_transpose(image, in_place=True)
            if orientation in _ON_ITS_SIDE:
                width, height = height, width
            return Decoded(
                image=_to_rgb(image),
                width=width,
                height=height,
                format=image.format or "",
                mode=image.mode,
                transparent=image.has_transparency_data,
                rotated=rotated,
            )
    except UnidentifiedImageError:
        raise DataError(
            f"{name}: expected an image ({', '.join(FORMATS)}), found something else; replace or remove it"
        ) from None
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: expected a whole, readable image; {error}; replace or remove it") from None


def preprocess(image: Image.Image, config: PreprocessConfig) -> npt.NDArray[np.uint8]:
    """Return the pixels (S, S, 3) that a network sees of an RGB image, S = `config.size`."""
    resized = image.resize((config.size, config.size), _RESAMPLING[config.interpolation])
    return np.asarray(resized, dtype=np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in DEEP_MODES:
        return _to_eight_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # a copy costs a tenth of decoding
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits to 8, and floats of 0..1 to 0..255; Pillow's own conversion would clip them at 255."""
    values = np.asarray(image, np.float64)
    if image.mode != "F":
        scaled = values / 257.0  # 65535 becomes 255
    elif values.max(initial=0.0) <= 1.0:
        scaled = values * 255.0
    else:
        scaled = values
    return Image.fromarray(np.clip(np.nan_to_num(scaled), 0, 255).round().astype(np.uint8))
