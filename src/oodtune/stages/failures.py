"""Trials that failed in a cluster, each a directory that holds the reason instead of weights.

There, one failed task would end the whole loop of trials; recorded, the rest goes on and is compared.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from oodtune.artifact import write_json

FAILURE = "failure.json"


def record_failure(out: Path, trial: str, reason: str) -> None:
    """Leave in `out`, in place of all that is there, that `trial` failed, and the one line that says why."""
    shutil.rmtree(out, ignore_errors=True)  # a reference of an earlier attempt would be taken for a trial
    out.mkdir(parents=True)
    write_json(out / FAILURE, {"trial": trial, "reason": reason})


def recorded_failures(paths: Sequence[Path | str]) -> dict[str, str]:
    """Return trial -> reason of those directories that hold a failure, or have directories in them that do."""
    files = [file for path in map(Path, paths) for file in (path / FAILURE, *sorted(path.glob(f"*/{FAILURE}")))]
    read = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    return {one["trial"]: one["reason"] for one in read}
