import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import ReportConfig
from oodtune.errors import ArtifactError
from oodtune.evaluate.choice import Choice
from oodtune.evaluate.predictions import open_predictions
from oodtune.evaluate.scores import score_models
from oodtune.stages import report
from oodtune.stages.summary import summarise
from tests.fixtures.reporting import RATES, Inputs, write_inputs

PROJECT_DIR = Path(__file__).parents[3]
DOMAINS = ("red", "green", "blue")
PARAMS = report.Params(report=ReportConfig(title="Three colours"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(tmp_path_factory.mktemp("inputs"), DOMAINS, num_images=60)


@pytest.fixture(scope="module")
def made(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "report"
    report.run(*inputs, out, PARAMS)
    return out


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_report_is_a_finished_artifact_that_names_its_inputs(inputs: Inputs, made: Path):
    artifact = open_artifact(made, "report")
    files = set(artifact.manifest.files)
    assert files - {name for name in files if name.startswith("mistakes/")} == {
        "report.html",
        "report.md",
        "figures/scatter.svg",
        "figures/reliability.svg",
        "figures/risk.svg",
        "figures/members.svg",
        "figures/training.svg",
        "table.md",
        "metrics.json",
        "metrics.csv",
        "points.csv",
        "curves.csv",
        "costs.csv",
        "summary.json",
    }
    trials = {trial.name for trial in inputs.trials}
    assert set(artifact.manifest.inputs) == {"cache", "predictions", "selection", *trials}


def test_every_picture_that_markdown_shows_is_there(made: Path):
    shown = re.findall(r"!\[[^]]*\]\(([^)]*)\)", (made / "report.md").read_text())
    assert len(shown) == 5 + 16
    assert all((made / name).is_file() for name in shown)


def test_tiles_are_of_wrong_answers_on_the_target_domain(inputs: Inputs, made: Path):
    html = (made / "report.html").read_text()
    tiles = re.findall(r'<img src="data:image/jpeg;base64,[^"]+" alt="([^"]+)"', html)
    assert len(tiles) == 16
    opened = open_predictions(inputs.predictions)
    winner = Choice.model_validate_json((inputs.selection / "selection.json").read_bytes()).winner
    for split in ("in", "out"):
        right = opened.logits(winner, "blue", split).argmax(1) == opened.labels("blue", split)
        ids = opened.ids("blue", split)
        assert not {name for name, flag in zip(ids, right, strict=True) if flag} & set(tiles)
    assert all(name.startswith("blue/") for name in tiles)
    assert "Pictures in blue, CC0-1.0" in html


def test_no_tile_is_written_where_none_is_wanted(inputs: Inputs, tmp_path: Path):
    report.run(*inputs, tmp_path / "report", report.Params(report=ReportConfig(mistakes=0)))
    assert not (tmp_path / "report" / "mistakes").exists()
    assert "data:image" not in (tmp_path / "report" / "report.html").read_text()


def test_metrics_csv_has_a_row_for_every_model_and_domain(inputs: Inputs, made: Path):
    rows = read_rows(made / "metrics.csv")
    assert len(rows) == len(DOMAINS) * 4 * len(DOMAINS)
    ood = [row for row in rows if row["domain"] == row["target_domain"]]
    points = {(row["target_domain"], row["model"]): row["ood"] for row in read_rows(made / "points.csv")}
    assert {(row["target_domain"], row["model"]): row["accuracy"] for row in ood} == points
    assert {row["split"] for row in ood} == {"all"}
    assert all(0.0 <= float(row["auroc"]) <= 1.0 for row in rows if row["auroc"])  # absent if all are right
    assert rows[0]["worst_class"] in ("activities", "animals", "food", "objects")


def test_three_rates_make_a_curve_of_rates(tmp_path: Path):
    found = write_inputs(tmp_path / "inputs", DOMAINS, num_images=40, methods=RATES)
    report.run(*found, tmp_path / "report", PARAMS)
    assert (tmp_path / "report" / "figures" / "dropout.svg").is_file()


def test_a_cache_that_was_not_evaluated_is_refused(inputs: Inputs, tmp_path: Path):
    other = write_inputs(tmp_path / "other", DOMAINS, num_images=40)
    with pytest.raises(ArtifactError, match=r"expected the cache that .* was made from, found another"):
        report.run(other.cache, *inputs[1:], tmp_path / "report", PARAMS)


def test_equal_inputs_give_equal_bytes(inputs: Inputs, made: Path, tmp_path: Path):
    report.run(inputs.cache, [inputs.trials[0].parent], *inputs[2:], tmp_path / "again", PARAMS)
    assert open_artifact(tmp_path / "again", "report").digest == open_artifact(made, "report").digest


def test_metrics_are_numbers_of_the_selection_and_the_means_over_targets(inputs: Inputs, made: Path):
    metrics = json.loads((made / "metrics.json").read_text())
    selection = json.loads((inputs.selection / "selection.json").read_text())
    plain = [score.ood for score in score_models(open_predictions(inputs.predictions)) if score.model.row == "plain"]
    assert metrics["selected"]["ood"] == pytest.approx(selection["ood"], abs=1e-6)
    assert metrics["lodo"]["plain"]["ood"] == pytest.approx(sum(plain) / len(plain), abs=1e-6)
    assert set(metrics["lodo"]) == {"plain", "large_dropout", "uniform_soup", "logit_ensemble", "selected"}


def test_points_hold_every_model_and_curves_every_snapshot(inputs: Inputs, made: Path):
    points, curves = read_rows(made / "points.csv"), read_rows(made / "curves.csv")
    assert len(points) == len(DOMAINS) * 4
    assert {row["trial"] for row in curves} == {trial.name for trial in inputs.trials}
    assert curves[0]["loss"] == "nan"  # nothing was trained before step 0


def test_curves_name_what_the_panels_and_colours_of_the_plots_are_for(inputs: Inputs, made: Path):
    rows = {row["trial"]: row for row in read_rows(made / "curves.csv")}
    for path in inputs.trials:
        trial = open_artifact(path, "trial").details["trial"]
        assert (rows[path.name]["target_domain"], rows[path.name]["method"]) == (
            trial["target_domain"],
            trial["method"],
        )


def test_dvc_plots_draws_a_line_per_trial_in_a_panel_per_target(made: Path, tmp_path: Path):
    shutil.copytree(made, tmp_path / "artifacts" / "report")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(PROJECT_DIR / name, tmp_path / name)
    shown = show_plots(tmp_path)
    assert set(shown) == {"artifacts/report/points.csv", "artifacts/report/curves.csv", "training-loss"}
    for plot, y in (("artifacts/report/curves.csv", "source_accuracy"), ("training-loss", "loss")):
        picture = shown[plot]
        assert picture["facet"]["field"] == "target_domain"
        encoding = picture["spec"]["encoding"]
        assert {name: one["field"] for name, one in encoding.items()} == {
            "x": "step",
            "y": y,
            "color": "method",
            "detail": "trial",
            "strokeDash": "rev",
        }
        assert all(picture["data"]["values"][0][field] for field in ("target_domain", "method", "trial", "step", y))
        assert "<DVC_METRIC" not in json.dumps(picture)


def show_plots(project: Path) -> dict[str, dict[str, Any]]:
    """Return what `dvc plots show` draws in a new DVC project with our templates: plot -> Vega-Lite."""
    shutil.copytree(PROJECT_DIR / ".dvc" / "plots", project / ".dvc" / "plots")
    (project / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "show", "--json"],
        cwd=project,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    plots = json.loads(shown.stdout)
    assert "errors" not in plots
    return {name: one[0]["content"] for name, one in plots["data"].items()}


def test_a_selection_from_other_predictions_is_refused(inputs: Inputs, tmp_path: Path):
    other = write_inputs(tmp_path / "other", DOMAINS, num_images=40)
    with pytest.raises(ArtifactError, match="found one of other predictions; run `oodtune select` again"):
        report.run(*inputs[:3], other.selection, tmp_path / "report", PARAMS)


def test_a_trial_that_was_not_passed_is_named(inputs: Inputs, tmp_path: Path):
    with pytest.raises(ArtifactError, match=f"found no {inputs.trials[-1].name}"):
        report.run(inputs.cache, inputs.trials[:-1], *inputs[2:], tmp_path / "report", PARAMS)


def test_a_trial_trained_after_the_evaluation_is_refused(inputs: Inputs, tmp_path: Path):
    cache, trials, predictions, selection = inputs
    old = open_artifact(trials[0], "trial")
    with create_artifact(tmp_path / "trial", "trial") as writer:
        shutil.copyfile(old.path / "log.jsonl", writer.path / "log.jsonl")
        writer.details.update(old.details)
    with pytest.raises(ArtifactError, match="found one trained since; run `oodtune evaluate` again"):
        report.run(cache, [*trials[1:], tmp_path / "trial"], predictions, selection, tmp_path / "report", PARAMS)


def test_a_trial_that_was_not_evaluated_is_left_alone(inputs: Inputs, made: Path, tmp_path: Path):
    more = write_inputs(tmp_path / "more", DOMAINS, seeds=(5,), num_images=20)
    report.run(inputs.cache, [*inputs.trials, more.trials[0]], *inputs[2:], tmp_path / "report", PARAMS)
    assert open_artifact(tmp_path / "report", "report").digest == open_artifact(made, "report").digest


def test_the_summary_shows_the_choice_the_paths_and_the_next_commands(made: Path, tmp_path: Path):
    with create_artifact(tmp_path / "my bundle", "bundle"):
        pass
    console = Console(width=400, file=io.StringIO(), record=True)
    console.print(summarise(made, tmp_path / "my bundle"))
    text = console.export_text()
    choice = json.loads((made / "summary.json").read_text())["choice"]
    assert f"ood {100 * choice['ood']:.1f} %" in text
    assert all(reason in text for reason in choice["reasons"])
    assert str(made / "report.html") in text
    assert f"oodtune predict '{tmp_path / 'my bundle'}' image.png" in text


def test_the_summary_needs_no_heavy_library():
    heavy = {"torch", "timm", "matplotlib", "jinja2"}
    code = f"import sys, oodtune.stages.summary; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_costs_csv_has_a_row_for_every_trial(inputs: Inputs, made: Path):
    rows = read_rows(made / "costs.csv")
    assert sorted(row["trial"] for row in rows) == sorted(trial.name for trial in inputs.trials)
    assert {row["devices"] for row in rows} == {"CPU, 2 threads"}
    assert all(float(row["images_per_s"]) == pytest.approx(150.0) for row in rows if row["trial"].endswith("seed0"))


def test_trials_that_recorded_no_cost_change_only_what_is_said_of_cost(inputs: Inputs, made: Path, tmp_path: Path):
    trials = tmp_path / "trials"
    shutil.copytree(inputs.trials[0].parent, trials)
    costs = sorted(trials.glob("*/cost.json"))
    for untold, words in (
        (costs[:1], "Of the others it was not recorded."),
        (costs, "in time and energy was not recorded"),
    ):
        for path in untold:
            path.unlink(missing_ok=True)
        out = tmp_path / f"without-{len(untold)}"
        report.run(inputs.cache, [trials], *inputs[2:], out, PARAMS)
        names = ("summary.json", "metrics.json", "metrics.csv", "points.csv", "curves.csv", "table.md")
        assert all((out / name).read_bytes() == (made / name).read_bytes() for name in names)
        assert len(read_rows(out / "costs.csv")) == len(costs) - len(untold)
        assert words in (out / "report.html").read_text()
    assert "time per trial" not in (out / "report.html").read_text()
    assert "time per trial" in (made / "report.html").read_text()


def test_the_choice_says_what_it_loses_against_the_oracle(inputs: Inputs, made: Path):
    choice = Choice.model_validate_json((inputs.selection / "selection.json").read_bytes())
    scores = score_models(open_predictions(inputs.predictions))
    for target, pick in choice.picks.items():
        best = max(score.ood for score in scores if score.model.target_domain == target)
        assert f"{100 * (best - pick.ood):.1f} on {target}" in (made / "report.md").read_text()
