"""What a trial measures, while it is trained: JSON lines for programs, a table for `dvc plots` and spreadsheets."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oodtune.train.history import Measurement, Snapshot

LINES = "log.jsonl"
TABLE = "log.tsv"
_AVERAGED = "averaged_"
_ABSENT = "nan"  # not "": in the pictures of `dvc plots`, an empty cell is a zero


class TrialLog:
    """`log.jsonl` and `log.tsv` in one directory, a line a snapshot: written anew at the start, then appended to.

    A line is in its file when `write` returns, for `tail -f`. Equal snapshots give equal bytes. The columns of the
    table are those of `named_numbers`; with `averages`, also those of the average, from the first row on. What was
    not measured is `nan`.
    """

    def __init__(self, directory: Path, averages: bool) -> None:
        self._directory = directory
        self._averages = averages
        self._columns: tuple[str, ...] = ()
        self._num_written = 0

    def write(self, snapshots: Sequence["Snapshot"]) -> None:
        """Write the snapshots that are not there yet, of all those so far. Raises OSError if the disk refuses."""
        new = snapshots[self._num_written :]
        self._append(LINES, (json.dumps(one.to_json()) for one in new))
        self._append(TABLE, self._table_lines(new))
        self._num_written = len(snapshots)

    def _append(self, name: str, lines: Iterable[str]) -> None:
        mode = "a" if self._num_written else "w"
        with (self._directory / name).open(mode, encoding="utf-8", newline="\n") as stream:
            stream.writelines(f"{line}\n" for line in lines)

    def _table_lines(self, snapshots: Sequence["Snapshot"]) -> list[str]:
        lines = []
        for snapshot in snapshots:
            if not self._columns:
                self._columns = self._columns_for(snapshot)
                lines.append("\t".join(self._columns))
            row = named_numbers(snapshot)
            assert row.keys() <= set(self._columns)
            lines.append("\t".join(json.dumps(row[name]) if name in row else _ABSENT for name in self._columns))
        return lines

    def _columns_for(self, snapshot: "Snapshot") -> tuple[str, ...]:
        weights = tuple(_of_weights(snapshot.live))
        averaged = tuple(_AVERAGED + name for name in weights) if self._averages else ()
        return ("step", "loss", *weights, *averaged)


def named_numbers(snapshot: "Snapshot") -> dict[str, float]:
    """Return what was measured, by name: losses in nats, accuracies 0..1.

    `averaged_...` are of the average of the trajectory; without that, they are of the live weights. Names are of
    letters, digits and underscores, as those of domains are, so that nothing needs to be escaped anywhere.
    """
    loss = {} if snapshot.loss is None else {"loss": snapshot.loss}
    averaged = {} if snapshot.averaged is None else _of_weights(snapshot.averaged)
    return {
        "step": snapshot.step,
        **loss,
        **_of_weights(snapshot.live),
        **{_AVERAGED + name: value for name, value in averaged.items()},
    }


def _of_weights(measured: "Measurement") -> dict[str, float]:
    return {
        "source_accuracy": measured.source_accuracy,
        "source_loss": measured.source_loss,
        **{f"accuracy_{domain}": accuracy for domain, accuracy in sorted(measured.accuracy.items())},
    }
