from pathlib import Path

import pytest

from oodtune.config import DataConfig
from oodtune.data.sources import Listing, list_images
from oodtune.errors import DataError


def make_root(tmp_path: Path, *files: str) -> Path:
    """Write files whose content is their own name."""
    root = tmp_path / "root"
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def listing(root: Path, limit: int | None = None, exclude: Path | None = None) -> Listing:
    config = DataConfig(source="folder", root=root, limit_per_cell=limit, exclude=exclude)
    return list_images(config, root.parent / "nothing is drawn", root.parent / "downloads")


def ids(found: Listing) -> list[str]:
    return [image.id for image in found.images]


def test_images_are_listed_where_they_lie_under_their_own_names(tmp_path: Path) -> None:
    names = ["photo/dog/a b.JPG", "sketch/dog/1.png", "sketch/guinea pig/2.webp"]
    root = make_root(tmp_path, *names)
    assert [(image.id, image.path) for image in listing(root).images] == [(name, root / name) for name in names]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_origins_are_sorted_by_domain_and_hold_no_path(tmp_path: Path) -> None:
    root = make_root(tmp_path, "sketch/dog/1.png", "art/dog/1.png")
    origins = listing(root).origins
    assert [origin.domain for origin in origins] == ["art", "sketch"]
    assert all(str(tmp_path) not in origin.model_dump_json() for origin in origins)


def test_what_operating_systems_leave_behind_is_no_image(tmp_path: Path) -> None:
    junk = (".git/config", "README.txt", "art/.DS_Store", "art/dog/Thumbs.db", "art/dog/._1.png")
    root = make_root(tmp_path, "art/dog/1.png", *junk)
    assert ids(listing(root)) == ["art/dog/1.png"]


def test_the_limit_holds_for_each_class_of_each_domain(tmp_path: Path) -> None:
    names = [f"{domain}/{kind}/{number}.png" for domain in "ab" for kind in "xyz" for number in range(5)]
    found = listing(make_root(tmp_path, *names), limit=2)
    cells = sorted(name.rsplit("/", 1)[0] for name in ids(found))
    assert cells == sorted(f"{domain}/{kind}" for domain in "ab" for kind in "xyz" for _ in range(2))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), r"root: expected a folder of domains, found nothing; lay images out as"),
        (("1.png",), "expected a folder for each domain, found none"),
        (
            ("art-painting/dog/1.png",),
            "found 'art-painting'; rename it, for example to 'art_painting'",
        ),
        (("art/1.png",), r"art/1\.png: expected the folder of a class"),
        (("art/dog/more/1.png",), "art/dog/more: expected an image, found something else"),
        (("art/.hidden", "sketch/dog/1.png"), "art: expected images, found none"),
    ],
    ids=["no root", "no domains", "domain name", "no classes", "too deep", "no images"],
)
def test_a_wrong_layout_is_named(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    root = make_root(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        listing(root)


def test_excluded_images_are_left_out_before_the_limit_is_applied(tmp_path: Path) -> None:
    root = make_root(tmp_path, *(f"{domain}/x/{number}.png" for domain in "ab" for number in range(4)))
    (tmp_path / "duplicates.txt").write_text("a/x/1.png\n\na/x/2.png\nc/x/1.png\n", encoding="utf-8")
    names = ids(listing(root, limit=3, exclude=tmp_path / "duplicates.txt"))
    assert {name for name in names if name.startswith("a/")} == {"a/x/0.png", "a/x/3.png"}
    assert len([name for name in names if name.startswith("b/")]) == 3


@pytest.mark.parametrize("text", [None, "", "images/a/x/1.png\n"])
def test_a_list_that_excludes_nothing_is_refused(tmp_path: Path, text: str | None) -> None:
    root = make_root(tmp_path, "a/x/1.png", "b/x/1.png")
    if text is not None:
        (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.exclude"):
        listing(root, exclude=tmp_path / "list.txt")
