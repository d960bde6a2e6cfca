from pathlib import Path

from oodtune.artifact import create_artifact, open_artifact
from oodtune.reference import write_reference
from oodtune.stages.failures import record_failure, recorded_failures
from oodtune.stages.trials import expand


def test_failures_are_found_where_they_are_and_a_level_below(tmp_path: Path) -> None:
    record_failure(tmp_path / "task", "ink-plain", "the loss is not finite")
    record_failure(tmp_path / "trials" / "wax", "wax-plain", "no space")
    (tmp_path / "trials" / "oil").mkdir()
    found = recorded_failures([tmp_path / "task", str(tmp_path / "trials"), tmp_path / "none"])
    assert found == {"ink-plain": "the loss is not finite", "wax-plain": "no space"}


def test_a_failure_is_no_trial_not_even_where_a_reference_was(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "volume", "trial"):
        pass
    write_reference(tmp_path / "out", tmp_path / "volume", open_artifact(tmp_path / "volume", "trial").digest)
    assert expand([tmp_path / "out"]) == [tmp_path / "out"]
    record_failure(tmp_path / "out", "ink-plain", "the loss is not finite")
    assert expand([tmp_path / "out"]) == []


def test_equal_failures_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        record_failure(tmp_path / name, "ink-plain", "the loss is not finite")
    assert (tmp_path / "one" / "failure.json").read_bytes() == (tmp_path / "two" / "failure.json").read_bytes()
