"""The rules of the house that no linter knows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT_DIR = Path(__file__).parents[2]
MAX_LINES = 300


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for line in listed.stdout.splitlines() if (path := PROJECT_DIR / line).is_file()]


def test_no_source_file_is_over_300_lines() -> None:
    kinds = {".py", ".j2"}
    sizes = {
        str(path.relative_to(PROJECT_DIR)): len(path.read_text(encoding="utf-8").splitlines())
        for path in tracked_files()
        if path.suffix in kinds
    }
    assert {name: size for name, size in sizes.items() if size > MAX_LINES} == {}


def test_locks_carry_hashes_and_name_no_address() -> None:
    locks = sorted((PROJECT_DIR / "requirements").glob("*.txt"))
    assert {lock.stem for lock in locks} == {"build", "dev", "pipeline", "serve-cpu", "serve-gpu", "train", "train-gpu"}
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        pins = re.findall(r"^[a-z0-9][^\s=]*==", text, flags=re.MULTILINE)
        assert len(pins) > 5
        assert text.count("--hash=sha256:") >= len(pins)


def test_the_serving_locks_have_no_training_library_and_one_onnxruntime() -> None:
    for lock, runtime in (("serve-cpu", "onnxruntime"), ("serve-gpu", "onnxruntime-gpu")):
        text = (PROJECT_DIR / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
        names = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, flags=re.MULTILINE))
        assert names.isdisjoint({"torch", "timm", "kfp", "dvc"})
        assert {name for name in names if name.startswith("onnxruntime")} == {runtime}


def test_kfp_is_the_version_whose_local_runner_works() -> None:
    import kfp

    assert kfp.__version__ == "2.17.0"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("oodtune.serve.server", ("torch", "timm", "kfp", "dvc")),
        ("oodtune.bundle", ("torch", "timm", "kfp", "dvc")),
        ("oodtune.stages.train", ("kfp", "dvc")),
        ("oodtune.train.loop", ("kfp", "dvc", "timm")),
        (
            "oodtune.cli.main",
            ("torch", "timm", "kfp", "dvc", "numpy", "pydantic", "matplotlib", "onnxruntime"),
        ),
    ],
)
def test_importing_a_module_loads_nothing_that_it_must_not(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
