"""What is served: one ONNX graph, its labels, preprocessing, calibration and lineage. No torch.

A bundle is also a model repository as Triton and KServe read it: `model/1/model.onnx` beside `model/config.pbtxt`,
and the same for every variant (`model_int8/`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from oodtune.artifact import Artifact, open_artifact
from oodtune.config import PreprocessConfig
from oodtune.config.serve import Variant
from oodtune.cpus import count_cpus
from oodtune.domain_scores import DomainScores
from oodtune.errors import ArtifactError, UserError
from oodtune.onnx_runtime import import_onnxruntime, load_cuda
from oodtune.preprocess import preprocess

Provider = Literal["cpu", "cuda", "tensorrt"]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

MODEL_NAME: Final = "model"
PREPROCESS: Final = "preprocess.json"
LABELS: Final = "labels.json"
CALIBRATION: Final = "calibration.json"
DOMAINS: Final = "domains.json"
LINEAGE: Final = "lineage.json"
PARITY: Final = "parity.json"
GOLDEN: Final = "golden.npz"
"""A few encoded images and what the graph makes of them: see `golden`."""
VARIANTS: Final = "variants.json"
"""What each variant that was asked for loses, and which of them the bundle holds."""
CARD: Final = "README.md"
"""The model card."""

INPUT: Final = "images"

# Each provider takes the operators that those before it have not.
_ORT_PROVIDERS: Final[dict[str, list[str]]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}
_ORT_OPTIONS: Final[dict[str, dict[str, str]]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""TF32 rounds to ten bits: what is served would differ from what was evaluated."""
_EXTRA: Final[dict[str, str]] = {"cpu": "cpu", "cuda": "gpu", "tensorrt": "gpu"}


class Outputs(NamedTuple):
    """What the graph says of N images; the names of its fields are those of the graph's outputs."""

    logits: Floats
    """(N, K)"""
    probabilities: Floats
    """(N, K): the softmax of logits divided by the fitted temperature."""
    energy: Floats
    """(N,): minus the log-sum-exp of logits (Liu et al. 2020, equation 3), the mean over members of an ensemble.
    Higher is stranger."""
    domain_distances: Floats
    """(N, M): Mahalanobis distance of penultimate features to each training domain."""


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that we use; `run` may be called from many threads."""

    def run(self, output_names: Sequence[str], input_feed: dict[str, Pixels]) -> list[Floats]: ...

    def get_providers(self) -> list[str]: ...


def model_path(variant: str = "fp32") -> str:
    """Return where a bundle holds the graph of a variant, relative to it."""
    return f"{repository_name(variant)}/1/model.onnx"


def repository_name(variant: str) -> str:
    """Return what a model repository calls the graph of a variant."""
    return MODEL_NAME if variant == "fp32" else f"{MODEL_NAME}_{variant}"


@dataclass(frozen=True)
class Bundle:
    """An open `bundle` artifact, ready to predict."""

    artifact: Artifact
    session: Session
    provider: str
    variant: str
    classes: tuple[str, ...]
    preprocess: PreprocessConfig
    temperature: float
    """What the graph divides logits by before the softmax."""
    domains: DomainScores
    """The training domains, and what the graph says of their images."""
    lineage: dict[str, Any]
    """Where the model comes from: commit, dataset, inputs, scores, versions."""

    @property
    def digest(self) -> str:
        """sha256 that names every byte of the bundle."""
        return self.artifact.digest

    def run(self, pixels: Pixels) -> Outputs:
        """Return the outputs of pixels (N, S, S, 3), uint8, N > 0."""
        assert pixels.shape[1:] == (self.preprocess.size, self.preprocess.size, 3)
        return run_session(self.session, pixels)

    def classify(self, images: Sequence[Image.Image]) -> Floats:
        """Return probabilities (N, K) of RGB images of any size (see `decode_image`)."""
        return self.run(np.stack([preprocess(image, self.preprocess) for image in images])).probabilities

    def rank(self, probabilities: Floats, top_k: int) -> list[tuple[str, float]]:
        """Return the `top_k` best (label, probability) of probabilities (K,), best first; ties by class."""
        # One image is no work for numpy: a call of it that gives up the interpreter's lock waits to get it back.
        ranked = sorted(zip(self.classes, probabilities.tolist(), strict=True), key=lambda one: -one[1])
        return ranked[:top_k]


def open_bundle(
    path: Path, provider: str = "cpu", num_threads: int | None = None, variant: str = "fp32", allow_cpu: bool = False
) -> Bundle:
    """Open the bundle at `path`; no byte of it is used before its hash is checked.

    `num_threads` is for one call of `run`; None means the CPUs this process may use. With `allow_cpu`, the CPU computes
    where `provider` does not work. Raises ArtifactError if it is not a whole bundle or has no such variant, UserError
    if `provider` does not work here.
    """
    artifact = open_artifact(path, "bundle")
    if model_path(variant) not in artifact.manifest.files:
        found = [one for one in get_args(Variant) if model_path(one) in artifact.manifest.files]
        raise ArtifactError(
            f"{path}: expected a bundle with variant {variant!r}, found {found or 'none'}; choose one of them, or run "
            "`oodtune export` of this version, with export.variants"
        )
    read = {name: _read_json(artifact.path / name) for name in (PREPROCESS, LABELS, CALIBRATION, DOMAINS, LINEAGE)}
    scores = read[DOMAINS] if variant == "fp32" else _read_json(artifact.path / VARIANTS)[variant]["domains"]
    session, provider = open_session(artifact.path / model_path(variant), provider, num_threads, allow_cpu)
    return Bundle(
        artifact=artifact,
        session=session,
        provider=provider,
        variant=variant,
        classes=tuple(read[LABELS]),
        preprocess=PreprocessConfig.model_validate(read[PREPROCESS]),
        temperature=float(read[CALIBRATION]["temperature"]),
        domains=DomainScores.model_validate(scores),
        lineage=read[LINEAGE],
    )


def open_session(
    model_path: Path, provider: str = "cpu", num_threads: int | None = None, allow_cpu: bool = False
) -> tuple[Session, str]:
    """Open an ONNX file with ONNX Runtime; return the session and the provider that it got.

    That is `provider`, or, with `allow_cpu`, the CPU. Raises UserError if `provider` does not work on this machine.
    """
    if provider not in _ORT_PROVIDERS:
        raise UserError(f"expected a provider among {list(_ORT_PROVIDERS)}, found {provider!r}; choose one of them")
    ort = _import_onnxruntime(provider)
    if provider != "cpu":
        load_cuda(ort)
    wanted = _ORT_PROVIDERS[provider]
    working = ort.get_available_providers()
    if wanted[0] in working:
        options = _session_options(ort, num_threads)
        session: Session = ort.InferenceSession(
            model_path, options, providers=[one for one in wanted if one in working]
        )
        working = session.get_providers()
        # onnxruntime falls back to the CPU, with no exception, where CUDA's libraries or device are missing.
        if working[0] == wanted[0]:
            return session, provider
    if allow_cpu and provider != "cpu":
        return open_session(model_path, "cpu", num_threads)
    raise UserError(
        f"expected {wanted[0]} for provider {provider!r}, found only {', '.join(working)} working; "
        f"{_install(provider)} on a machine that has the device, or choose provider 'cpu'"
    )


def runtime_version() -> str:
    """Return the version of onnxruntime. Raises UserError if there is none."""
    return str(_import_onnxruntime("cpu").__version__)


def run_session(session: Session, pixels: Pixels) -> Outputs:
    """Return the outputs of pixels (N, S, S, 3), uint8, N > 0."""
    assert pixels.dtype == np.uint8
    assert len(pixels) > 0
    return Outputs(*session.run(Outputs._fields, {INPUT: pixels}))


def _import_onnxruntime(provider: str) -> Any:
    try:
        return import_onnxruntime()
    except ImportError as error:
        raise UserError(
            f"expected onnxruntime, which runs a bundle, found none ({error}); {_install(provider)}"
        ) from None


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
