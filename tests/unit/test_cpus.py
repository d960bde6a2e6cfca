from pathlib import Path

import pytest

from oodtune.cpus import count_cpus


@pytest.mark.parametrize("text", ["max 100000\n", "", "nonsense"])
def test_without_a_quota_every_visible_cpu_counts(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert count_cpus(tmp_path / "cpu.max") == count_cpus(tmp_path / "missing") >= 1


@pytest.mark.parametrize("text", ["100000 100000\n", "50000 100000\n", "1 100000\n"])
def test_a_quota_of_one_cpu_or_less_is_one_cpu(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert count_cpus(tmp_path / "cpu.max") == 1


def test_a_quota_above_what_is_visible_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000000 100000\n")
    assert count_cpus(tmp_path / "cpu.max") == count_cpus(tmp_path / "missing")
