import io
from pathlib import Path

from rich.console import Console

from oodtune.artifact import write_json
from oodtune.cli.screen import render_text
from oodtune.evaluate.screening import BackboneScreen
from tests.fixtures.screening import make_backbone, make_screen


def printed(directory: Path, *backbones: BackboneScreen) -> str:
    write_json(directory / "screen.json", make_screen(*backbones).model_dump(mode="json"))
    console = Console(file=io.StringIO(), width=400)
    console.print(render_text(directory))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_suggestion_comes_with_the_lines_of_the_settings_and_the_picture(tmp_path: Path) -> None:
    text = printed(tmp_path)
    assert "Suggested: dropout 0.5 on resnet" in text
    assert "  methods:\n    large_dropout:\n      dropout: 0.5\n".replace("\n", "") in "".join(
        line.rstrip() for line in text.splitlines()
    )
    assert str(tmp_path / "screen.png") in text


def test_of_several_backbones_the_best_one_is_suggested_with_its_settings(tmp_path: Path) -> None:
    text = printed(tmp_path, make_backbone("strong", bonus=0.1), make_backbone("weak"))
    assert text.index("the best first") < text.index("Suggested: dropout 0.5 on strong")
    assert "name: strong" in text
