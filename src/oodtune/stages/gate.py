"""`predictions` + `trial`s -> `selection` and the trials it is made of: the choice as a pipeline branches on it."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from oodtune.artifact import MANIFEST, write_json
from oodtune.evaluate.predictions import Model, open_predictions
from oodtune.reference import read_reference, write_reference
from oodtune.stages import select
from oodtune.stages.trials import expand, open_trials
from oodtune.trial import trial_of

Params = select.Params


def run(
    predictions: Path | str,
    trials: Sequence[Path | str],
    out: Path | str,
    members: Path | str,
    params: Params,
) -> bool:
    """Write a `selection` artifact as `select.run` does, also where it is refused; return whether it may ship.

    A refused selection is for the report: it says what was best and what that misses, and export takes none.
    `members` gets the trials that the chosen model is made of, by name, so that export reads no others: of trials
    on a shared volume, references; of a soup, which holds its weights itself, none.
    """
    opened = open_predictions(Path(predictions))
    choice = select.choose(opened, params.select)
    if choice.refused is not None:
        print(f"refused: {choice.refused}", file=sys.stderr)
    select.write(Path(out), opened, choice, params)
    _hand_on(choice.winner, trials, Path(members))
    return choice.refused is None


def _hand_on(winner: Model, trials: Sequence[Path | str], members: Path) -> None:
    members.mkdir(parents=True, exist_ok=True)
    write_json(members / "winner.json", {"name": winner.name, "kind": winner.kind})
    if winner.kind == "soup":
        return
    wanted = {trial_of(name) for name in (winner.members or (winner.name,))}
    for path in expand(trials):
        (name,) = open_trials([path], verify=False)
        if name not in wanted:
            continue
        if (referred := read_reference(path)) is not None:
            write_reference(members / name, referred.path, referred.digest)
        else:
            assert (path / MANIFEST).exists()
            shutil.copytree(path, members / name)
