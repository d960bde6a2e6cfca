"""What `import oodtune` promises."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import oodtune
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle

PROJECT_DIR = Path(__file__).parents[2]
PAGE = (PROJECT_DIR / "docs/reference/index.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
NAMES = [name for name in oodtune.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_documented_and_on_the_page(name: str) -> None:
    found = getattr(oodtune, name)
    assert found.__name__ == name
    assert inspect.getdoc(found)
    assert f"`{name}`" in PAGE.split("## Modules")[0]


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(getattr(oodtune, name))])
def test_a_public_function_says_what_it_returns_or_takes_and_is_typed(name: str) -> None:
    function = getattr(oodtune, name)
    documented = inspect.getdoc(function) or ""
    assert re.search(r"[Rr]eturn|Read|Open|Build|Decode|Take|Try|Compute", documented)
    hints = inspect.signature(function)
    assert hints.return_annotation is not inspect.Signature.empty
    assert all(one.annotation is not inspect.Parameter.empty for one in hints.parameters.values())


def test_names_are_listed_and_no_other_exists() -> None:
    assert set(oodtune.__all__) <= set(dir(oodtune))
    assert sorted(oodtune._MODULES) == sorted(NAMES)
    with pytest.raises(AttributeError, match="no attribute 'train_everything'"):
        _ = oodtune.train_everything


def test_importing_it_and_predicting_need_no_torch() -> None:
    code = """
import sys, oodtune
heavy = ("torch", "timm", "onnxruntime", "numpy", "pydantic")
assert not [name for name in heavy if name in sys.modules]
oodtune.open_bundle, oodtune.decode_image, oodtune.load_config, oodtune.logit_ensemble
assert not [name for name in ("torch", "timm") if name in sys.modules]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/bundle").symlink_to(tiny_bundle())
    (tmp_path / "image.png").write_bytes(encode(random_images(1, seed=0)[0]))
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLES) == 3
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(example, names)
    probabilities = names["probabilities"]
    assert probabilities.shape == (1, 3)  # type: ignore[attr-defined]
    assert names["loss"].item() > 0  # type: ignore[attr-defined]


def test_type_checkers_read_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(oodtune.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == {name: f"oodtune.{module}" for name, module in oodtune._MODULES.items()}
    assert Path(oodtune.__file__).with_name("py.typed").is_file()
