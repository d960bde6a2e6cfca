"""MLflow as it is installed, on a store of files; what its server does wrong, real sockets do."""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import AugmentConfig, MethodConfig, PreprocessConfig, TrainConfig
from oodtune.errors import Stopped, TrainingError
from oodtune.stages import tracking
from oodtune.stages.tracking import VARIABLE, Tracking, open_tracking
from oodtune.stages.train import Params
from oodtune.stages.trial_log import named_numbers
from oodtune.train.history import Snapshot
from oodtune.trial import NetworkSpec, Trial, TrialRecord
from tests.unit.stages.test_trial_log import make_snapshots

TRIAL = Trial(target_domain="twemoji", method="plain", learning_rate=5e-5, weight_decay=1e-4, seed=3)
PARAMS = Params(augment=AugmentConfig(), train=TrainConfig(steps=100), method=MethodConfig(dropout=0.9))
TAGS = {"init_digest": "1" * 64, "cache_digest": "2" * 64}
RECORD = TrialRecord(
    trial=TRIAL,
    network=NetworkSpec(backbone="test_resnet", classes=("a", "b"), preprocess=PreprocessConfig()),
    init_digest="1" * 64,
    best_step=50,
    source_accuracy=0.71,
)


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Have MLflow keep its runs below the path returned."""
    for name, value in tracking._CAREFUL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tracking, "PATIENCE_S", 30.0)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv(VARIABLE, (tmp_path / "store").as_uri())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return tmp_path / "store"


def train(
    out: Path,
    steps: Sequence[int],
    tags: dict[str, str] = TAGS,
    ends_by: BaseException | None = None,
    said: list[str] | None = None,
) -> None:
    """Do what a training stage does with a trial, but for the training."""
    say = (lambda text: None) if said is None else said.append
    with (
        open_tracking(TRIAL, PARAMS, tags, out, say) as told,
        create_artifact(out, "trial", PARAMS, resume=True) as writer,
    ):
        told.begin(writer.notes_dir)
        snapshots: list[Snapshot] = []
        for snapshot in make_snapshots(*steps, averaged_from=100):
            snapshots.append(snapshot)
            told.write(snapshots)
        if ends_by is not None:
            raise ends_by
        told.finish(RECORD)
        writer.details.update(RECORD.model_dump(mode="json"))


def train_in_vain(out: Path, steps: Sequence[int], error: BaseException, tags: dict[str, str] = TAGS) -> None:
    with pytest.raises(type(error)):
        train(out, steps, tags, error)


def runs(experiment_name: str = "oodtune") -> list[Run]:
    client = MlflowClient()
    experiment = client.get_experiment_by_name(experiment_name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def history(run: Run, name: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in MlflowClient().get_metric_history(run.info.run_id, name)]


def test_without_the_variable_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE)
    before = threading.active_count()
    with open_tracking(TRIAL, PARAMS, TAGS, tmp_path, pytest.fail) as told:
        told.begin(tmp_path)
        told.write(make_snapshots(0))
        assert type(told) is Tracking
        assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_without_mlflow_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said: list[str] = []
    train(tmp_path / "trial", [0, 50], said=said)
    assert len(said) == 1
    assert "pip install 'oodtune[mlflow]'" in said[0]
    open_artifact(tmp_path / "trial", "trial")


def test_a_trial_is_a_run_with_its_settings_its_inputs_and_what_became_of_it(tmp_path: Path) -> None:
    train(tmp_path / "trial", [0, 50, 100], said=(said := []))
    assert said == []
    (run,) = runs()
    assert (run.info.run_name, run.info.status) == (TRIAL.name, "FINISHED")
    expected = {
        "trial.method": "plain",
        "trial.learning_rate": "5e-05",
        "train.optimiser": "adamw",
        "train.milestones": "[0.5]",
        "train.trained_stages": "null",
        "augment.jitter": "0.3",
        "method.dropout": "0.9",
    }
    assert expected.items() <= run.data.params.items()
    assert run.data.tags["oodtune.init_digest"] == "1" * 64
    assert run.data.tags["oodtune.trial_digest"] == open_artifact(tmp_path / "trial", "trial").digest
    assert (run.data.metrics["best_step"], run.data.metrics["kept_source_accuracy"]) == (50.0, 0.71)


def test_metrics_are_the_numbers_of_the_table(tmp_path: Path) -> None:
    train(tmp_path / "trial", [0, 50, 100])
    (run,) = runs()
    snapshots = make_snapshots(0, 50, 100, averaged_from=100)
    names = {name for snapshot in snapshots for name in named_numbers(snapshot)} - {"step"}
    assert set(run.data.metrics) == names | {"best_step", "kept_source_accuracy"}
    for name in names:
        numbers = [(one.step, named_numbers(one)) for one in snapshots]
        assert history(run, name) == [(step, values[name]) for step, values in numbers if name in values]


def test_the_experiment_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "emoji")
    train(tmp_path / "trial", [0])
    assert len(runs("emoji")) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(Stopped("SIGTERM", 15), "KILLED"), (TrainingError("the loss is not finite"), "FAILED")]
)
def test_a_run_ends_as_its_trial_does(error: BaseException, status: str, tmp_path: Path) -> None:
    train_in_vain(tmp_path / "trial", [0, 50], error)
    (run,) = runs()
    assert run.info.status == status
    assert "oodtune.trial_digest" not in run.data.tags


def test_a_resumed_trial_goes_on_with_its_run_and_tells_no_step_twice(tmp_path: Path) -> None:
    train_in_vain(tmp_path / "trial", [0, 50], Stopped("SIGTERM", 15))
    train(tmp_path / "trial", [0, 50, 100])
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(run, "source_accuracy")] == [0, 50, 100]
    assert [step for step, _ in history(run, "loss")] == [50, 100]


def test_a_run_that_was_deleted_is_not_gone_on_with(tmp_path: Path) -> None:
    train_in_vain(tmp_path / "trial", [0, 50], Stopped("SIGTERM", 15))
    MlflowClient().delete_run(runs()[0].info.run_id)
    train(tmp_path / "trial", [0, 50, 100], said=(said := []))
    assert said == []
    (run,) = runs()
    assert [step for step, _ in history(run, "source_accuracy")] == [0, 50, 100]


def test_a_trial_whose_bits_depend_on_something_else_is_another_run(tmp_path: Path) -> None:
    train_in_vain(tmp_path / "trial", [0, 50], Stopped("SIGTERM", 15), {**TAGS, "device": "cuda"})
    train(tmp_path / "trial", [0, 50], {**TAGS, "device": "cpu"})
    assert {run.data.tags["oodtune.device"]: run.info.status for run in runs()} == {"cuda": "KILLED", "cpu": "FINISHED"}


def test_a_damaged_note_of_the_run_begins_another(tmp_path: Path) -> None:
    train_in_vain(tmp_path / "trial", [0], Stopped("SIGTERM", 15))
    note = tmp_path / ".trial.partial" / "notes" / ".mlflow"
    note.write_text(note.read_text()[:20])
    train(tmp_path / "trial", [0])
    assert sorted(run.info.status for run in runs()) == ["FINISHED", "KILLED"]


def test_what_a_failing_store_did_not_take_is_sent_when_it_works_again(files: Path, tmp_path: Path) -> None:
    files.write_text("no directory, so that nothing can be stored")
    said: list[str] = []
    with (
        open_tracking(TRIAL, PARAMS, TAGS, tmp_path / "trial", said.append) as told,
        create_artifact(tmp_path / "trial", "trial", PARAMS) as writer,
    ):
        told.begin(writer.notes_dir)
        told.write(make_snapshots(0))
        wait_for(lambda: bool(said))
        files.unlink()
        told.write(make_snapshots(0, 50))
        told.finish(RECORD)
    (run,) = runs()
    assert len(said) == 1
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(run, "source_accuracy")] == [0, 50]


def wait_for(fact: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60.0
    while not fact():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_a_server_that_never_answers_holds_nothing_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracking, "PATIENCE_S", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes every connection
        monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{listener.getsockname()[1]}")
        begun_s = time.monotonic()
        train(tmp_path / "trial", range(0, 1000, 10), said=said)
        assert time.monotonic() - begun_s < 10
    open_artifact(tmp_path / "trial", "trial")
    wait_for(lambda: not any(thread.name == "mlflow" for thread in threading.enumerate()))
    assert len(said) == 1
    assert "has not answered within 0.5 s" in said[0]


def test_a_server_that_is_down_is_one_line_without_the_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv(VARIABLE, f"http://anna:secret@127.0.0.1:{port}")
    said: list[str] = []
    train(tmp_path / "trial", [0, 50, 100], said=said)
    open_artifact(tmp_path / "trial", "trial")
    assert len(said) == 1
    assert f"127.0.0.1:{port}" in said[0]
    assert "secret" not in said[0]
    assert "\n" not in said[0]
    assert capfd.readouterr() == ("", "")


def test_the_note_in_the_trial_holds_no_address(tmp_path: Path) -> None:
    train_in_vain(tmp_path / "trial", [0], Stopped("SIGTERM", 15))
    note = json.loads((tmp_path / ".trial.partial" / "notes" / ".mlflow").read_text())
    assert set(note) == {"key", "tags"}
    assert "store" not in json.dumps(note)
