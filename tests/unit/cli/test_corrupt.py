import io
from pathlib import Path

from rich.console import Console

from oodtune.artifact import write_json
from oodtune.cli.corrupt import render_text
from tests.fixtures.corrupting import make_corruptions


def test_what_is_printed_fits_80_columns_and_says_which_model_where_and_what_else_there_is(tmp_path: Path) -> None:
    write_json(tmp_path / "corruptions.json", make_corruptions().model_dump(mode="json"))
    console = Console(file=io.StringIO(), width=80)
    console.print(render_text(tmp_path))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    (row,) = [line for line in lines if "large_dropout" in line]
    assert row.split() == [
        "large_dropout",
        "95.0",
        "/",
        "90.0",
        "70.0",
        "/",
        "65.0",
        "25.0",
        "/",
        "25.0",
        "60.0",
        "frost",
    ]
    assert "on wax, corrupted" in lines[0]
    text = "".join(line.rstrip() for line in lines)
    assert str(tmp_path / "table.md") in text
    assert str(tmp_path / "corruptions.png") in text
