"""A pipeline as the file that a cluster runs, and as the objects that Kubernetes keeps."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from kfp.compiler import Compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions
from kfp.components import load_component_from_text

from oodtune.config import Config
from oodtune.errors import UserError
from pipelines.build import PipelineName, build_pipeline, pipeline_arguments


@dataclass(frozen=True)
class Compiled:
    """A pipeline with its settings as defaults: it runs as it is."""

    pipeline: str
    """The pipeline's name in a cluster."""
    version: str
    """The pipeline's name, the commit, and a digest of `text`: equal names, equal pipelines."""
    text: str
    """The YAML file."""


def compile_pipeline(
    name: PipelineName, config: Config, image: str | None = None, caching: bool = True, commit: str = ""
) -> Compiled:
    """Compile the pipeline `name` for the settings of `config`. Equal arguments give equal text.

    `image` is the image of every task; without it, the components' own. `commit` as in `pipeline_arguments`.
    """
    pipeline = build_pipeline(name, config, image, caching)
    with TemporaryDirectory() as directory:
        path = Path(directory, "pipeline.yaml")
        Compiler().compile(pipeline, str(path), pipeline_parameters=pipeline_arguments(name, config, commit))
        text = path.read_text(encoding="utf-8")
    return Compiled(pipeline.name, name_version(pipeline.name, commit, text), text)


def name_version(pipeline: str, commit: str, text: str) -> str:
    """Return a name for the version that `text` is, of characters that Kubernetes allows.

    The digest is of the whole file, because another image, caching or uncommitted code is another version.
    """
    revision, _, dirty = commit.partition("-")
    return "-".join(filter(None, (pipeline, revision[:12], dirty, sha256(text.encode()).hexdigest()[:8])))


def write_pipeline(compiled: Compiled, output: Path) -> None:
    """Write the YAML file that is uploaded to Kubeflow Pipelines."""
    _make_room(output)
    output.write_text(compiled.text, encoding="utf-8")


def write_manifest(compiled: Compiled, output: Path, namespace: str | None = None) -> None:
    """Write the objects Pipeline and PipelineVersion, for `kubectl apply`."""
    _make_room(output)
    options = KubernetesManifestOptions(
        pipeline_name=compiled.pipeline,
        pipeline_version_name=compiled.version,
        namespace=namespace,
        include_pipeline_manifest=True,
    )
    Compiler().compile(
        load_component_from_text(compiled.text),
        str(output),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=options,
    )


def _make_room(output: Path) -> None:
    if output.suffix not in {".yaml", ".yml"}:
        raise UserError(f"{output}: expected the name of a YAML file; end it with .yaml")
    output.parent.mkdir(parents=True, exist_ok=True)
