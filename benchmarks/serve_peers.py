"""Other servers, each in a virtual environment of its own that uv makes when it is first asked for."""

import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from benchmarks import serve_peer_apps
from benchmarks.serve_inputs import Post
from benchmarks.serve_processes import Running, free_port, running
from oodtune import bundle
from oodtune.cpus import count_cpus

PACKAGES: Final[dict[str, tuple[str, ...]]] = {
    "fastapi": ("fastapi", "uvicorn[standard]"),
    "litserve": ("litserve",),
    "mosec": ("mosec",),
    "kserve": ("kserve", "setuptools"),
    "triton": ("nvidia-pytriton",),
}
_SHARED: Final = ("onnxruntime", "simplejpeg")


def install(name: str, directory: Path) -> Path:
    """Return the Python of the peer's environment below `directory`; make it if there is none. Exits if uv fails."""
    python = directory / name / "bin" / "python"
    if python.exists():
        return python
    uv = shutil.which("uv") or str(Path(__file__).parents[1] / ".uv" / "bin" / "uv")
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(directory / name)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *_SHARED, *PACKAGES[name]],
    ):
        if subprocess.run(command, check=False).returncode:
            shutil.rmtree(directory / name, ignore_errors=True)
            sys.exit(f"{name}: expected its packages from PyPI, uv failed; leave out --peer {name}")
    return python


def running_peer(name: str, directory: Path, path: Path, jpeg: bytes) -> AbstractContextManager[Running]:
    """Serve the graph of the bundle at `path` by the peer."""
    port, workers = free_port(), count_cpus()
    app, model = Path(serve_peer_apps.__file__), path / bundle.model_path()
    command = [install(name, directory), app, name, model, str(port), str(workers)]
    return running(name, [str(word) for word in command], port, peer_post(name, jpeg))


def peer_post(name: str, jpeg: bytes) -> Post:
    return Post(*serve_peer_apps.request_of(name, jpeg))
