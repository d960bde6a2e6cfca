import io

import numpy as np
import pytest
from PIL import Image

from oodtune.config import PreprocessConfig
from oodtune.jpeg import MAX_SCANS, MAX_SEGMENTS, TooCostlyError, decode_common, read_markers
from oodtune.preprocess import decode_image, preprocess, read_pixels

MANY = 10**6
SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"


def encode(width: int = 60, height: int = 40, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def pillows(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    "options",
    [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"restart_marker_rows": 1}, {"optimize": True}],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (96, 96)])
def test_a_common_jpeg_has_the_pixels_of_pillow(size: tuple[int, int], options: dict[str, object]) -> None:
    data = encode(*size, **options)
    pixels = decode_common(data, MANY)
    assert pixels is not None
    assert np.array_equal(pixels, pillows(data))


@pytest.mark.parametrize(
    "data",
    [
        encode(progressive=True),
        encode(mode="L"),
        encode(mode="CMYK"),
        encode(exif=turned()),
        encode()[:-200],
        encode()[2:],
        b"\xff\xd8\xff",
        encode().replace(b"\xff\xda", SCAN * (MAX_SCANS + 1) + b"\xff\xda"),
        encode(1001, 1000),
    ],
    ids=["progressive", "grey", "CMYK", "turned", "cut off", "no start", "nothing", "many scans", "many pixels"],
)
def test_what_is_not_common_is_left_to_pillow(data: bytes) -> None:
    assert decode_common(data, MANY) is None


def test_colours_that_a_tag_says_are_left_to_pillow() -> None:
    data = encode()
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # transform 0: these are no YCbCr
    tagged = data[:2] + adobe + data[2:]
    assert decode_common(tagged, MANY) is None
    assert np.array_equal(np.asarray(decode_image(tagged)), pillows(tagged))


def test_markers_are_those_of_the_image_itself() -> None:
    plain = [marker for marker in read_markers(encode()) if marker not in (0xDB, 0xC4)]  # tables: as many as there are
    assert plain == [0xE0, 0xC0, 0xDA]
    assert read_markers(encode(progressive=True)).count(0xDA) == 10
    thumbnail = Image.Exif().tobytes() + encode() * 3
    assert read_markers(encode(exif=thumbnail)).count(0xDA) == 1
    assert read_markers(encode() + SCAN * 1000) == read_markers(encode())  # behind its end
    assert read_markers(encode(restart_marker_rows=1)).count(0xDA) == 1


@pytest.mark.parametrize("bare", [b"", b"\xff\x01", b"\xff\x02", b"\xff\xbf", b"\xff\xff"], ids=bytes.hex)
def test_scans_do_not_hide(bare: bytes) -> None:
    whole = encode()
    start = whole.index(b"\xff\xda")
    data = whole[:start] + bare + SCAN * 100 + whole[start:]
    with pytest.raises(TooCostlyError, match=f"at most {MAX_SCANS} scans"):
        read_markers(data)


def test_segments_are_counted_no_further_than_is_allowed() -> None:
    comments = b"\xff\xfe\x00\x02" * MAX_SEGMENTS
    with pytest.raises(TooCostlyError, match=f"at most {MAX_SEGMENTS:,} segments"):
        read_markers(b"\xff\xd8" + comments + encode()[2:])


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe0\xff", b"\xff\xd8\xff\xe0\x00\x00", b"\xff\xd8"]
)
def test_a_file_may_end_anywhere(data: bytes) -> None:
    assert len(read_markers(data)) <= 1


@pytest.mark.parametrize("size", [32, 60])
@pytest.mark.parametrize(
    "data", [encode(32, 32), encode(60, 60), encode(), encode(60, 60, exif=turned()), encode(32, 32, "L")]
)
def test_the_short_way_gives_the_same_pixels_as_the_long(data: bytes, size: int) -> None:
    config = PreprocessConfig(size=size)
    image = decode_image(data)
    pixels, num_pixels = read_pixels(data, config)
    assert np.array_equal(pixels, preprocess(image, config))
    assert (pixels.shape, pixels.dtype, num_pixels) == ((size, size, 3), np.uint8, image.width * image.height)
