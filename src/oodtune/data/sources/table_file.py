"""Columns of a CSV or Parquet file as text. One line says what is wrong with a file that cannot be used."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from oodtune.errors import DataError, UserError

_WHOLE_NUMBER = re.compile(r"-?\d+\.0+")
_SHOWN_COLUMNS = 20
_SAVE = "save it as CSV in UTF-8, divided by commas"


@dataclass(frozen=True)
class Columns:
    """Columns of a table: text without surrounding blanks, empty where a value is missing."""

    values: dict[str, list[str]]
    """Column -> a value each row."""
    numbers: Sequence[int]
    """What the user's program calls each row."""
    first: str
    """What that numbering begins with, for messages."""


def read_csv(file: Path, names: Sequence[str]) -> Columns:
    """Return the columns `names` of a CSV with a header; UTF-8, with or without BOM, divided by commas.

    Rows are numbered as a spreadsheet does: the header is row 1. Raises DataError if the file cannot be used.
    """
    values: dict[str, list[str]] = {name: [] for name in names}
    numbers: list[int] = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            # Strict: a quote that is never closed would otherwise swallow the rows after it in silence.
            reader = csv.reader(stream, strict=True, skipinitialspace=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(file, header, names)
            places = [(values[name], header.index(name)) for name in values]
            for number, cells in enumerate(reader, start=2):
                if not any(cells):
                    continue
                _check_width(file, number, cells, header)
                numbers.append(number)
                for column, place in places:
                    column.append(cells[place].strip() if place < len(cells) else "")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected text in UTF-8, found another encoding ({error.reason}); {_SAVE}") from None
    except csv.Error as error:
        raise DataError(f"{file}: expected CSV, found something else ({error}); {_SAVE}") from None
    except OSError as error:
        raise _cannot_open(file, error) from None
    _check_rows(file, numbers)
    return Columns(values, numbers, "the header is row 1")


def read_parquet(file: Path, names: Sequence[str]) -> Columns:
    """Return the columns `names` of a Parquet file; the others are not read. Rows are numbered from 0, as in pandas.

    Raises DataError if the file cannot be used, UserError without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(
            "data.source parquet: expected the package pyarrow, found none; pip install 'oodtune[data]'"
        ) from None
    try:
        with pq.ParquetFile(file) as parquet:
            _check_header(file, parquet.schema_arrow.names, names)
            table = parquet.read(columns=list(dict.fromkeys(names)))
    except pa.ArrowException as error:
        cause = " ".join(str(error).split())[:200]
        raise DataError(f"{file}: expected Parquet, found something else ({cause}); save it as Parquet") from None
    except OSError as error:
        raise _cannot_open(file, error) from None
    values = {name: _as_text(file, name, table.column(name)) for name in names}
    _check_rows(file, range(table.num_rows))
    return Columns(values, range(table.num_rows), "the first is row 0")


def drop_point_zero(values: Sequence[str]) -> list[str]:
    """Return `1` for `1.0` if all values that are there look like that: whole numbers that were saved as floats."""
    if all(not value or _WHOLE_NUMBER.fullmatch(value) for value in values):
        return [value.partition(".")[0] for value in values]
    return list(values)


def _as_text(file: Path, name: str, column: Any) -> list[str]:
    """Return a column of Arrow as text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)  # pandas writes a missing number as NaN
            if pc.all(pc.equal(pc.floor(column), column)).as_py():
                column = column.cast(pa.int64())
        texts = column.cast(pa.string()).to_pylist()
    except pa.ArrowException:
        raise DataError(
            f"{file}: expected text or numbers in column {name!r}, found {column.type}; correct data.table or the file"
        ) from None
    return [text.strip() if text is not None else "" for text in texts]


def _check_header(file: Path, header: Sequence[str], names: Sequence[str]) -> None:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise DataError(f"{file}: expected columns divided by commas, found {header[0]!r}; save it with commas")
    for name in names:
        if header.count(name) != 1:
            found = "two of that name" if name in header else _quote(header)
            raise DataError(f"{file}: expected a column {name!r}, found {found}; correct data.table or the file")


def _quote(header: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in islice(header, _SHOWN_COLUMNS))
    return (shown or "no columns") + (f" and {len(header) - _SHOWN_COLUMNS} more" * (len(header) > _SHOWN_COLUMNS))


def _check_width(file: Path, number: int, cells: Sequence[str], header: Sequence[str]) -> None:
    if any(cells[len(header) :]):
        raise DataError(
            f"{file}: expected {len(header)} cells in row {number}, found {len(cells)}; put a cell that holds a comma "
            f"in double quotes"
        )


def _check_rows(file: Path, rows: Sequence[int]) -> None:
    if not rows:
        raise DataError(f"{file}: expected a row for each image, found none")


def _cannot_open(file: Path, error: OSError) -> DataError:
    cause = "found nothing" if isinstance(error, FileNotFoundError) else error.strerror or " ".join(str(error).split())
    return DataError(f"data.table.file {file}: expected a readable file; {cause}; correct the path or the file")
