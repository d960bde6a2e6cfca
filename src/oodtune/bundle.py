"""What is served: one ONNX graph, its labels, preprocessing, calibration and lineage. No torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from oodtune.artifact import Artifact, open_artifact
from oodtune.config import PreprocessConfig
from oodtune.cpus import count_cpus
from oodtune.errors import UserError
from oodtune.preprocess import preprocess

Provider = Literal["cpu", "cuda"]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

MODEL: Final = "model.onnx"
PREPROCESS: Final = "preprocess.json"
LABELS: Final = "labels.json"
CALIBRATION: Final = "calibration.json"
LINEAGE: Final = "lineage.json"
PARITY: Final = "parity.json"

# The second provider of cuda takes the few operators that the first has not.
_ORT_PROVIDERS: Final[dict[str, list[str]]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
}
_EXTRA: Final[dict[str, str]] = {"cpu": "cpu", "cuda": "gpu"}


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that we use; `run` may be called from many threads."""

    def run(self, output_names: Sequence[str], input_feed: dict[str, Pixels]) -> list[Floats]: ...

    def get_providers(self) -> list[str]: ...


@dataclass(frozen=True)
class Bundle:
    """An open `bundle` artifact, ready to predict."""

    artifact: Artifact
    session: Session
    provider: str
    classes: tuple[str, ...]
    preprocess: PreprocessConfig
    temperature: float
    """What the graph divides logits by before the softmax."""
    lineage: dict[str, Any]
    """Where the model comes from: commit, dataset, inputs, scores, versions."""

    @property
    def digest(self) -> str:
        """sha256 that names every byte of the bundle."""
        return self.artifact.digest

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Return logits (N, K) and probabilities (N, K) of pixels (N, S, S, 3), uint8."""
        assert pixels.shape[1:] == (self.preprocess.size, self.preprocess.size, 3)
        return run_session(self.session, pixels)

    def classify(self, images: Sequence[Image.Image]) -> Floats:
        """Return probabilities (N, K) of RGB images of any size (see `decode_image`)."""
        _, probabilities = self.run(np.stack([preprocess(image, self.preprocess) for image in images]))
        return probabilities

    def rank(self, probabilities: Floats, top_k: int) -> list[tuple[str, float]]:
        """Return the `top_k` best (label, probability) of probabilities (K,), best first; ties by class."""
        best = (-probabilities).argsort(kind="stable")[:top_k]
        return [(self.classes[k], float(probabilities[k])) for k in best]


def open_bundle(path: Path, provider: str = "cpu", num_threads: int | None = None) -> Bundle:
    """Open the bundle at `path`; no byte of it is used before its hash is checked.

    `num_threads` is for one call of `run`; None means the CPUs this process may use.
    Raises ArtifactError if it is not a whole bundle, UserError if `provider` does not work here.
    """
    artifact = open_artifact(path, "bundle")
    read = {name: _read_json(artifact.path / name) for name in (PREPROCESS, LABELS, CALIBRATION, LINEAGE)}
    return Bundle(
        artifact=artifact,
        session=open_session(artifact.path / MODEL, provider, num_threads),
        provider=provider,
        classes=tuple(read[LABELS]),
        preprocess=PreprocessConfig.model_validate(read[PREPROCESS]),
        temperature=float(read[CALIBRATION]["temperature"]),
        lineage=read[LINEAGE],
    )


def open_session(model_path: Path, provider: str = "cpu", num_threads: int | None = None) -> Session:
    """Open an ONNX file with ONNX Runtime. Raises UserError if `provider` does not work on this machine."""
    if provider not in _ORT_PROVIDERS:
        raise UserError(f"expected a provider among {list(_ORT_PROVIDERS)}, found {provider!r}; choose one of them")
    ort = _import_onnxruntime(provider)
    wanted = _ORT_PROVIDERS[provider]
    working = ort.get_available_providers()
    if wanted[0] in working:
        options = _session_options(ort, num_threads)
        session: Session = ort.InferenceSession(model_path, options, providers=wanted)
        working = session.get_providers()
        # onnxruntime falls back to the CPU, with no exception, where CUDA's libraries or device are missing.
        if working[0] == wanted[0]:
            return session
    raise UserError(
        f"expected {wanted[0]} for provider {provider!r}, found only {', '.join(working)} working; "
        f"{_install(provider)} on a machine that has the device, or choose provider 'cpu'"
    )


def runtime_version() -> str:
    """Return the version of onnxruntime. Raises UserError if there is none."""
    return str(_import_onnxruntime("cpu").__version__)


def run_session(session: Session, pixels: Pixels) -> tuple[Floats, Floats]:
    """Return logits (N, K) and probabilities (N, K) of pixels (N, S, S, 3), uint8."""
    assert pixels.dtype == np.uint8
    assert len(pixels) > 0
    logits, probabilities = session.run(["logits", "probabilities"], {"images": pixels})
    return logits, probabilities


def _import_onnxruntime(provider: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"expected onnxruntime, which runs a bundle, found none ({error}); {_install(provider)}"
        ) from None
    return onnxruntime


def _install(provider: str) -> str:
    return f'pip install "oodtune[{_EXTRA[provider]}]"'


def _session_options(ort: Any, num_threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads or count_cpus()
    options.inter_op_num_threads = 1
    # Spinning threads halve the throughput of a machine that does anything else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    return options


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
