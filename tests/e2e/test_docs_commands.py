"""Every command of README and docs/ is run, and does what the table of `tests/fixtures/documented` says."""

import shutil
from collections.abc import Iterator, Mapping

import pytest

from tests.fixtures.documented import training
from tests.fixtures.documented.machine import STORIES as MACHINE
from tests.fixtures.documented.project import run_stages, write_project
from tests.fixtures.documented.run import run_story
from tests.fixtures.documented.serving import STORIES as SERVING
from tests.fixtures.documented.shell import Shell
from tests.fixtures.kubeflow import StubbedKubeflow, run_of, stub_kubeflow, task
from tests.fixtures.manifests import needs_kubectl
from tests.fixtures.s3 import S3, serve_s3
from tests.unit.tiny_bundle import tiny_bundle

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("docs"), pytest.mark.timeout(600)]

IN_THIS_MODULE = {
    **training.STORIES,
    **SERVING,
    **{name: story for name, story in MACHINE.items() if name != "kubernetes"},
}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serve_s3(tmp_path_factory.mktemp("s3")) as service:
        service.client().create_bucket(Bucket="models")
        yield service


@pytest.fixture(scope="module")
def shell(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Return a shell in a project where the stages of dvc.yaml have run."""
    directory = write_project(tmp_path_factory.mktemp("reader") / "oodtune")
    environment = {
        **s3.environment,
        "AWS_ENDPOINT_URL": s3.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "COLUMNS": "250",  # nothing is wrapped
        "OODTUNE_LISTEN_PORT": "0",
        "OODTUNE_ENDPOINT_URL": s3.endpoint_url,
        "DVC_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",
    }
    with Shell(directory, environment) as shell:
        run_stages(shell)
        shutil.copyfile(directory / "backbone.safetensors", directory / "other.safetensors")
        shutil.copytree(tiny_bundle(), directory / "artifacts" / "other-bundle")
        yield shell


@pytest.fixture(scope="module")
def kubeflow() -> Iterator[StubbedKubeflow]:
    with stub_kubeflow() as stub:
        yield stub


@pytest.fixture
def addresses(kubeflow: StubbedKubeflow) -> Mapping[str, str]:
    kubeflow.reset(script=[run_of("SUCCEEDED", task("train", "SUCCEEDED"))])
    return {"kubeflow": kubeflow.url}


@pytest.mark.parametrize("name", IN_THIS_MODULE)
def test_the_commands_of_the_pages_do_what_they_say(name: str, shell: Shell, addresses: Mapping[str, str]) -> None:
    run_story(shell, IN_THIS_MODULE[name], addresses)


@needs_kubectl
def test_the_commands_of_the_pages_about_kubernetes(shell: Shell, addresses: Mapping[str, str]) -> None:
    run_story(shell, MACHINE["kubernetes"], addresses)
