import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from oodtune.stages.trial_log import TrialLog, named_numbers
from oodtune.train.history import Measurement, Snapshot

LIVE = ("source_accuracy", "source_loss", "accuracy_line", "accuracy_noto")


def measure(accuracy: float) -> Measurement:
    return Measurement({"noto": accuracy, "line": accuracy / 2}, {"noto": 1 - accuracy, "line": 2 - accuracy})


def make_snapshots(*steps: int, averaged_from: int | None = None) -> list[Snapshot]:
    return [
        Snapshot(
            step,
            1 / step if step else None,
            measure(0.5 + step / 1000),
            measure(0.6 + step / 1000) if averaged_from is not None and step >= averaged_from else None,
        )
        for step in steps
    ]


def write_one_by_one(log: TrialLog, snapshots: list[Snapshot]) -> None:
    for count in range(1, len(snapshots) + 1):
        log.write(snapshots[:count])


def read_table(directory: Path) -> list[dict[str, str]]:
    with (directory / "log.tsv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, dialect="excel-tab"))


def test_every_snapshot_is_one_line_and_one_row(tmp_path: Path) -> None:
    snapshots = make_snapshots(0, 50, 100)
    write_one_by_one(TrialLog(tmp_path, averages=False), snapshots)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [Snapshot.from_json(json.loads(line)) for line in lines] == snapshots
    assert [row["step"] for row in read_table(tmp_path)] == ["0", "50", "100"]


def test_a_row_is_in_its_file_when_write_returns(tmp_path: Path) -> None:
    log = TrialLog(tmp_path, averages=False)
    log.write(make_snapshots(0))
    log.write(make_snapshots(0, 50))
    assert [len((tmp_path / name).read_text().splitlines()) for name in ("log.jsonl", "log.tsv")] == [2, 3]


def test_the_table_holds_the_numbers_in_full(tmp_path: Path) -> None:
    snapshots = make_snapshots(0, 30)
    TrialLog(tmp_path, averages=False).write(snapshots)
    row = read_table(tmp_path)[1]
    assert tuple(row) == ("step", "loss", *LIVE)
    assert {name: float(text) for name, text in row.items()} == named_numbers(snapshots[1])


def test_columns_of_an_average_that_begins_later_are_there_from_the_first_row_on(tmp_path: Path) -> None:
    snapshots = make_snapshots(0, 50, 100, averaged_from=100)
    write_one_by_one(TrialLog(tmp_path, averages=True), snapshots)
    rows = read_table(tmp_path)
    assert [row["averaged_source_accuracy"] for row in rows[:2]] == ["nan", "nan"]
    assert float(rows[2]["averaged_accuracy_noto"]) == snapshots[2].chosen.accuracy["noto"]
    assert {len(line.split("\t")) for line in (tmp_path / "log.tsv").read_text().splitlines()} == {2 + 2 * len(LIVE)}


def test_a_resumed_trial_leaves_the_bytes_of_one_that_was_not_interrupted(tmp_path: Path) -> None:
    snapshots = make_snapshots(0, 50, 100, 150)
    for name in ("straight", "resumed"):
        (tmp_path / name).mkdir()
    write_one_by_one(TrialLog(tmp_path / "straight", averages=False), snapshots)
    write_one_by_one(TrialLog(tmp_path / "resumed", averages=False), snapshots[:3])
    resumed = TrialLog(tmp_path / "resumed", averages=False)
    resumed.write(snapshots[:2])  # what the checkpoint holds
    resumed.write(snapshots[:3])
    resumed.write(snapshots)
    for name in ("log.jsonl", "log.tsv"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_dvc_plots_draws_the_table(tmp_path: Path) -> None:
    TrialLog(tmp_path, averages=False).write(make_snapshots(0, 50))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "show", "log.tsv", "-x", "step", "-y", "source_loss", "--json"],
        cwd=tmp_path,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    (plot,) = json.loads(shown.stdout)["data"]["log.tsv"]
    values = plot["content"]["data"]["values"]
    assert [(one["step"], one["source_loss"]) for one in values] == [("0", "1.0"), ("50", "0.95")]
