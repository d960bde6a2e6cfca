import shutil
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from oodtune.config import ChecksConfig
from oodtune.data.check.examine import refuse
from oodtune.data.check.report import Kind
from oodtune.errors import DataError
from tests.unit.data.check.drawn import COUNT, draw, draw_set, finding, kept, look, sides


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_set(tmp_path / "images")


def test_a_sound_set_is_kept_whole_and_every_kind_was_looked_for(root: Path) -> None:
    verdict = look(root)
    refuse(verdict.report, "")
    assert verdict.report.num_images == verdict.report.num_kept == 4 * COUNT
    assert [one.kind for one in verdict.report.findings if one.count] == []
    assert {one.kind for one in verdict.report.findings} == set(get_args(Kind))
    assert verdict.report.counts == {domain: {"cat": COUNT, "dog": COUNT} for domain in ("ink", "oil")}
    assert verdict.report.widths == (64, 64, 64)


def test_every_kind_has_a_policy() -> None:
    assert set(get_args(Kind)) <= set(ChecksConfig.model_fields)


def test_all_broken_images_are_named_in_one_pass(root: Path) -> None:
    (root / "ink/cat/1.png").write_bytes(b"")
    (root / "ink/dog/2.png").write_text("no image")
    whole = (root / "oil/cat/3.png").read_bytes()
    (root / "oil/cat/3.png").write_bytes(whole[: len(whole) // 2])
    verdict = look(root)
    assert finding(verdict, "unreadable").count == 3
    with pytest.raises(DataError, match=r"images that cannot be read: 3 \(ink/cat/1.*ink/dog/2.*oil/cat/3") as caught:
        refuse(verdict.report, "see check.html")
    assert str(caught.value).endswith("see check.html")
    assert str(root) not in str(caught.value)


def test_broken_images_can_be_dropped_and_are_listed(root: Path) -> None:
    (root / "ink/cat/1.png").write_bytes(b"")
    verdict = look(root, checks={"unreadable": "drop"})
    refuse(verdict.report, "")
    assert finding(verdict, "unreadable").dropped == ("ink/cat/1.png",)
    assert "ink/cat/1.png" not in kept(verdict)
    assert verdict.report.num_images - verdict.report.num_kept == 1


def test_an_image_of_too_many_pixels_is_unreadable(root: Path) -> None:
    Image.new("1", (6000, 6000)).save(root / "ink/cat/1.png")
    assert "found 6000x6000" in finding(look(root), "unreadable").items[0]


@pytest.mark.parametrize(("policy", "classes"), [("error", 2), ("keep", 2), ("drop", 1)])
def test_a_class_that_one_domain_lacks(root: Path, policy: str, classes: int) -> None:
    shutil.rmtree(root / "oil/dog")
    if policy == "drop":
        with pytest.raises(DataError, match=r"found 2 domains.*and 1 classes"):
            look(root, checks={"missing_classes": policy})
        return
    verdict = look(root, checks={"missing_classes": policy})
    assert finding(verdict, "missing_classes").items == ("oil/dog has 0",)
    assert len(verdict.report.classes) == classes
    assert bool(verdict.report.refusals) == (policy == "error")


def test_a_class_can_be_left_out_everywhere_because_one_domain_lacks_it(root: Path) -> None:
    shutil.copytree(root / "ink/dog", root / "ink/eel")
    for path in (root / "ink/eel").iterdir():
        draw(1000 + int(path.stem)).save(path)
    verdict = look(root, checks={"missing_classes": "drop"})
    assert verdict.report.classes == ("cat", "dog")
    assert len(finding(verdict, "missing_classes").dropped) == COUNT


def test_a_cell_of_one_image_is_small_and_trained_on_if_it_is_kept(root: Path) -> None:
    for path in sorted((root / "oil/dog").iterdir())[1:]:
        path.unlink()
    assert finding(look(root), "small_cells").refuses
    verdict = look(root, checks={"small_cells": "keep"})
    refuse(verdict.report, "")
    assert sides(verdict, "oil/dog/0.png") == {"in"}


def test_one_file_under_two_classes_is_a_conflict_and_dropping_leaves_out_all_copies(root: Path) -> None:
    shutil.copyfile(root / "ink/cat/1.png", root / "ink/dog/9.png")
    assert finding(look(root), "label_conflicts").items == ("ink/cat/1.png = ink/dog/9.png",)
    assert finding(look(root), "label_conflicts").refuses
    verdict = look(root, checks={"label_conflicts": "drop"})
    refuse(verdict.report, "")
    assert kept(verdict).isdisjoint({"ink/cat/1.png", "ink/dog/9.png"})


def test_one_file_in_two_domains_is_refused_unless_settings_say_otherwise(root: Path) -> None:
    shutil.copyfile(root / "ink/cat/1.png", root / "oil/cat/9.png")
    assert finding(look(root), "duplicates_across_domains").refuses
    verdict = look(root, checks={"duplicates_across_domains": "drop"})
    refuse(verdict.report, "")
    assert kept(verdict).isdisjoint({"ink/cat/1.png", "oil/cat/9.png"})


@pytest.mark.parametrize("seed", range(6))
def test_copies_within_a_class_never_straddle_and_dropping_keeps_the_first(root: Path, seed: int) -> None:
    shutil.copyfile(root / "ink/cat/1.png", root / "ink/cat/0 copy.png")
    verdict = look(root, split_seed=seed)
    refuse(verdict.report, "")
    assert len(sides(verdict, "ink/cat/1.png", "ink/cat/0 copy.png")) == 1
    dropped = finding(look(root, checks={"duplicates": "drop"}), "duplicates").dropped
    assert dropped == ("ink/cat/1.png",)


@pytest.mark.parametrize("seed", range(6))
def test_kept_label_conflicts_never_straddle_either(root: Path, seed: int) -> None:
    shutil.copyfile(root / "ink/cat/1.png", root / "ink/dog/9.png")
    verdict = look(root, split_seed=seed, checks={"label_conflicts": "keep"})
    assert len(sides(verdict, "ink/cat/1.png", "ink/dog/9.png")) == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_that_was_scaled_and_compressed_is_a_near_duplicate_on_the_same_side(root: Path, seed: int) -> None:
    draw(1).resize((91, 68), Image.Resampling.LANCZOS).save(root / "ink/cat/8.jpg", quality=60)
    verdict = look(root, split_seed=seed)
    assert finding(verdict, "near_duplicates").items == ("ink/cat/1.png = ink/cat/8.jpg",)
    assert len(sides(verdict, "ink/cat/1.png", "ink/cat/8.jpg")) == 1


def test_near_duplicates_across_domains_are_told_apart(root: Path) -> None:
    draw(1).save(root / "oil/cat/8.jpg", quality=60)
    verdict = look(root)
    assert finding(verdict, "near_duplicates").count == 0
    assert finding(verdict, "near_duplicates_across_domains").items == ("ink/cat/1.png = oil/cat/8.jpg",)


def test_near_duplicates_are_not_looked_for_at_a_difference_of_zero(root: Path) -> None:
    draw(1).save(root / "ink/cat/8.jpg", quality=60)
    assert finding(look(root, checks={"near_duplicate_difference": 0.0}), "near_duplicates").count == 0


def test_plain_areas_of_two_colours_are_no_near_duplicates(root: Path) -> None:
    Image.new("RGB", (64, 48), (200, 40, 40)).save(root / "ink/cat/8.png")
    Image.new("RGB", (64, 48), (40, 40, 200)).save(root / "ink/cat/9.png")
    assert finding(look(root), "near_duplicates").count == 0


def test_what_decoding_converts_is_counted(root: Path) -> None:
    draw(50).convert("L").save(root / "ink/cat/grey.png")
    draw(51).convert("RGBA").save(root / "ink/cat/clear.png")
    draw(52).convert("CMYK").save(root / "ink/cat/print.jpg")
    Image.fromarray(_ramp()).save(root / "ink/cat/deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(54).save(root / "ink/cat/turned.jpg", exif=exif)
    draw(55, size=(500, 20)).save(root / "ink/cat/wide.png")
    verdict = look(root)
    refuse(verdict.report, "")
    found = {one.kind: one.items for one in verdict.report.findings if one.count}
    assert found == {
        "greyscale": ("ink/cat/grey.png",),
        "transparency": ("ink/cat/clear.png",),
        "cmyk": ("ink/cat/print.jpg",),
        "deep": ("ink/cat/deep.png",),
        "rotated": ("ink/cat/turned.jpg",),
        "extreme_aspect": ("ink/cat/wide.png (500x20)",),
    }
    assert verdict.report.formats == {"JPEG": 2, "PNG": 4 * COUNT + 4}


def _ramp():  # type: ignore[no-untyped-def]
    import numpy as np

    return np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)


def test_any_of_them_can_be_refused(root: Path) -> None:
    draw(50).convert("L").save(root / "ink/cat/grey.png")
    with pytest.raises(DataError, match=r"greyscale images: 1 \(ink/cat/grey.png\)"):
        refuse(look(root, checks={"greyscale": "error"}).report, "")


@pytest.mark.parametrize("seed", range(4))
def test_groups_never_straddle_over_classes_either(root: Path, seed: int) -> None:
    groups = {f"ink/{name}/{number}.png": f"patient {number % 3}" for name in ("cat", "dog") for number in range(COUNT)}
    verdict = look(root, groups, split_seed=seed, out_fraction=0.3)
    for patient in range(3):
        members = [image_id for image_id, group in groups.items() if group == f"patient {patient}"]
        assert len(sides(verdict, *members)) == 1


def test_a_pattern_names_groups(root: Path) -> None:
    verdict = look(root, group_pattern=r"ink/[a-z]+/([0-9])\.png")
    assert all(len(sides(verdict, f"ink/cat/{n}.png", f"ink/dog/{n}.png")) == 1 for n in range(COUNT))
    with pytest.raises(DataError, match=r"data\.group_pattern: expected a pattern that fits images"):
        look(root, group_pattern="patient")


def test_a_group_in_two_domains_is_found(root: Path) -> None:
    verdict = look(root, {"ink/cat/1.png": "anna", "oil/cat/1.png": "anna", "oil/cat/2.png": "ben"})
    assert finding(verdict, "groups_across_domains").items == ("anna in ink, oil",)


def test_a_cell_of_one_group_is_refused_or_trained_on(root: Path) -> None:
    groups = {f"ink/cat/{number}.png": "one cat" for number in range(COUNT)}
    assert finding(look(root, groups), "undivided_cells").items == (f"ink/cat: its {COUNT} images are one group",)
    verdict = look(root, groups, checks={"undivided_cells": "keep"})
    refuse(verdict.report, "")
    assert sides(verdict, *groups) == {"in"}


def test_a_domain_without_a_usable_image_is_refused_whatever_the_policy(root: Path) -> None:
    for path in (root / "oil").glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"oil: expected images that can be used, found none among its 12 \(oil/cat/0\.png: expected an image",
    ):
        look(root, checks={"unreadable": "drop"})


def test_a_test_split_needs_images_in_every_domain(root: Path) -> None:
    verdict = look(root, test_fraction=0.2)
    assert {(row.domain, row.split) for row in verdict.rows} >= {("ink", "test"), ("oil", "test")}
    for path in (root / "oil").glob("*/[2-9].png"):
        path.unlink()
    with pytest.raises(DataError, match=r"test-split in every domain, found too few in oil"):
        look(root, test_fraction=0.2)
