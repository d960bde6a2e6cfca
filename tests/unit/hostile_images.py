"""Small files that would cost a careless reader minutes or gigabytes, and files that are odd but whole."""

import io
import struct
import zlib

from PIL import Image


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes = b"", extra: bytes = b"", color: int = 0, depth: int = 8) -> bytes:
    """A PNG, grey unless `color` says otherwise, that claims a size and holds compressed `rows`."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """`count` compressed zeros."""
    packer, out = zlib.compressobj(1), b""
    while count > 0:
        out += packer.compress(bytes(min(count, 1_000_000)))
        count -= 1_000_000
    return out + packer.flush()


def jpeg(**options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (2000, 2000), 90).save(stream, "JPEG", **options)
    return stream.getvalue()


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    whole = jpeg(progressive=True)
    return whole[:-2] + whole[whole.rfind(b"\xff\xda") : -2] * count + b"\xff\xd9"


def baseline_jpeg_of_scans(count: int) -> bytes:
    """A JPEG of 25 million pixels that is not progressive, of empty scans of one colour each."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "JPEG")
    whole = stream.getvalue()
    size, first = whole.find(b"\xff\xc0") + 5, whole.find(b"\xff\xda")
    head = whole[:size] + struct.pack(">HH", 5000, 5000) + whole[size + 4 : first]
    scans = [b"\xff\xda\0\x08\x01%c%c\0\x3f\0" % (colour, 0x11 if colour > 1 else 0) for colour in (1, 2, 3)]
    return head + b"".join(scans) * (count // 3) + b"\xff\xd9"


def jpeg_with(segments: bytes) -> bytes:
    whole = jpeg()
    return whole[:2] + segments + whole[2:]


def tiff(entries: list[tuple[int, int]], data: bytes = b"", num_next: int = 0) -> bytes:
    """A little-endian TIFF of LONG tags, each one value; tag 324 or 273, if present, is made to point to `data`."""
    size = 2 + 12 * len(entries) + 4
    at = 8 + size * (num_next + 1)
    values = [(tag, at if tag in (273, 324) else value) for tag, value in sorted(entries)]
    page = struct.pack("<H", len(values)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values)
    nexts = [8 + size * place for place in range(1, num_next + 1)] + [0]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(page + struct.pack("<I", place) for place in nexts) + data


def tiff_of_tiles(side: int) -> bytes:
    """A 16 x 16 grey image within one tile of `side` pixels a side."""
    data = zeros(side * side)
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 0, 325: len(data)}
    return tiff(list(tags.items()), data)


def grey_tiff(num_next: int = 0) -> bytes:
    """A whole 16 x 16 grey image, before `num_next` further pages."""
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 16, 279: 256}
    return tiff(list(tags.items()), bytes(range(256)), num_next)


def animation(kind: str, num_frames: int = 20) -> bytes:
    """An animation whose first frame is red."""
    frames = [Image.new("RGB", (16, 16), (255 if place == 0 else 0, place, 0)) for place in range(num_frames)]
    stream = io.BytesIO()
    frames[0].save(
        stream, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    return stream.getvalue()


def webp_of_canvas(side: int) -> bytes:
    data = bytearray(animation("WEBP", 2))
    at = data.find(b"VP8X") + 12
    data[at : at + 6] = struct.pack("<I", side - 1)[:3] * 2
    return bytes(data)


COSTLY = {
    "many pixels": lambda: png(9000, 9000, zeros(9000 * 9001)),
    "very many pixels": lambda: png(30_000, 30_000),
    "a column": lambda: png(1, 25_000_000, zeros(50_000_000)),
    "a row": lambda: png(25_000_000, 1, zeros(25_000_001)),
    "text": lambda: png(4, 4, zeros(20), png_chunk(b"zTXt", b"a\0\0" + zeros(30_000_000))),
    "many texts": lambda: png(4, 4, zeros(20), png_chunk(b"zTXt", b"a\0\0" + zeros(1_000_000)) * 80),
    "colour profile": lambda: png(4, 4, zeros(20), png_chunk(b"iCCP", b"a\0\0" + zeros(30_000_000))),
    "empty chunks": lambda: png(4, 4, b"", png_chunk(b"tEXt", b"a\0b") * 200_000),
    "empty data chunks": lambda: png(4, 4, b"", png_chunk(b"IDAT", b"") * 200_000),
    "scans": lambda: jpeg_of_scans(500),
    "baseline scans": lambda: baseline_jpeg_of_scans(9_000),
    "segments": lambda: jpeg_with(b"\xff\xe1\x00\x03x" * 200_000),
    "fill bytes": lambda: jpeg_with(b"\xff" * 500_000),
    "a tile": lambda: tiff_of_tiles(6_000),
    "a canvas": lambda: webp_of_canvas(16_383),
}
"""Name -> what makes a file that must be refused before it costs anything."""

HARMLESS = {
    "inflated data": lambda: png(4, 4, zeros(30_000_000)),
    "a long profile": lambda: jpeg_with((b"\xff\xe2\xff\xffICC_PROFILE\0\x01\xff" + bytes(65_519)) * 60),
    "many scans": lambda: jpeg_of_scans(20),
    "a video behind it": lambda: jpeg() + b"\xff\xda\0\x08" * 10_000,
    "many pages": lambda: grey_tiff(20_000),
    "random metadata": lambda: jpeg_with(b"\xff\xe1\x01\x02Exif\0\0" + bytes(range(248))),
    "animated GIF": lambda: animation("GIF"),
    "animated WebP": lambda: animation("WEBP"),
    "animated PNG": lambda: animation("PNG"),
}
"""Name -> what makes a file that looks odd and is an image: the first of its frames."""
