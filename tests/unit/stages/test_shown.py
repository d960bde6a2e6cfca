"""What of a report the page of a cluster's run shows."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from oodtune.artifact import open_artifact
from oodtune.config import ReportConfig
from oodtune.evaluate.choice import Choice
from oodtune.evaluate.predictions import open_predictions
from oodtune.stages import report, shown
from tests.fixtures.reporting import CLASSES, Inputs, write_inputs

PARAMS = report.Params(report=ReportConfig(title="Three colours"))


@dataclass
class Seen:
    directory: Path
    inputs: Inputs
    metrics: dict[str, float] = field(default_factory=dict)
    confusions: list[tuple[list[str], list[list[int]]]] = field(default_factory=list)

    @property
    def choice(self) -> Choice:
        return Choice.model_validate_json((self.inputs.selection / "selection.json").read_bytes())


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    directory = tmp_path_factory.mktemp("shown")
    seen = Seen(directory, write_inputs(directory / "inputs", ("red", "green", "blue"), num_images=60))
    shown.run(
        *seen.inputs,
        directory / "report",
        PARAMS,
        page=directory / "page" / "data",
        table=directory / "table" / "data",
        metrics=seen.metrics.__setitem__,
        confusion=lambda classes, counts: seen.confusions.append((classes, counts)),
    )
    return seen


def test_the_report_is_the_one_that_report_writes(seen: Seen, tmp_path: Path) -> None:
    report.run(*seen.inputs, tmp_path / "report", PARAMS)
    digests = [open_artifact(path / "report", "report").digest for path in (seen.directory, tmp_path)]
    assert digests[0] == digests[1]


def test_the_page_and_the_table_are_the_reports(seen: Seen) -> None:
    for name, shown_as in (("report.html", "page"), ("report.md", "table")):
        written = (seen.directory / "report" / name).read_bytes()
        assert (seen.directory / shown_as / "data").read_bytes() == written
        assert b"Three colours" in written


def test_the_metrics_are_the_chosen_models_and_every_row_of_the_table(seen: Seen) -> None:
    assert seen.metrics["chosen_iid"] == pytest.approx(seen.choice.iid, abs=1e-6)
    assert seen.metrics["chosen_ood"] == pytest.approx(seen.choice.ood, abs=1e-6)
    picks = seen.choice.picks.values()
    assert seen.metrics["selected_ood"] == pytest.approx(float(np.mean([pick.ood for pick in picks])), abs=1e-6)
    assert seen.metrics["selected_ood"] != seen.metrics["chosen_ood"]
    rows = json.loads((seen.directory / "report" / "metrics.json").read_text())["lodo"]
    assert set(seen.metrics) == {f"{row}_{split}" for row in (*rows, "chosen") for split in ("iid", "ood")}
    assert all(0.0 <= value <= 1.0 for value in seen.metrics.values())


def test_the_confusions_count_every_image_of_the_target_by_its_true_class(seen: Seen) -> None:
    ((classes, counts),) = seen.confusions
    assert classes == list(CLASSES)
    predictions = open_predictions(seen.inputs.predictions)
    logits, labels = predictions.joined(seen.choice.winner, predictions.whole("blue"))
    assert np.asarray(counts).sum(1).tolist() == np.bincount(labels, minlength=len(CLASSES)).tolist()
    assert np.trace(counts) == (logits.argmax(1) == labels).sum()
