"""From an encoded image to pixels: the one function that the cache, evaluation and serving share."""

import io
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

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def decode_image(source: bytes | Path) -> Image.Image:
    """Decode to RGB, upright by its EXIF tag, transparency laid on white.

    Raises DataError if it is not a whole image of a known format or has over MAX_PIXELS pixels.
    """
    name = "image" if isinstance(source, bytes) else str(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{name}: expected at most {MAX_PIXELS:,} pixels, found {width}x{height}; scale it down"
                )
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
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
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")
