import datetime
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from oodtune.config import DataConfig
from oodtune.data.listing import Listing
from oodtune.data.sources import list_images
from oodtune.errors import DataError, UserError

HEADER = "path,label,domain\n"
ROWS = "a/1.png,cat,ink\na/2.png,dog,ink\nb/1.png,cat,oil\n"
FILES = ("a/1.png", "a/2.png", "b/1.png")


def make_files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def list_csv(tmp_path: Path, text: str | bytes, **table: str) -> Listing:
    """List what a CSV in `tmp_path` names."""
    file = tmp_path / "table.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list_table(tmp_path, {"source": "csv", "table": {"file": file, **table}})


def list_parquet(tmp_path: Path, columns: dict[str, object], **table: str) -> Listing:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), file)
    return list_table(tmp_path, {"source": "parquet", "table": {"file": file, **table}})


def list_table(tmp_path: Path, settings: dict[str, object]) -> Listing:
    listing = list_images(DataConfig.model_validate(settings), tmp_path / "work", tmp_path / "downloads")
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "downloads").exists()
    return listing


def ids(listing: Listing) -> list[str]:
    return [image.id for image in listing.images]


def test_images_are_named_by_domain_class_and_path_and_stay_where_they_lie(tmp_path: Path) -> None:
    make_files(tmp_path, *FILES)
    listing = list_csv(tmp_path, HEADER + ROWS)
    assert {image.id: image.path for image in listing.images} == {
        "ink/cat/a__1.png": tmp_path / "a/1.png",
        "ink/dog/a__2.png": tmp_path / "a/2.png",
        "oil/cat/b__1.png": tmp_path / "b/1.png",
    }
    assert [(origin.domain, origin.source) for origin in listing.origins] == [("ink", "csv"), ("oil", "csv")]
    assert all(str(tmp_path) not in origin.model_dump_json() for origin in listing.origins)


def test_csv_and_parquet_of_the_same_rows_are_one_listing_but_for_the_name_of_the_source(tmp_path: Path) -> None:
    make_files(tmp_path, *FILES)
    path, label, domain = zip(*(row.split(",") for row in ROWS.split()), strict=True)
    columns: dict[str, object] = {"path": path, "label": label, "domain": domain}
    assert list_parquet(tmp_path, columns).images == list_csv(tmp_path, HEADER + ROWS).images


def test_the_order_of_rows_and_further_columns_do_not_matter(tmp_path: Path) -> None:
    make_files(tmp_path, *FILES)
    lines = [f"{n},x,{row}" for n, row in enumerate(ROWS.split())]
    other = "\n".join(["note,id,path,label,domain", *reversed(lines)])
    assert list_csv(tmp_path, other) == list_csv(tmp_path, HEADER + ROWS)


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + (HEADER + ROWS).encode(),
        (HEADER + ROWS).replace("\n", "\r\n").encode(),
        (HEADER + ROWS).replace(",", " , ").encode(),
        (HEADER + ROWS).replace("\n", "\n\n").encode(),
        (HEADER + ROWS).replace(",cat,", ',"cat",').encode(),
        (HEADER + ROWS).replace("\n", ",,\n").encode(),
    ],
    ids=["byte order mark", "Windows", "blanks", "empty lines", "quotes", "commas at the end"],
)
def test_the_ways_in_which_programs_write_csv_mean_the_same(tmp_path: Path, text: bytes) -> None:
    make_files(tmp_path, *FILES)
    assert list_csv(tmp_path, text) == list_csv(tmp_path, HEADER + ROWS)


def test_paths_are_relative_to_the_root_if_there_is_one(tmp_path: Path) -> None:
    make_files(tmp_path / "elsewhere", *FILES)
    (tmp_path / "table.csv").write_text(HEADER + ROWS)
    table = {"file": tmp_path / "table.csv"}
    listing = list_table(tmp_path, {"source": "csv", "root": tmp_path / "elsewhere", "table": table})
    assert listing.images[0].path == tmp_path / "elsewhere/a/1.png"


def test_an_absolute_path_inside_the_root_is_named_like_a_relative_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path / "root", *FILES)
    (tmp_path / "table.csv").write_text(HEADER + ROWS.replace("a/", f"{tmp_path}/root/./a/"))
    monkeypatch.chdir(tmp_path)
    listing = list_table(tmp_path, {"source": "csv", "root": "root", "table": {"file": "table.csv"}})
    assert ids(listing) == ["ink/cat/a__1.png", "ink/dog/a__2.png", "oil/cat/b__1.png"]


def test_images_outside_of_the_root_with_equal_names_have_different_ids(tmp_path: Path) -> None:
    make_files(tmp_path, "root/3.png", "x/1.png", "y/1.png", "z/1.png")
    (tmp_path / "table.csv").write_text(
        f"{HEADER}{tmp_path}/x/1.png,cat,ink\n{tmp_path}/y/1.png,cat,ink\n../z/1.png,cat,ink\n3.png,cat,ink\n"
    )
    table = {"file": tmp_path / "table.csv"}
    listing = list_table(tmp_path, {"source": "csv", "root": tmp_path / "root", "table": table})
    *outside, inside = sorted(ids(listing), key=lambda name: name.endswith("/3.png"))
    assert inside == "ink/cat/3.png"
    assert len(set(outside)) == 3
    assert all(name.startswith("ink/cat/1_") and name.endswith(".png") for name in outside)
    assert all(image.path.is_file() for image in listing.images)


def test_a_path_too_long_for_one_name_is_shortened_to_one_that_a_file_can_have(tmp_path: Path) -> None:
    deep = "/".join(["folder" * 10] * 5) + "/1.png"
    make_files(tmp_path, deep)
    (name,) = ids(list_csv(tmp_path, f"{HEADER}{deep},cat,ink\n"))
    assert name.startswith("ink/cat/1_")
    assert name.endswith(".png")


@pytest.mark.parametrize(
    "labels",
    [pa.array([1, 2, 10]), pa.array([1.0, 2.0, 10.0]), pa.array(["1", "2", "10"]).dictionary_encode()],
    ids=["integers", "floats", "categories"],
)
def test_numbers_of_any_type_are_the_same_classes(tmp_path: Path, labels: pa.Array) -> None:
    make_files(tmp_path, *FILES)
    listing = list_parquet(tmp_path, {"path": FILES, "label": labels, "domain": labels})
    assert ids(listing) == ["1/1/a__1.png", "10/10/b__1.png", "2/2/a__2.png"]


def test_whole_numbers_that_a_csv_writes_as_floats_are_whole_numbers(tmp_path: Path) -> None:
    make_files(tmp_path, *FILES)
    listing = list_csv(tmp_path, f"{HEADER}a/1.png,1.0,7.0\na/2.png,2.0,7.0\nb/1.png,1.5,7.0\n")
    assert ids(listing) == ["7/1.0/a__1.png", "7/1.5/b__1.png", "7/2.0/a__2.png"]


def test_groups_are_taken_as_they_are_and_an_empty_one_is_none(tmp_path: Path) -> None:
    make_files(tmp_path, *FILES)
    csv = list_csv(
        tmp_path,
        "path,label,domain,patient\na/1.png,cat,ink,P 1\na/2.png,dog,ink,\nb/1.png,cat,oil,2\n",
        group="patient",
    )
    assert [image.group for image in csv.images] == ["P 1", "", "2"]
    columns = {"path": FILES, "label": ["cat"] * 3, "domain": ["ink"] * 3, "patient": [17.0, None, float("nan")]}
    assert [image.group for image in list_parquet(tmp_path, columns, group="patient").images] == ["17", "", ""]


def test_columns_have_the_names_that_the_settings_give(tmp_path: Path) -> None:
    make_files(tmp_path, *FILES)
    renamed = list_csv(tmp_path, "img,y,site\n" + ROWS, path="img", label="y", domain="site", group="site")
    assert ids(renamed) == ids(list_csv(tmp_path, HEADER + ROWS))
    assert [image.group for image in renamed.images] == ["ink", "ink", "oil"]


def test_equal_rows_are_one_image(tmp_path: Path) -> None:
    make_files(tmp_path, *FILES)
    assert list_csv(tmp_path, HEADER + ROWS + "./a//1.png,cat,ink\n") == list_csv(tmp_path, HEADER + ROWS)


def test_the_limit_holds_for_each_class_of_each_domain_and_the_rest_need_not_be_there(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(12)]
    make_files(tmp_path, *names)
    (tmp_path / "table.csv").write_text(HEADER + "".join(f"{n}.png,c{n % 2},d{n % 3}\n" for n in range(12)))
    settings = {"source": "csv", "limit_per_cell": 2, "table": {"file": tmp_path / "table.csv"}}
    assert len(list_table(tmp_path, settings).images) == 12
    (tmp_path / "table.csv").write_text(HEADER + "".join(f"{n}.png,c{n % 2},d0\n" for n in range(12)))
    images = list_table(tmp_path, settings).images
    assert [image.id.rpartition("/")[0] for image in images] == ["d0/c0"] * 2 + ["d0/c1"] * 2
    for name in set(names) - {image.path.name for image in images}:
        (tmp_path / name).unlink()
    assert list_table(tmp_path, settings).images == images


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected a column 'path', found no columns"),
        (HEADER, "expected a row for each image, found none"),
        ("path;label;domain\na;b;c\n", "expected columns divided by commas, found 'path;label;domain'"),
        ("path\tlabel\tdomain\n", "expected columns divided by commas"),
        ("path,class,domain\n", "expected a column 'label', found 'path', 'class', 'domain'; correct data.table"),
        ("path,label,label,domain\n", "expected a column 'label', found two of that name"),
        ((HEADER + ROWS).encode("utf-16"), "expected text in UTF-8, found another encoding"),
        (HEADER.encode() + b"caf\xe9.png,cat,ink\n", "expected text in UTF-8, found another encoding"),
        (HEADER + 'a/1.png,"cat,ink\n' + ROWS, "expected CSV, found something else"),
        (HEADER + "a,b.png,cat,ink\n", "expected 3 cells in row 2, found 4; put a cell that holds a comma"),
        (HEADER + ROWS + "a/1.png,,ink\na/9.png,,ink\n", r"in column 'label' .* none in rows 5, 6 \(the header is row"),
        (HEADER + ROWS + "\n,cat,ink\n", "in column 'path' of every row, found none in row 6"),
        (HEADER + ROWS + "a/1.png\n", "in column 'label' of every row, found none in row 5"),
        (HEADER + ROWS + "a/1.png,dog,ink\n", r"one row an image, found 'a/1\.png' in rows 2 and 5 \(the header"),
        (HEADER + "a/1.png,ca/t,ink\n", "row 2 .*: expected a class name that can be a folder's.* found 'ca/t'"),
        (HEADER + "a/1.png,.cat,ink\n", "found '.cat'"),
        (HEADER + "a/1.png,c\\t,ink\n", "found 'c"),
        (HEADER + f"a/1.png,{'é' * 128},ink\n", "at most 255 bytes"),
        (HEADER + ROWS + "a/1.png,cat,my ink\n", r"row 5 .*: expected a domain name .* found 'my ink'"),
        (HEADER + ROWS + "a/3.png,cat,ink\nc/1.png,cat,ink\na,cat,ink\n", "6 image files, 3 are not there: .*a, .*a/3"),
        (HEADER + "a/1.png,cat,ink\na__1.png,cat,ink\n", "would both be ink/cat/a__1.png in the dataset"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) and " " in value else "",
)
def test_a_csv_that_cannot_be_used_is_one_line_that_says_why(tmp_path: Path, text: str | bytes, message: str) -> None:
    make_files(tmp_path, *FILES, "a__1.png")
    with pytest.raises(DataError, match=message) as caught:
        list_csv(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": FILES, "domain": ["ink"] * 3}, "expected a column 'label', found 'path', 'domain'"),
        ({"path": [], "label": [], "domain": []}, "expected a row for each image, found none"),
        ({"path": FILES, "label": ["cat", None, "dog"], "domain": ["ink"] * 3}, r"row 1 \(the first is row 0\)"),
        ({"path": FILES, "label": [0.0, 1.0, float("nan")], "domain": ["ink"] * 3}, "found none in row 2"),
        ({"path": FILES, "label": [["cat"]] * 3, "domain": ["ink"] * 3}, "column 'label', found list"),
        ({"path": FILES, "label": [b"\xff"] * 3, "domain": ["ink"] * 3}, "column 'label', found binary"),
        ({"path": FILES, "label": ["cat"] * 3, "domain": [datetime.date(2026, 1, 1)] * 3}, "found '2026-01-01'"),
    ],
    ids=["column", "rows", "null", "NaN", "lists", "bytes", "dates"],
)
def test_a_parquet_file_that_cannot_be_used_is_one_line_that_says_why(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    make_files(tmp_path, *FILES)
    with pytest.raises(DataError, match=message) as caught:
        list_parquet(tmp_path, columns)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("source", ["csv", "parquet"])
@pytest.mark.parametrize("what", ["nothing", "a folder", "zeros", "half of it"])
def test_what_is_not_such_a_file_is_one_line_that_names_it(tmp_path: Path, source: str, what: str) -> None:
    file = tmp_path / "table.data"
    pq.write_table(pa.table({"path": FILES, "label": FILES, "domain": FILES}), file)
    data = file.read_bytes()
    file.unlink()
    if what == "a folder":
        file.mkdir()
    elif what != "nothing":
        file.write_bytes(bytes(1000) if what == "zeros" else data[: len(data) // 2])
    with pytest.raises(DataError, match=r"table\.data: expected") as caught:
        list_table(tmp_path, {"source": source, "table": {"file": file}})
    assert len(str(caught.value).splitlines()) == 1
    assert "None" not in str(caught.value)


def test_damaged_pages_of_a_parquet_file_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    names = [f"{n}.png" for n in range(1000)]
    pq.write_table(pa.table({"path": names, "label": names, "domain": names}), file)
    data = bytearray(file.read_bytes())
    data[4:3000] = bytes(2996)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"table\.parquet: expected") as caught:
        list_table(tmp_path, {"source": "parquet", "table": {"file": file}})
    assert len(str(caught.value).splitlines()) == 1


def test_without_pyarrow_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"expected the package pyarrow, found none; pip install 'oodtune\[data\]'"):
        list_table(tmp_path, {"source": "parquet", "table": {"file": tmp_path / "table.parquet"}})
