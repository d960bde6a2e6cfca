"""`make audit`: pip-audit on real locks, against advisories as OSV writes them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from requirements.audit import LOCKS, main, parse
from requirements.osv_dump import affects

HASH = f"--hash=sha256:{'0' * 64}"


def advisory(package: str, **affected: Any) -> dict[str, Any]:
    dates = {"modified": "2026-01-01T00:00:00Z", "published": "2026-01-01T00:00:00Z"}
    told = {"id": "PYSEC-2026-1", "summary": "It runs code.", "details": "It runs code.", "aliases": ["CVE-2026-1"]}
    return {**told, **dates, "affected": [{"package": {"name": package, "ecosystem": "PyPI"}, **affected}]}


def fixed_in(version: str) -> list[dict[str, Any]]:
    return [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": version}]}]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text(f"pillow==12.0.0 {HASH}\npyyaml==6.0.3 {HASH}\n", encoding="utf-8")
    return path


def write_dump(directory: Path, *advisories: dict[str, Any]) -> Path:
    directory.mkdir(exist_ok=True)
    for place, one in enumerate(advisories):
        (directory / f"{place}.json").write_text(json.dumps(one), encoding="utf-8")
    return directory


def test_a_version_that_an_advisory_names_is_refused(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = write_dump(tmp_path / "dump", advisory("pillow", ranges=fixed_in("12.0.1")))
    assert main(["--dump", str(dump), str(lock)]) == 1
    said = capsys.readouterr().out
    assert "lock.txt: pillow 12.0.0: PYSEC-2026-1, fixed in 12.0.1" in said
    assert "lock.txt: 2 packages looked up" in said


def test_a_fixed_version_passes_and_a_zip_is_a_dump_too(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("PYSEC-2026-1.json", json.dumps(advisory("pillow", ranges=fixed_in("12.0.0"))))
    assert main(["--dump", str(tmp_path / "all.zip"), str(lock)]) == 0
    assert "0 vulnerabilities known" in capsys.readouterr().out


def test_what_cannot_be_asked_is_not_called_safe(
    lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--osv-url", "http://127.0.0.1:9/v1/query", str(lock)]) == 2
    assert "not checked: lock.txt: " in capsys.readouterr().err
    assert main(["--dump", str(write_dump(tmp_path / "empty")), str(lock)]) == 2
    assert "expected OSV's advisories of PyPI, found none" in capsys.readouterr().err
    lock.write_text("pillow==12.0.0\n", encoding="utf-8")
    dump = write_dump(tmp_path / "dump", advisory("pillow", ranges=fixed_in("1")))
    assert main(["--dump", str(dump), str(lock)]) == 2, "a pin without a hash"


def test_the_locks_of_what_is_shipped_can_be_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = write_dump(tmp_path / "dump", advisory("not-in-any-lock", versions=["1"]))
    locks = [lock for lock in LOCKS if lock.stem in ("build", "serve-cpu")]
    assert main(["--dump", str(dump), *map(str, locks)]) == 0
    said = capsys.readouterr().out
    assert all(f"{lock.name}: " in said for lock in locks)
    assert parse([]).lock == LOCKS


@pytest.mark.parametrize(
    ("affected", "version", "expected"),
    [
        ({"versions": ["1.0", "1.1"]}, "1.1", True),
        ({"versions": ["1.0"]}, "1.2", False),
        ({"ranges": fixed_in("2.0")}, "2.0rc1", True),
        ({"ranges": fixed_in("2.0")}, "2.0", False),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "3"}, {"last_affected": "3.2"}]}]}, "3.2", True),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "3"}, {"last_affected": "3.2"}]}]}, "3.3", False),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "2"}, {"introduced": "1"}]}]}, "1.5", True),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, "1.5", False),
    ],
)
def test_ranges_mean_what_the_schema_says(affected: dict[str, Any], version: str, expected: bool) -> None:
    assert affects(advisory("thing", **affected), "thing", version) is expected
    assert affects(advisory("Some.Thing", **affected), "some-thing", version) is expected
    assert not affects(advisory("thing", **affected), "other", version)
