"""Facts of how onnxruntime is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT = "from oodtune.onnx_runtime import import_onnxruntime; import_onnxruntime()"
OPEN = "import sys; from pathlib import Path; from oodtune.bundle import open_bundle; open_bundle(Path(sys.argv[1]))"


@pytest.mark.parametrize("command", [IMPORT, OPEN])
def test_the_runtime_notes_nothing_for_its_makers(command: str, tmp_path: Path) -> None:
    from tests.unit.tiny_bundle import tiny_bundle

    environ = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        environ[name] = str(tmp_path)
    subprocess.run([sys.executable, "-c", command, str(tiny_bundle())], env=environ, check=True, timeout=60)
    assert not list(tmp_path.rglob("*"))


def test_no_other_module_imports_onnxruntime_by_itself() -> None:
    source_dir = Path(__file__).parents[2] / "src"
    importing = [path.name for path in source_dir.rglob("*.py") if "import onnxruntime" in path.read_text()]
    assert importing == []
