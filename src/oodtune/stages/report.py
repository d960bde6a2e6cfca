"""`trial`s + `predictions` + `selection` -> `report`: what a decision is made on."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oodtune import __version__
from oodtune.artifact import Artifact, create_artifact, open_artifact, write_json
from oodtune.config import ReportConfig, StageParams
from oodtune.errors import ArtifactError
from oodtune.evaluate.curves import Curve, curve_panels
from oodtune.evaluate.page import Choice, DomainAccuracy, Origin, Page, render_page
from oodtune.evaluate.palette import row_styles
from oodtune.evaluate.predictions import Predictions, open_predictions
from oodtune.evaluate.scatter import draw_scatter
from oodtune.evaluate.scores import Score, score_models
from oodtune.evaluate.table import SELECTED, LodoTable, lodo_table
from oodtune.stages.trials import OpenTrial, open_trials, trial_inputs

Snapshot = dict[str, Any]
"""A line of a trial's `log.jsonl`."""


class Params(StageParams):
    report: ReportConfig


def run(
    trials: Sequence[Path | str],
    predictions: Path | str,
    selection: Path | str,
    out: Path | str,
    params: Params,
) -> None:
    """Write a `report` artifact. Raises ArtifactError if its inputs do not belong together."""
    opened = open_predictions(Path(predictions))
    selected = _open_selection(Path(selection), opened.artifact)
    evaluated = _evaluated_trials(trials, opened)
    logs = {trial.record.trial.name: _read_log(trial) for trial in evaluated}
    choice = Choice.model_validate_json((selected.path / "selection.json").read_bytes())
    scores = score_models(opened)
    picks = {target: pick.model_dump() for target, pick in choice.picks.items()}
    table = lodo_table(scores, picks)
    inputs = {"predictions": opened.artifact, "selection": selected, **trial_inputs(evaluated)}
    with create_artifact(Path(out), "report", params, inputs) as writer:
        page = Page(
            title=params.report.title,
            choice=choice,
            table=table,
            styles=row_styles(scores),
            scatter_light=draw_scatter(scores, picks),
            scatter_dark=draw_scatter(scores, picks, "dark"),
            curves=curve_panels([_curve(trial, logs[trial.record.trial.name]) for trial in evaluated]),
            domains=_domain_accuracies(opened, scores, choice),
            settings=_shared_settings(evaluated),
            origins=_origins(opened.artifact, selected, evaluated),
            version=__version__,
        )
        (writer.path / "report.html").write_text(render_page(page), encoding="utf-8")
        (writer.path / "scatter.png").write_bytes(page.scatter_light)
        (writer.path / "table.md").write_text(table.to_markdown(), encoding="utf-8")
        write_json(writer.path / "metrics.json", _metrics(table, choice))
        summary = {
            "title": params.report.title,
            "choice": choice.model_dump(mode="json"),
            "table": table.model_dump(mode="json"),
        }
        write_json(writer.path / "summary.json", summary)
        _write_points(writer.path / "points.csv", scores)
        _write_curves(writer.path / "curves.csv", logs)


def _open_selection(path: Path, predictions: Artifact) -> Artifact:
    selection = open_artifact(path, "selection")
    if selection.manifest.inputs["predictions"] != predictions.digest:
        raise ArtifactError(
            f"{path}: expected a selection made from {predictions.path}, found one of other predictions; "
            "run `oodtune select` again"
        )
    return selection


def _evaluated_trials(paths: Sequence[Path | str], predictions: Predictions) -> list[OpenTrial]:
    """Open the trials that were evaluated, in the order of `predictions`; others on disk are left alone."""
    found = open_trials(paths)
    evaluated = []
    for model in predictions.models:
        if model.kind != "trial":
            continue
        trial = found.get(model.name)
        if trial is None:
            raise ArtifactError(
                f"expected the trials evaluated in {predictions.artifact.path}, found no {model.name}; "
                "pass the directories that `oodtune evaluate` was given"
            )
        if trial.artifact.digest != predictions.artifact.manifest.inputs[model.name]:
            raise ArtifactError(
                f"{trial.artifact.path}: expected the trial evaluated in {predictions.artifact.path}, "
                "found one trained since; run `oodtune evaluate` again"
            )
        evaluated.append(trial)
    return evaluated


def _read_log(trial: OpenTrial) -> list[Snapshot]:
    lines = (trial.artifact.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _curve(trial: OpenTrial, log: Sequence[Snapshot]) -> Curve:
    planned = trial.record.trial
    # Of the weights that the trial would keep: the average of the trajectory, where there is one.
    measured = [(line["step"], line.get("averaged", line)["source_accuracy"]) for line in log]
    snapshots = tuple((step, accuracy) for step, accuracy in measured if accuracy is not None)
    return Curve(planned.name, planned.target_domain, planned.method, trial.record.best_step, snapshots)


def _domain_accuracies(predictions: Predictions, scores: Sequence[Score], choice: Choice) -> list[DomainAccuracy]:
    """Return the accuracy of the chosen model on each domain, its target last."""
    winner = next(score for score in scores if score.model == choice.winner)
    num_images = dict.fromkeys(winner.per_domain, 0)
    for domain, split in predictions.splits(choice.target_domain):
        if domain == choice.target_domain or split == winner.iid_split:
            num_images[domain] += len(predictions.ids(domain, split))
    accuracies = [
        DomainAccuracy(domain, accuracy, num_images[domain], domain == choice.target_domain)
        for domain, accuracy in winner.per_domain.items()
    ]
    return sorted(accuracies, key=lambda one: one.is_target)


def _shared_settings(trials: Sequence[OpenTrial]) -> dict[str, dict[str, object]]:
    """Return the settings that are equal in all trials, by section, and the network they share."""
    networks = [trial.record.network for trial in trials]
    sections: dict[str, list[Mapping[str, object]]] = {
        "network": [{"backbone": one.backbone, **one.preprocess.model_dump(mode="json")} for one in networks],
        **{name: [trial.artifact.manifest.params[name] for trial in trials] for name in ("train", "augment")},
    }
    return {name: _common(values) for name, values in sections.items() if values}


def _common(values: Sequence[Mapping[str, object]]) -> dict[str, object]:
    first = values[0]
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in values)}


def _origins(predictions: Artifact, selection: Artifact, trials: Sequence[OpenTrial]) -> list[Origin]:
    """Return what the report was made from and, above it, what those were made from."""
    names = {trial.record.trial.name for trial in trials}
    upstream = dict(predictions.manifest.inputs)
    for trial in trials:
        upstream.update(trial.artifact.manifest.inputs)
    return [
        *(Origin(name, name, digest) for name, digest in sorted(upstream.items()) if name not in names),
        *(Origin(trial.record.trial.name, "trial", trial.artifact.digest) for trial in trials),
        Origin("predictions", "predictions", predictions.digest),
        Origin("selection", "selection", selection.digest),
    ]


def _metrics(table: LodoTable, choice: Choice) -> dict[str, Any]:
    """Return shares, 0..1, for `dvc metrics show`: the chosen model; each row's mean over target domains."""
    means = {row.name: row.mean for row in table.rows if row.mean is not None}
    return {
        SELECTED: {"iid": round(choice.iid, 6), "ood": round(choice.ood, 6)},
        "lodo": {
            name: {"iid": round(mean.iid.mean / 100.0, 6), "ood": round(mean.ood.mean / 100.0, 6)}
            for name, mean in means.items()
        },
    }


def _write_points(path: Path, scores: Sequence[Score]) -> None:
    rows = (
        (
            score.model.target_domain,
            score.model.row,
            score.model.name,
            round(score.iid, 6),
            round(score.ood, 6),
        )
        for score in scores
    )
    _write_csv(path, ("target_domain", "row", "model", "iid", "ood"), rows)


def _write_curves(path: Path, logs: Mapping[str, Sequence[Snapshot]]) -> None:
    rows = (
        (name, line["step"], _rounded(line["loss"]), _rounded(line["source_accuracy"]))
        for name, log in logs.items()
        for line in log
    )
    _write_csv(path, ("trial", "step", "loss", "source_accuracy"), rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
