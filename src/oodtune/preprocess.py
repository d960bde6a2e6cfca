"""From an encoded image to pixels: the one function that the cache, evaluation and serving share."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from oodtune.config import PreprocessConfig
from oodtune.errors import DataError
from oodtune.jpeg import TooCostlyError, decode_common, is_jpeg, read_markers

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is decoded of strangers: their readers have seen much hostile input."""
_NEED_PROGRAMS: Final = ("EPS", "WMF")
"""Pillow hands these to programs of the machine, if there are any."""
MAX_PIXELS: Final = 25_000_000
"""A 200 KB file can claim 80 million pixels and cost 600 MB; refuse before decoding."""
MAX_SIDE: Final = 65_535
"""Of width and height, as in JPEG: resizing a line of 25 million pixels costs 1 GB and 15 s."""
MAX_READS: Final = 100_000
"""Steps in which a file from the network is read: Python loops over segments, chunks and tags, however small."""
DEEP_MODES: Final = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
"""Pillow's modes of more than 8 bits a channel."""
_ORIENTATION: Final = 0x0112
"""The EXIF tag that says which side is up; 1 is upright."""
_TURNED: Final = range(2, 9)
_ON_ITS_SIDE: Final = range(5, 9)

_TILE_WIDTH, _TILE_LENGTH = 0x0142, 0x0143
"""TIFF tags; a tile is decoded whole, also if the image is a corner of it."""
_BAND_PIXELS: Final = 1_000_000
"""Converted at a time, so that the steps between need little memory."""

_COLOURS: Final = {"RGB": "RGB", "L": "GRAY"}
"""Pillow's mode -> simplejpeg's colour space."""

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

    For images of strangers. Raises DataError if it is not a whole image in one of FORMATS, or has over
    MAX_PIXELS pixels.
    """
    return _to_image(source, decode_common(source, MAX_PIXELS) if isinstance(source, bytes) else None)


def decode_own_image(source: bytes, name: str) -> Image.Image:
    """As `decode_image`, for the user's own images, in any format that Pillow reads by itself; `name` is for messages.

    Raises DataError if it is not a whole image, or has over MAX_PIXELS pixels.
    """
    return _to_image(source, decode_common(source, MAX_PIXELS), name, None)


def decode_with_facts(source: bytes | Path, name: str = "image", at_least: int | None = None) -> Decoded:
    """As `decode_own_image`, with what its file says.

    `name` stands for the bytes in messages. With `at_least`, the image may come reduced, but to no fewer pixels
    a side: a JPEG is then read whole, so that damage is found, and decoded at an eighth to a half of its size,
    which is several times faster. That is for looking at images; pixels to train on are decoded in full.
    """
    return _decode(source, name, None, at_least)


def _decode(source: bytes | Path, name: str, formats: tuple[str, ...] | None, at_least: int | None) -> Decoded:
    name = name if isinstance(source, bytes) else str(source)
    try:
        if isinstance(source, bytes) and is_jpeg(source):
            read_markers(source)
        with Image.open(_Sparing(source) if isinstance(source, bytes) else source, formats=formats) as image:
            _check_cost(image)
            return _load(image, at_least)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS) if formats is not None else "PNG, JPEG, or what else Pillow reads"
        raise DataError(f"{name}: expected an image ({known}), found something else; replace or remove it") from None
    except TooCostlyError as error:
        raise DataError(f"{name}: {error}; scale it down, or save it again") from None
    except Exception as error:  # noqa: BLE001  of a damaged file, Pillow's many readers raise anything
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: expected a whole, readable image; {cause}; replace or remove it") from None


def _check_cost(image: Image.Image) -> None:
    """Raise TooCostlyError if decoding would take much time or memory. Nothing is decoded yet."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise TooCostlyError(f"expected at most {MAX_PIXELS:,} pixels, found {width}x{height}")
    if max(width, height) > MAX_SIDE:
        raise TooCostlyError(f"expected at most {MAX_SIDE:,} pixels a side, found {width}x{height}")
    if isinstance(image, TiffImageFile):
        tile = image.tag_v2.get(_TILE_WIDTH, 1) * image.tag_v2.get(_TILE_LENGTH, 1)
        if tile > MAX_PIXELS:
            raise TooCostlyError(f"expected tiles of at most {MAX_PIXELS:,} pixels, found {tile:,}")


def _load(image: Image.Image, at_least: int | None) -> Decoded:
    width, height = image.size
    if image.format in _NEED_PROGRAMS:
        raise ValueError(f"{image.format} takes another program to read: convert it to PNG")
    image = _read_pixels(image, at_least)
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


def _read_pixels(image: Image.Image, at_least: int | None) -> Image.Image:
    """Return the image with its pixels, decoded by libjpeg-turbo without a detour where it is a common JPEG.

    That gives the pixels of Pillow, bit for bit, and lets other threads run meanwhile. What it refuses, Pillow reads.
    """
    source = getattr(image, "fp", None)
    if image.format == "JPEG" and image.mode in _COLOURS and at_least is None and isinstance(source, _Sparing):
        try:
            if "adobe" not in image.info:  # which may say that the colours are others than usual
                pixels = simplejpeg.decode_jpeg(source.getbuffer(), _COLOURS[image.mode], strict=True)
                decoded = Image.fromarray(pixels[:, :, 0] if image.mode == "L" else pixels)
                decoded.info, decoded.format = image.info, image.format
                return decoded
        except ValueError:
            pass
    if at_least is not None:
        image.draft(None, (at_least, at_least))
    image.load()
    return image


class _Sparing(io.BytesIO):
    """A file in memory that is read in at most MAX_READS steps."""

    _num_reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._num_reads += 1
        if self._num_reads > MAX_READS:
            raise TooCostlyError(f"expected a file that is read in at most {MAX_READS:,} steps, found more")
        return super().read(size)


def preprocess(image: Image.Image, config: PreprocessConfig) -> npt.NDArray[np.uint8]:
    """Return the pixels (S, S, 3) that a network sees of an RGB image, S = `config.size`."""
    size = config.size, config.size
    resized = image if image.size == size else image.resize(size, _RESAMPLING[config.interpolation])
    return np.asarray(resized, dtype=np.uint8)


def read_pixels(source: bytes, config: PreprocessConfig) -> tuple[npt.NDArray[np.uint8], int]:
    """Return what `preprocess` makes of `decode_image`, and how many pixels the file has. Raises DataError.

    The short way for a common JPEG that has the network's size already.
    """
    pixels = decode_common(source, MAX_PIXELS)
    if pixels is not None and pixels.shape[:2] == (config.size, config.size):
        return pixels, config.size**2
    image = _to_image(source, pixels)
    return preprocess(image, config), image.width * image.height


def _to_image(
    source: bytes | Path,
    pixels: npt.NDArray[np.uint8] | None,
    name: str = "image",
    formats: tuple[str, ...] | None = FORMATS,
) -> Image.Image:
    """Return the image of `pixels` (H, W, 3); without them, of a file that is no common JPEG, in one of `formats`."""
    return _decode(source, name, formats, None).image if pixels is None else Image.fromarray(pixels)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in DEEP_MODES:
        return _to_eight_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # a copy costs a tenth of decoding
    return _lay_on_white(image)


def _lay_on_white(image: Image.Image) -> Image.Image:
    width, height = image.size
    result = Image.new("RGB", image.size)
    num_rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, num_rows):
        band = image.crop((0, top, width, min(top + num_rows, height))).convert("RGBA")
        white = Image.new("RGBA", band.size, "white")
        white.alpha_composite(band)
        result.paste(white.convert("RGB"), (0, top))
    return result


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits to 8, and floats of 0..1 to 0..255; Pillow's own conversion would clip them at 255."""
    values = np.asarray(image)  # (H, W)
    if image.mode != "F":
        divisor, factor = 257.0, 1.0  # 65535 becomes 255
    else:
        divisor, factor = 1.0, 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
    result = np.empty(values.shape, np.uint8)
    num_rows = max(1, _BAND_PIXELS // values.shape[1])
    for top in range(0, len(values), num_rows):
        band = values[top : top + num_rows].astype(np.float64) / divisor * factor
        result[top : top + num_rows] = np.clip(np.nan_to_num(band), 0, 255).round()
    return Image.fromarray(result)
