import sys
from pathlib import Path

import pytest

from oodtune.config import DataConfig
from oodtune.data.sources.emoji import (
    CLASSES,
    DOMAINS,
    EmojiDomain,
    class_of_names,
    read_origin,
    select_names,
    write_emoji_domains,
)
from oodtune.errors import DataError, UserError
from tests.unit.data.sources.npm_packages import DISC, TinyIcons, make_package

pytest.importorskip("resvg_py")
ICON = {"body": DISC}
FIRST = TinyIcons(
    icons=dict.fromkeys(("ant", "bee", "cat", "tea", "hand", "hand-dark-skin-tone", "white-flag"), ICON),
    categories={
        "Animals & Nature": ["ant", "bee", "cat"],
        "Food & Drink": ["tea"],
        "People & Body": ["hand", "hand-dark-skin-tone"],
        "Flags": ["white-flag"],
    },
)
SECOND = TinyIcons(
    icons=dict.fromkeys(("ant", "tea", "pie", "white-flag", "gear", "extra"), ICON) | {"bee": {**ICON, "hidden": True}},
    categories={
        "Animals Nature": ["tea", "bee"],
        "Food Drink": ["pie"],
        "Objects": ["ant", "gear"],
        "Symbols": ["white-flag"],
        "Extras Openmoji": ["extra"],
    },
    aliases={"ladybug": {"parent": "ant"}},
)


def write(tmp_path: Path, limit: int | None = None) -> dict[str, bytes]:
    """Write the tiny two-domain set; return id -> bytes."""
    downloads_dir, images_dir = tmp_path / "downloads", tmp_path / f"images-{limit}"
    domains = [
        EmojiDomain(name, make_package(f"@tiny/{name}", downloads_dir, icons.members()), "MIT")
        for name, icons in (("first", FIRST), ("second", SECOND))
    ]
    write_emoji_domains(DataConfig(limit_per_cell=limit), images_dir, downloads_dir, domains=domains)
    return {path.relative_to(images_dir).as_posix(): path.read_bytes() for path in images_dir.rglob("*.png")}


def test_an_emoji_has_the_class_of_the_first_package_that_groups_it() -> None:
    classes = class_of_names([{"categories": FIRST.categories}, {"categories": SECOND.categories}])
    assert classes["ant"] == "animals_nature"
    assert classes["tea"] == "food_drink"
    assert classes["pie"] == "food_drink"
    assert classes["white-flag"] == "flags"
    assert "extra" not in classes


def test_flags_skin_tones_hidden_icons_and_aliases_are_left_out(tmp_path: Path) -> None:
    assert sorted(write(tmp_path)) == [
        "first/animals_nature/ant.png",
        "first/animals_nature/bee.png",
        "first/animals_nature/cat.png",
        "first/food_drink/tea.png",
        "first/people_body/hand.png",
        "second/animals_nature/ant.png",
        "second/food_drink/pie.png",
        "second/food_drink/tea.png",
        "second/objects/gear.png",
    ]


def test_a_stone_is_no_skin_tone_and_a_mailbox_with_a_flag_is_no_flag() -> None:
    names = ["gem-stone", "open-mailbox-with-raised-flag"]
    cells = select_names({"icons": dict.fromkeys(names, ICON)}, dict.fromkeys(names, "objects"))
    assert cells["objects"] == names


def test_the_limit_keeps_the_same_bytes_of_fewer_images(tmp_path: Path) -> None:
    everything, limited = write(tmp_path), write(tmp_path, limit=2)
    assert limited.items() <= everything.items()
    assert sum(image_id.startswith("first/animals_nature/") for image_id in limited) == 2


def test_an_origin_names_the_designer_the_licence_and_the_hash(tmp_path: Path) -> None:
    package = make_package("@tiny/first", tmp_path, FIRST.members())
    origin = read_origin(EmojiDomain("first", package, "MIT"), tmp_path / package.filename)
    assert origin.model_dump() == {
        "domain": "first",
        "title": "Tiny",
        "source": "npm @tiny/first",
        "version": "1.0.0",
        "licence": "MIT",
        "author": "A. Painter",
        "url": "https://example.org",
        "integrity": package.integrity,
    }


def test_a_licence_that_changed_is_refused(tmp_path: Path) -> None:
    package = make_package("@tiny/first", tmp_path, FIRST.members())
    with pytest.raises(DataError, match=r"expected the licence Apache-2\.0, found MIT"):
        read_origin(EmojiDomain("first", package, "Apache-2.0"), tmp_path / package.filename)


def test_without_resvg_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UserError, match=r"resvg-py.*pip install 'oodtune\[demo\]'"):
        write(tmp_path)


@pytest.mark.network
def test_the_real_packages_give_four_styles_of_the_same_emoji(tmp_path: Path) -> None:
    listing = write_emoji_domains(DataConfig(limit_per_cell=2), tmp_path / "images", tmp_path / "downloads")
    cells = {image.id.rsplit("/", 1)[0] for image in listing.images}
    assert cells == {f"{domain.domain}/{class_name}" for domain in DOMAINS for class_name in CLASSES}
    assert [origin.licence for origin in listing.origins] == ["Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0", "MIT"]
