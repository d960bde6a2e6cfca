"""The whole Kubeflow pipeline on this machine, one process per task."""

import builtins
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from oodtune.artifact import open_artifact
from oodtune.cli.pipeline import app
from oodtune.errors import UserError

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PROJECT_DIR = Path(__file__).parents[2]
BACKBONE = "resnet10t"


def save_random_backbone(path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model(BACKBONE, num_classes=0).state_dict(), path)


def write_params(path: Path, **sections: dict[str, Any]) -> None:
    """Write the project's params.yaml to `path` with the keys of `sections` replaced."""
    settings = yaml.safe_load((PROJECT_DIR / "params.yaml").read_text(encoding="utf-8"))
    for section, values in sections.items():
        settings[section].update(values)
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")


def run_pipeline(params: Path, *arguments: str) -> Result:
    where = [
        "--project",
        str(PROJECT_DIR),
        "--params",
        str(params),
        "--output",
        str(params.parent / "outputs"),
    ]
    return CliRunner().invoke(app, ["run", "--local", *where, *arguments])


def test_the_local_pipeline_ends_in_a_bundle_and_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_backbone(tmp_path / "backbone.safetensors")
    write_params(
        tmp_path / "params.yaml",
        data={"source": "synthetic"},
        preprocess={"size": 32},
        backbone={"name": BACKBONE, "weights": str(tmp_path / "backbone.safetensors")},
        train={"steps": 3, "batch_per_domain": 2, "snapshot_every": 2},
        sweep={"target_domains": ["inverted"]},
        select={"target_domain": "inverted"},
        export={"max_abs_difference": 0.01},  # random weights: logits reach 50, and float32 rounds them by 1e-4
    )
    before = builtins.print, logging.getLogger().handlers[:]
    result = run_pipeline(tmp_path / "params.yaml", "--limit-per-cell", "5")
    assert result.exception is None, result.output
    assert before == (builtins.print, logging.getLogger().handlers), "kfp's patches outlive its run"
    paths = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    bundle = open_artifact(Path(paths["bundle"]), "bundle")
    report = open_artifact(Path(paths["report"]), "report")
    assert "model.onnx" in bundle.manifest.files
    assert "report.html" in report.manifest.files
    assert bundle.manifest.inputs["selection"] == report.manifest.inputs["selection"]
    (dataset,) = (tmp_path / "outputs").glob("*/prepare/out")
    assert open_artifact(dataset, "dataset").manifest.params["data"]["limit_per_cell"] == 5
    trials = list((tmp_path / "outputs").glob("*/*/train/out"))
    methods = {open_artifact(trial, "trial").details["trial"]["method"] for trial in trials}
    assert methods == {"plain", "large_dropout"}


def test_a_task_that_fails_is_named_with_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = tmp_path / "no_images"
    write_params(tmp_path / "params.yaml", data={"source": "folder", "root": str(missing)})
    result = run_pipeline(tmp_path / "params.yaml")
    assert isinstance(result.exception, UserError)
    assert "\n" not in str(result.exception)
    assert str(result.exception).startswith(f"prepare: data.root {missing}: expected a folder")
    assert "prepare: failed" in result.stderr
