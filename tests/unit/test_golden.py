import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from oodtune.bundle import GOLDEN, Outputs, open_bundle
from oodtune.config import PreprocessConfig
from oodtune.errors import ArtifactError
from oodtune.golden import check_golden, draw_golden, pixels_of, write_golden
from tests.unit.tiny_bundle import SIZE, tiny_bundle, tiny_ensemble

PREPROCESS = PreprocessConfig(size=SIZE)


@pytest.fixture(scope="module")
def encoded():
    return draw_golden()


@pytest.fixture
def other(tmp_path):
    """Return a function that writes golden images into a bundle of their own: the tiny one with another golden.npz."""
    bundle = open_bundle(tiny_bundle())
    for name in ("manifest.json", "golden.npz"):
        (tmp_path / name).write_bytes((tiny_bundle() / name).read_bytes())
    return replace(bundle, artifact=replace(bundle.artifact, path=tmp_path))


class Shifted:
    """A session whose logits are `amount` too large, or not finite."""

    def __init__(self, session, amount):
        self._session, self._amount = session, amount

    def run(self, names, feed):
        logits, *rest = self._session.run(names, feed)
        return [logits + np.float32(self._amount), *rest]


def test_the_images_take_every_way_through_the_decoder(encoded):
    images = [Image.open(io.BytesIO(one)) for one in encoded]
    assert {image.format for image in images} == {"JPEG", "PNG", "WEBP", "GIF"}
    assert {image.mode for image in images} >= {"RGB", "L", "RGBA", "CMYK"}
    assert any(image.getexif().get(0x0112) == 6 for image in images)
    assert len({image.size for image in images}) > 2


def test_the_images_are_drawn_alike_every_time_and_are_small(encoded):
    assert draw_golden() == encoded
    assert sum(map(len, encoded)) < 100_000


def test_they_become_different_pixels_of_the_size_of_the_network(encoded):
    pixels = pixels_of(PREPROCESS, encoded)
    assert pixels.shape == (len(encoded), SIZE, SIZE, 3)
    assert len({one.tobytes() for one in pixels}) == len(encoded)


@pytest.mark.parametrize("path", [tiny_bundle, tiny_ensemble])
def test_a_bundle_makes_of_them_what_it_made_at_its_export(path):
    check_golden(open_bundle(path()))


def test_equal_values_give_equal_bytes(encoded, tmp_path):
    bundle = open_bundle(tiny_bundle())
    pixels = pixels_of(PREPROCESS, encoded)
    write_golden(tmp_path / "again.npz", encoded, pixels, {"fp32": bundle.run(pixels)})
    assert (tmp_path / "again.npz").read_bytes() == (tiny_bundle() / GOLDEN).read_bytes()


def test_one_pixel_of_one_level_is_found_out_and_its_file_named(encoded, other):
    pixels = pixels_of(PREPROCESS, encoded)
    outputs = {"fp32": other.run(pixels)}
    pixels[4, 0, 0, 0] ^= 1
    write_golden(other.artifact.path / GOLDEN, encoded, pixels, outputs)
    with pytest.raises(ArtifactError, match=r"golden image 4 \(JPEG, CMYK\) to decode to the pixels"):
        check_golden(other)


@pytest.mark.parametrize("amount", [0.01, np.nan, np.inf])
def test_other_outputs_are_refused_with_their_name(amount, other):
    with pytest.raises(ArtifactError, match=r"expected logits of the golden images within .* with cpu, variant fp32"):
        check_golden(replace(other, session=Shifted(other.session, amount)))


def test_rounding_of_another_machine_is_no_difference(other):
    check_golden(replace(other, session=Shifted(other.session, 1e-5)))


def test_a_variant_has_outputs_of_its_own_and_one_without_is_refused(encoded, other):
    pixels = pixels_of(PREPROCESS, encoded)
    fp32 = other.run(pixels)
    int8 = Outputs(*(values + np.float32(1.0) for values in fp32))
    write_golden(other.artifact.path / GOLDEN, encoded, pixels, {"fp32": fp32, "int8": int8})
    check_golden(other)
    with pytest.raises(ArtifactError, match=r"expected logits .* variant int8"):
        check_golden(replace(other, variant="int8"))
    with pytest.raises(ArtifactError, match="expected 'fp16/logits'"):
        check_golden(replace(other, variant="fp16"))


def test_a_file_that_is_no_archive_of_arrays_is_refused(other):
    (other.artifact.path / GOLDEN).write_bytes(b"not a zip")
    with pytest.raises(ArtifactError, match="golden"):
        check_golden(other)
