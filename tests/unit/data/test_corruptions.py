import multiprocessing
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from oodtune.data import corruptions
from oodtune.data.corruptions import COMMON, EXTRA, SEVERITIES, Batch, Images, corrupt, corrupt_all
from oodtune.errors import DataError, UserError

pytestmark = pytest.mark.xdist_group("corruptions")  # glass_blur is compiled when it is first called: seconds

ALL = (*COMMON, *EXTRA)


def draw_images(size: int, num: int = 2) -> Images:
    """Return smooth images (num, size, size, 3), none of them like another."""
    down, across = np.mgrid[:size, :size] / size
    ramps = [np.stack([down, across, (down + across + place / num) % 1.0], -1) for place in range(num)]
    return np.stack([(255.0 * ramp).astype(np.uint8) for ramp in ramps])


def make_batch(corruption: str, severity: int = 3, size: int = 32, num: int = 2) -> Batch:
    return Batch(draw_images(size, num), tuple(f"oil/cat/{place}.png" for place in range(num)), corruption, severity)


def test_the_names_are_those_of_the_package_in_its_order():
    from imagecorruptions import get_corruption_names

    assert list(COMMON) == get_corruption_names("common")
    assert list(EXTRA) == get_corruption_names("validation")


@pytest.mark.parametrize("corruption", ALL)
def test_equal_seeds_give_equal_images_whatever_was_drawn_before(corruption: str):
    batch = make_batch(corruption)
    first = corrupt(batch, seed=7)
    np.random.standard_normal(3)
    assert np.array_equal(corrupt(batch, seed=7), first)


@pytest.mark.parametrize("corruption", ["gaussian_noise", "impulse_noise", "glass_blur", "motion_blur", "frost"])
def test_another_seed_gives_other_images_where_something_is_drawn(corruption: str):
    batch = make_batch(corruption)
    assert not np.array_equal(corrupt(batch, seed=7), corrupt(batch, seed=8))


@pytest.mark.parametrize("size", [32, 45])
@pytest.mark.parametrize("corruption", ALL)
def test_images_of_any_size_keep_their_shape_and_are_changed(
    corruption: str, size: int, capsys: pytest.CaptureFixture[str]
):
    for severity in SEVERITIES:
        batch = make_batch(corruption, severity, size)
        corrupted = corrupt(batch)
        assert corrupted.dtype == np.uint8
        assert corrupted.shape == batch.images.shape
        assert not np.array_equal(corrupted, batch.images)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("corruption", ["gaussian_noise", "impulse_noise", "glass_blur", "frost"])
def test_an_image_is_corrupted_alike_in_every_batch(corruption: str):
    batch = make_batch(corruption, num=3)
    alone = replace(batch, images=batch.images[2:], ids=batch.ids[2:])
    assert np.array_equal(corrupt(alone)[0], corrupt(batch)[2])


def test_equal_images_with_other_ids_get_other_noise():
    batch = make_batch("gaussian_noise")
    first, second = corrupt(replace(batch, images=np.stack([batch.images[0]] * 2)))
    assert not np.array_equal(first, second)


def test_a_higher_severity_takes_an_image_further_away():
    batch = make_batch("gaussian_noise", size=64)
    away = [float(np.abs(corrupt(replace(batch, severity=one)) - batch.images.astype(float)).mean()) for one in (1, 5)]
    assert away[0] < away[1]


def test_the_global_generator_is_left_as_it_was():
    np.random.seed(3)
    expected = np.random.standard_normal(4)
    np.random.seed(3)
    corrupt(make_batch("gaussian_noise"))
    assert np.array_equal(np.random.standard_normal(4), expected)


def test_an_image_on_which_no_drop_falls_stays_as_it_is_and_does_not_turn_black():
    grey = np.full((400, 32, 32, 3), 100, np.uint8)
    corrupted = corrupt(Batch(grey, tuple(map(str, range(400))), "spatter", 1))
    untouched = (corrupted == grey).all(axis=(1, 2, 3))
    assert untouched.any()
    assert not untouched.all()
    assert not (corrupted == 0).all(axis=(1, 2, 3)).any()


def test_processes_make_the_bytes_that_this_one_makes(monkeypatch: pytest.MonkeyPatch):
    batches = [make_batch(name) for name in ("gaussian_noise", "impulse_noise", "frost")]
    here = [corrupt(batch, 5) for batch in batches]
    monkeypatch.setattr(corruptions, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(corruptions, "count_cpus", lambda: 2)
    with corrupt_all(batches, num_images=6, seed=5) as corrupted:
        found = list(corrupted)
    assert [batch for batch, _ in found] == batches
    assert all(np.array_equal(one, other) for (_, one), other in zip(found, here, strict=True))


def test_a_process_that_is_killed_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corruptions, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(corruptions, "count_cpus", lambda: 2)
    many = (make_batch("contrast") for _ in range(200))
    with (
        pytest.raises(UserError, match=r"expected 2 processes to work on 400 images, .*want of memory; free some"),
        corrupt_all(many, num_images=400) as corrupted,
    ):
        for _ in corrupted:
            for process in multiprocessing.active_children():
                process.kill()


def test_batches_are_read_when_their_turn_comes():
    read = []

    def batches():
        for place in range(3):
            read.append(place)
            yield make_batch("contrast")

    with corrupt_all(batches(), num_images=6) as corrupted:
        next(corrupted)
        assert read == [0]


def test_images_of_fewer_than_32_pixels_are_refused():
    with pytest.raises(DataError, match=r"expected images of 32 pixels a side or more, found 28"):
        corruptions.require_size(28)
    corruptions.require_size(32)


def test_without_the_package_the_extra_that_brings_it_is_named():
    code = (
        "import sys; sys.modules['imagecorruptions'] = None\n"
        "from oodtune.data.corruptions import require_library\n"
        "from oodtune.errors import UserError\n"
        "try: require_library()\n"
        "except UserError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'oodtune[corruptions]'" in result.stdout
    assert len(result.stdout.splitlines()) == 1
