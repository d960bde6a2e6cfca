"""Both Kubeflow pipelines on this machine, one process per task: data of a DVC revision, a registry on a real S3."""

import builtins
import gc
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from oodtune.artifact import MANIFEST, open_artifact
from oodtune.cli.main import app as oodtune
from oodtune.cli.pipeline import app
from oodtune.errors import UserError
from oodtune.registry.objects import open_objects
from oodtune.registry.place import parse_address
from oodtune.registry.production import read_production
from tests.fixtures.s3 import BIN, BUCKET, S3, make_repository, serve_s3
from tests.fixtures.warm.process import warm_bin

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("pipelines"),
    # DVC's own: what a library of it deprecates, and clones that it forgets to close.
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed [pP]ack:ResourceWarning"),
]

PROJECT_DIR = Path(__file__).parents[2]
BACKBONE = "resnet10t"
REGISTRY = f"s3://{BUCKET}/models/model"
TRAINED = ("prepare", "cache", "init", "train", "combine", "evaluate")


@dataclass(frozen=True)
class Cluster:
    """What stands for one here: a service, a repository of data, and a directory that keeps what runs made."""

    s3: S3
    directory: Path

    @property
    def outputs(self) -> Path:
        return self.directory / "outputs"

    def production(self) -> str | None:
        return read_production(open_objects(parse_address(REGISTRY)[0], self.s3.endpoint_url)).version

    def run(self, name: str, *arguments: str, **sections: dict[str, Any]) -> Result:
        """Run a pipeline with the keys of `sections` replaced in the settings."""
        write_params(self.directory / "params.yaml", self.settings(sections))
        where = ["--project", str(PROJECT_DIR), "--params", str(self.directory / "params.yaml")]
        where += ["--output", str(self.outputs), "--limit-per-cell", "6"]
        return CliRunner().invoke(app, ["run", name, "--local", *where, *arguments])

    def settings(self, sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        url = f"file://{self.directory / 'repository'}"
        base: dict[str, dict[str, Any]] = {
            "data": {"source": "dvc", "dvc": {"url": url, "rev": "v1", "path": "data"}},
            "preprocess": {"size": 32},
            "backbone": {"name": BACKBONE, "weights": str(self.directory / "backbone.safetensors")},
            "train": {"steps": 3, "batch_per_domain": 4, "snapshot_every": 2},
            # the loss of a head that learns 1e30 times as fast is not finite after a step
            "methods": {"broken": {"dropout": 0.0, "head_rate_factor": 1e30}},
            "sweep": {"target_domains": ["ink"], "methods": ["plain", "large_dropout", "broken"]},
            "select": {"target_domain": "ink"},
            "export": {"max_abs_difference": 0.01},  # random weights: logits reach 50, float32 rounds them by 1e-4
            "publish": {"url": f"s3://{BUCKET}/models", "endpoint_url": self.s3.endpoint_url},
        }
        return {name: base.get(name, {}) | sections.get(name, {}) for name in base.keys() | sections.keys()}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    save_random_backbone(directory / "backbone.safetensors")
    with serve_s3(tmp_path_factory.mktemp("s3")) as s3, s3.use_here(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(warm_bin() / "python"))  # by which kfp starts tasks
        make_repository(directory / "repository", s3, 6)
        yield Cluster(s3, directory)
        gc.collect()  # so that what DVC forgot to close is not said in a later test


@pytest.fixture(scope="module")
def swept(cluster: Cluster) -> Result:
    before = builtins.print, logging.getLogger().handlers[:]
    result = cluster.run("sweep")
    assert result.exception is None, result.output
    assert before == (builtins.print, logging.getLogger().handlers), "kfp's patches outlive its run"
    return result


def save_random_backbone(path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model(BACKBONE, num_classes=0).state_dict(), path)


def write_params(path: Path, sections: dict[str, dict[str, Any]]) -> None:
    settings = yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8"))
    for section, values in sections.items():
        settings[section].update(values)
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")


def paths_of(result: Result) -> dict[str, Path]:
    return {what: Path(path) for what, path in (line.split(": ", 1) for line in result.stdout.splitlines())}


def newest_run(cluster: Cluster) -> Path:
    return max(cluster.outputs.glob("oodtune-*"), key=lambda path: path.stat().st_mtime)


def test_a_sweep_ends_in_a_bundle_a_report_and_a_version(cluster: Cluster, swept: Result) -> None:
    paths = paths_of(swept)
    bundle, report = open_artifact(paths["bundle"], "bundle"), open_artifact(paths["report"], "report")
    assert bundle.manifest.inputs["selection"] == report.manifest.inputs["selection"]
    lineage = json.loads((bundle.path / "lineage.json").read_text(encoding="utf-8"))
    commit = subprocess.check_output(["git", "rev-parse", "v1"], cwd=cluster.directory / "repository", text=True)
    assert {origin["version"] for origin in lineage["dataset"]["origins"]} == {commit.strip()}
    published = cluster.s3.client().list_objects_v2(Bucket=BUCKET, Prefix="models/model/versions/")["Contents"]
    assert any(one["Key"].endswith("/model.onnx") for one in published)
    assert cluster.production() is None, "a sweep publishes; it promotes nothing"


def test_images_and_trials_travel_as_references_to_what_all_tasks_share(cluster: Cluster, swept: Result) -> None:
    copied = [path for path in newest_run(cluster).rglob("*.safetensors") if "/combine/" not in str(path)]
    assert copied == []
    assert not list(newest_run(cluster).rglob("*.png"))
    assert len(list((cluster.outputs / "shared/trial").glob(f"*/{MANIFEST}"))) == 2


def test_a_trial_that_fails_is_named_and_the_rest_goes_on(cluster: Cluster, swept: Result) -> None:
    (failure,) = newest_run(cluster).rglob("failure.json")
    failed = json.loads(failure.read_text(encoding="utf-8"))
    assert failed["trial"].startswith("ink-broken-")
    assert "expected a finite loss" in failed["reason"]
    log = (cluster.outputs / "pipeline.log").read_text(encoding="utf-8")
    assert f"1 of 3 planned trials are missing: {failed['trial']} (1 failed: {failed['trial']}: " in log
    report = paths_of(swept)["report"] / "report.html"
    assert failed["trial"] in report.read_text(encoding="utf-8")


def test_the_run_page_gets_the_report_its_numbers_and_how_it_ended(cluster: Cluster, swept: Result) -> None:
    run = newest_run(cluster)
    assert (run / "report/page").read_bytes() == (run / "report/out/report.html").read_bytes()
    told = json.loads((run / "report/executor_output.json").read_text(encoding="utf-8"))["artifacts"]
    metrics = told["metrics"]["artifacts"][0]["metadata"]
    assert {"chosen_iid", "chosen_ood", "plain_iid", "large_dropout_ood"} <= metrics.keys()
    assert "confusionMatrix" in told["confusion"]["artifacts"][0]["metadata"]
    assert (run / "notify/out").read_text(encoding="utf-8").startswith("# Succeeded: ")


def test_a_trial_is_the_same_bytes_through_kubeflow_dvc_and_the_command_line(
    cluster: Cluster, swept: Result, tmp_path: Path
) -> None:
    shared = cluster.outputs / "shared"
    ((cache,), (init,)) = (
        [path.parent for path in (shared / kind).glob(f"*/{MANIFEST}")] for kind in ("cache", "init")
    )
    (made,) = (shared / "trial").glob("ink-large_dropout-*")
    trial = "--target-domain ink --method large_dropout --learning-rate 5e-05 --weight-decay 0.0001 --seed 0"
    inputs = f"--cache {cache} --init {init} --params {cluster.directory / 'params.yaml'}"
    result = CliRunner().invoke(oodtune, f"train {inputs} {trial} --out {tmp_path / 'by_hand'}".split())
    assert result.exception is None, result.output
    stage = {"cmd": f"oodtune train {inputs} {trial} --out by_dvc", "outs": ["by_dvc"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}), encoding="utf-8")
    for command in (["init", "--no-scm", "-q"], ["repro", "-q"]):
        subprocess.run([BIN / "dvc", *command], cwd=tmp_path, check=True, timeout=120)
    files = open_artifact(made, "trial").manifest.files
    for other in (tmp_path / "by_hand", tmp_path / "by_dvc"):
        for name in (MANIFEST, *files):
            digests = {hashlib.sha256((place / name).read_bytes()).hexdigest() for place in (made, other)}
            assert len(digests) == 1, f"{other.name}: {name}"


def test_a_second_run_takes_what_is_done_and_a_gate_that_refuses_ships_nothing(cluster: Cluster, swept: Result) -> None:
    result = cluster.run("sweep", select={"target_domain": "ink", "min_margin": 100.0})
    assert result.exception is None, result.output
    for task in TRAINED:
        assert f"{task}: done before" in result.stderr
        assert f"{task}: started" not in result.stderr
    assert paths_of(result).keys() == {"report"}
    report = (paths_of(result)["report"] / "report.html").read_text(encoding="utf-8")
    assert "Refused: not to ship." in report
    assert "export: started" not in result.stderr


def test_retrain_promotes_into_an_empty_production_and_then_has_nothing_to_do(cluster: Cluster, swept: Result) -> None:
    first = cluster.run("retrain")
    assert first.exception is None, first.output
    assert "promote: done" in first.stderr
    promoted = cluster.production()
    assert promoted is not None
    second = cluster.run("retrain")
    assert second.exception is None, second.output
    assert "prepare" not in second.stderr
    assert cluster.production() == promoted
    log = (cluster.outputs / "pipeline.log").read_text(encoding="utf-8")
    assert "due: False" in log


def test_a_task_that_fails_is_named_with_its_own_words(cluster: Cluster, tmp_path: Path) -> None:
    missing = tmp_path / "no_images"
    result = cluster.run("sweep", data={"source": "folder", "root": str(missing), "dvc": None})
    assert isinstance(result.exception, UserError)
    assert "\n" not in str(result.exception)
    assert str(result.exception).startswith(f"prepare: data.root {missing}: expected a folder")
    assert "prepare: failed" in result.stderr
    assert (newest_run(cluster) / "notify/out").read_text(encoding="utf-8").startswith("# Failed: ")
