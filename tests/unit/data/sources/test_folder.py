from pathlib import Path

import pytest

from oodtune.config import DataConfig
from oodtune.data.sources import write_images
from oodtune.data.sources.origin import Origin
from oodtune.errors import DataError


def make_root(tmp_path: Path, *files: str) -> Path:
    """Write files whose content is their own name."""
    root = tmp_path / "root"
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def copy(root: Path, out: Path, limit: int | None = None) -> list[Origin]:
    config = DataConfig(source="folder", root=root, limit_per_cell=limit)
    return write_images(config, out, out.parent / "downloads")


def files_below(directory: Path) -> dict[str, str]:
    return {path.relative_to(directory).as_posix(): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_images_are_copied_byte_for_byte_under_their_own_names(tmp_path: Path) -> None:
    root = make_root(tmp_path, "photo/dog/a b.JPG", "sketch/dog/1.png", "sketch/guinea pig/2.webp")
    copy(root, tmp_path / "images")
    assert files_below(tmp_path / "images") == files_below(root)


def test_origins_are_sorted_by_domain_and_hold_no_path(tmp_path: Path) -> None:
    root = make_root(tmp_path, "sketch/dog/1.png", "art/dog/1.png")
    origins = copy(root, tmp_path / "images")
    assert [origin.domain for origin in origins] == ["art", "sketch"]
    assert all(str(tmp_path) not in origin.model_dump_json() for origin in origins)


def test_what_operating_systems_leave_behind_is_no_image(tmp_path: Path) -> None:
    junk = (".git/config", "README.txt", "art/.DS_Store", "art/dog/Thumbs.db", "art/dog/._1.png")
    root = make_root(tmp_path, "art/dog/1.png", *junk)
    copy(root, tmp_path / "images")
    assert list(files_below(tmp_path / "images")) == ["art/dog/1.png"]


def test_the_limit_holds_for_each_class_of_each_domain(tmp_path: Path) -> None:
    names = [f"{domain}/{kind}/{number}.png" for domain in "ab" for kind in "xyz" for number in range(5)]
    copy(make_root(tmp_path, *names), tmp_path / "images", limit=2)
    cells = sorted(name.rsplit("/", 1)[0] for name in files_below(tmp_path / "images"))
    assert cells == sorted(f"{domain}/{kind}" for domain in "ab" for kind in "xyz" for _ in range(2))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), r"root: expected a folder of domains, found nothing; lay images out as"),
        (("1.png",), "expected a folder for each domain, found none"),
        (
            ("art-painting/dog/1.png",),
            "found 'art-painting'; rename the folder, for example to 'art_painting'",
        ),
        (("art/1.png",), r"art/1\.png: expected the folder of a class"),
        (("art/dog/more/1.png",), "art/dog/more: expected an image, found something else"),
        (("art/.hidden", "sketch/dog/1.png"), "art: expected images, found none"),
    ],
    ids=["no root", "no domains", "domain name", "no classes", "too deep", "no images"],
)
def test_a_wrong_layout_is_named_before_anything_is_copied(
    files: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    root = make_root(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        copy(root, tmp_path / "images")
    assert not files_below(tmp_path / "images")


def test_excluded_images_are_left_out_before_the_limit_is_applied(tmp_path: Path) -> None:
    root = make_root(tmp_path, *(f"{domain}/x/{number}.png" for domain in "ab" for number in range(4)))
    (tmp_path / "duplicates.txt").write_text("a/x/1.png\n\na/x/2.png\nc/x/1.png\n", encoding="utf-8")
    config = DataConfig(source="folder", root=root, exclude=tmp_path / "duplicates.txt", limit_per_cell=3)
    write_images(config, tmp_path / "images", tmp_path / "downloads")
    names = files_below(tmp_path / "images")
    assert {name for name in names if name.startswith("a/")} == {"a/x/0.png", "a/x/3.png"}
    assert len([name for name in names if name.startswith("b/")]) == 3


@pytest.mark.parametrize("text", [None, "", "images/a/x/1.png\n"])
def test_a_list_that_excludes_nothing_is_refused(tmp_path: Path, text: str | None) -> None:
    root = make_root(tmp_path, "a/x/1.png", "b/x/1.png")
    if text is not None:
        (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    config = DataConfig(source="folder", root=root, exclude=tmp_path / "list.txt")
    with pytest.raises(DataError, match=r"data\.exclude"):
        write_images(config, tmp_path / "images", tmp_path / "downloads")
