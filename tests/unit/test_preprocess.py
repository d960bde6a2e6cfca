import io
import resource
import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from oodtune.config import PreprocessConfig
from oodtune.errors import DataError
from oodtune.preprocess import decode_image, decode_with_facts, preprocess
from tests.unit.hostile_images import COSTLY, HARMLESS, animation, png, zeros


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 60, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_pixels_are_square_uint8_rgb() -> None:
    pixels = preprocess(decode_image(encode(photo())), PreprocessConfig(size=32))
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    image = photo(32, 32)
    assert np.array_equal(preprocess(decode_image(encode(image)), PreprocessConfig(size=32)), np.asarray(image))


def test_a_file_and_its_bytes_give_the_same_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(data := encode(photo(), "JPEG"))
    config = PreprocessConfig(size=32)
    assert np.array_equal(preprocess(decode_image(tmp_path / "a.jpg"), config), preprocess(decode_image(data), config))


def test_transparent_pixels_are_white() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert decode_image(encode(clear)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "RGBA"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    assert decode_image(encode(photo().convert(mode), "TIFF")).mode == "RGB"


def test_an_image_is_turned_upright_by_its_exif_tag() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the right
    assert decode_image(encode(photo(60, 40), "JPEG", exif=exif)).size == (40, 60)


@pytest.mark.parametrize("data", [b"", b"hello", encode(photo())[:200], encode(photo(), "JPEG")[:-200]])
def test_what_is_no_whole_image_is_a_data_error(data: bytes) -> None:
    with pytest.raises(DataError):
        decode_image(data)


@pytest.mark.parametrize("side", [9_000, 30_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    small = encode(photo())
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(DataError, match=f"{side}x{side}|{side * side} pixels"):
        decode_image(bomb)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_images_are_scaled_not_clipped(mode: str) -> None:
    ramp = np.linspace(0, 65535, 256).reshape(16, 16)
    values = {"I;16": ramp.astype(np.uint16), "I": ramp.astype(np.int32), "F": (ramp / 65535).astype(np.float32)}[mode]
    decoded = decode_with_facts(encode(Image.fromarray(values), "TIFF"))
    assert decoded.mode == mode
    assert np.abs(np.asarray(decoded.image)[..., 0] - ramp / 257.0).max() <= 0.51


def test_facts_are_of_the_file_before_it_was_converted() -> None:
    decoded = decode_with_facts(encode(photo().convert("LA")))
    assert (decoded.format, decoded.mode, decoded.transparent, decoded.rotated) == ("PNG", "LA", True, False)
    assert decoded.image.mode == "RGB"


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_reduced_jpeg_has_the_facts_of_the_whole_one(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(900, 600), "JPEG", exif=exif)
    whole, reduced = decode_with_facts(data), decode_with_facts(data, at_least=64)
    assert (reduced.width, reduced.height) == (whole.width, whole.height) == whole.image.size
    assert 64 <= min(reduced.image.size) < min(whole.image.size) / 2
    assert (reduced.rotated, reduced.mode, reduced.format) == (whole.rotated, whole.mode, whole.format)


@pytest.mark.parametrize("cut", [2, 200, 5000])
def test_damage_is_found_in_a_reduced_jpeg_as_well(cut: int) -> None:
    data = encode(photo(900, 600), "JPEG")[:-cut]
    for at_least in (None, 64):
        with pytest.raises(DataError):
            decode_with_facts(data, at_least=at_least)


ANY = ["AVIF", "BMP", "DDS", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP"]


@pytest.mark.parametrize("kind", ANY)
def test_images_of_the_users_own_may_be_in_any_format_that_pillow_reads(kind: str) -> None:
    decoded = decode_with_facts(encode(photo(), kind))
    assert (decoded.image.mode, decoded.width, decoded.height) == ("RGB", 60, 40)


def test_images_of_strangers_may_not() -> None:
    with pytest.raises(DataError, match="expected an image"):
        decode_image(encode(photo(), "PPM"))


def test_what_takes_another_program_is_refused() -> None:
    with pytest.raises(DataError, match="EPS takes another program to read: convert it to PNG"):
        decode_with_facts(encode(photo(), "EPS"))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some kinds of damage
@pytest.mark.parametrize("kind", ANY)
def test_whatever_is_damaged_is_one_line_and_no_other_error(kind: str) -> None:
    random = np.random.default_rng(len(kind))
    whole = encode(photo(), kind)
    for _ in range(60):
        data = bytearray(whole[: random.integers(1, len(whole) + 1)])
        for place in random.integers(0, len(data), 3):
            data[place] = random.integers(0, 256)
        try:
            decode_with_facts(bytes(data), at_least=64)
        except DataError as error:
            assert "\n" not in str(error)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", COSTLY)
def test_what_would_cost_much_is_refused_at_little_cost(name: str) -> None:
    data = COSTLY[name]()
    before_mb, begun_s = peak_mb(), time.process_time()
    with pytest.raises(DataError, match=r"^image: expected"):
        decode_image(data)
    assert time.process_time() - begun_s < 2
    assert peak_mb() < before_mb + 80


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_odd_but_whole_is_served_at_little_cost(name: str) -> None:
    data = HARMLESS[name]()
    before_mb, begun_s = peak_mb(), time.process_time()
    assert preprocess(decode_image(data), PreprocessConfig(size=32)).shape == (32, 32, 3)
    assert time.process_time() - begun_s < 2
    assert peak_mb() < before_mb + 80


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    assert decode_image(animation(kind)).getpixel((8, 8)) == (255, 0, 0)


@pytest.mark.parametrize(("color", "depth", "row"), [(6, 8, 4 * 5000), (0, 16, 2 * 5000)], ids=["RGBA", "16 bits"])
def test_the_largest_images_need_bounded_memory(color: int, depth: int, row: int) -> None:
    data = png(5000, 5000, zeros(5000 * (row + 1)), color=color, depth=depth)
    before_mb = peak_mb()
    assert decode_image(data).size == (5000, 5000)
    assert peak_mb() < before_mb + 260


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "F"])
def test_an_image_that_is_converted_in_bands_is_as_each_of_its_rows(mode: str) -> None:
    random = np.random.default_rng(0)
    made = {"RGBA": np.uint8, "I;16": np.uint16, "F": np.float32}[mode]
    shape = (1200, 1100, 4) if mode == "RGBA" else (1200, 1100)  # 1.3 million pixels: two bands
    values = random.random(shape, np.float32) if mode == "F" else random.integers(0, 256, shape).astype(made)
    if mode == "F":
        values[:, 0] = 1.0
    whole = np.asarray(decode_image(encode(Image.fromarray(values), "TIFF")))
    for row in (0, 908, 909, 910, 1199):
        line = np.asarray(decode_image(encode(Image.fromarray(values[row : row + 1]), "TIFF")))
        assert np.array_equal(whole[row : row + 1], line)


SEEDS = {
    "PNG": encode(photo(30, 20)),
    "JPEG": encode(photo(30, 20), "JPEG"),
    "progressive": encode(photo(30, 20), "JPEG", progressive=True),
    "WEBP": encode(photo(30, 20), "WEBP"),
    "lossless": encode(photo(30, 20), "WEBP", lossless=True),
    "GIF": animation("GIF", 3),
    "TIFF": encode(photo(30, 20), "TIFF", compression="tiff_lzw"),
    "BMP": encode(photo(30, 20), "BMP"),
    "16 bits": encode(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30))),
}


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(sorted(SEEDS)), data=st.data())
def test_mutated_bytes_are_an_image_or_a_data_error(kind: str, data: st.DataObject) -> None:
    found = bytearray(SEEDS[kind])
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(found) - 1))
        change = data.draw(st.binary(max_size=8))
        kept = data.draw(st.sampled_from([0, len(change), 8]))  # put in, written over, cut out
        found[at : at + kept] = change
        found = found or bytearray(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of some damage, Pillow warns
        try:
            pixels = preprocess(decode_image(bytes(found)), PreprocessConfig(size=16))
        except DataError as error:
            assert str(error).startswith("image: expected") and "\n" not in str(error)
        else:
            assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_data_error(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^image: expected"):
        decode_image(data)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}])
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (96, 96), (251, 129)])
def test_a_jpeg_is_decoded_to_the_pixels_of_pillow_bit_for_bit(mode, options, size):
    width, height = size
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG", quality=87, **options)
    with Image.open(io.BytesIO(stream.getvalue())) as expected:
        assert np.array_equal(np.asarray(decode_image(stream.getvalue())), np.asarray(expected.convert("RGB")))


def test_a_jpeg_is_turned_by_its_exif_tag_as_pillow_turns_it():
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8)).save(stream, "JPEG", exif=exif)
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert np.array_equal(np.asarray(decode_image(stream.getvalue())), np.asarray(expected))
