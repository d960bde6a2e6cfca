"""The list of a dataset's images: `index.csv`, one row an image, sorted by id."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

Split = Literal["in", "out", "test"]
"""in: trained on when its domain is a source. out: never trained on, used for selection. test: neither."""
SPLITS: Final[tuple[Split, ...]] = get_args(Split)


class IndexRow(NamedTuple):
    id: str
    """`<domain>/<class>/<file>`, relative to the dataset's `images`."""
    domain: str
    class_name: str
    split: Split


_HEADER = ("id", "domain", "class", "split")


def write_index(rows: Iterable[IndexRow], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(sorted(rows))


def read_index(path: Path) -> list[IndexRow]:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        assert tuple(next(reader)) == _HEADER
        rows = []
        for image_id, domain, class_name, split in reader:
            assert split in SPLITS
            rows.append(IndexRow(image_id, domain, class_name, SPLITS[SPLITS.index(split)]))
        return rows


def domains_of(rows: Sequence[IndexRow]) -> tuple[str, ...]:
    return tuple(sorted({row.domain for row in rows}))


def classes_of(rows: Sequence[IndexRow]) -> tuple[str, ...]:
    """Return the class names, sorted: a class's label is its place here."""
    return tuple(sorted({row.class_name for row in rows}))
