"""The table of the whole-system test hides nothing."""

import json
from pathlib import Path

import pytest

from tests.system.ledger import BrokenError, Ledger


def test_what_nobody_judged_is_not_called_survived(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.begin("sweep")
    ledger.note_kill("the newest process", 3.25, "train: started")
    ledger.survived("the trial has the bytes of an undisturbed one")
    ledger.begin("publish")
    ledger.note_kill("everything", 0.5, "it had said nothing yet")
    assert [one.step for one in ledger.unjudged()] == ["publish"]
    first, second = ledger.table().splitlines()[2:]
    assert first.startswith("| sweep | `kill -9`: the newest process | 3.2 | train: started | the trial has")
    assert second.endswith("| **not known** |")
    ledger.write(tmp_path / "survived.json", 7, None)
    found = json.loads((tmp_path / "survived.json").read_bytes())
    assert found["seed"] == 7
    assert [one["survived"] != "" for one in found["injections"]] == [True, False]


def test_what_is_not_so_ends_the_story() -> None:
    ledger = Ledger()
    ledger.begin("publish")
    ledger.expect(True, "one version is in the registry", 1)
    with pytest.raises(BrokenError, match="publish: expected one version is in the registry, found 2"):
        ledger.expect(False, "one version is in the registry", 2)
    assert [one.found for one in ledger.checks] == ["1"]
