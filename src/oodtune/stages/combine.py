"""`cache` + `init` + `trial`s -> `soup`: the weight averages of every target domain's trials."""

from collections.abc import Sequence
from pathlib import Path

from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import CombineConfig, StageParams, SweepConfig
from oodtune.data.cache import open_cache
from oodtune.progress import progress_bar
from oodtune.stages.soup_plan import SoupPlan, plan_soups
from oodtune.stages.trials import check_one_origin, open_planned_trials, trial_inputs
from oodtune.trial import Soup, SoupRecord, Tried


class Params(StageParams):
    sweep: SweepConfig
    combine: CombineConfig


def run(
    cache: Path | str,
    init: Path | str,
    trials: Sequence[Path | str],
    out: Path | str,
    params: Params,
    device: str = "auto",
) -> None:
    """Write a `soup` artifact, with the names of the trials that there were.

    Greedy soups are chosen on the source out-splits; no image of a target domain is used for it. Raises
    ArtifactError if a target domain has no trials, or trials that cannot be averaged.
    """
    from oodtune.model.device import choose_device
    from oodtune.model.weights import save_weights
    from oodtune.stages.soup_kitchen import Kitchen

    opened, initial = open_cache(Path(cache)), open_artifact(Path(init), "init")
    planned = open_planned_trials(trials, params.sweep)
    plans = {target: plan_soups(group, params.combine) for target, group in planned.by_target.items()}
    for group in planned.by_target.values():
        check_one_origin(group)
    inputs = {"cache": opened.artifact, "init": initial, **trial_inputs(planned.all)}
    with create_artifact(Path(out), "soup", params, inputs) as writer, progress_bar("Average weights") as progress:
        soups: list[Soup] = []
        total = sum(map(len, plans.values()))
        for target, group in planned.by_target.items():
            kitchen = Kitchen(opened, initial, target, group, choose_device(device))
            for plan in plans[target]:
                progress(len(soups), total, f"{plan.name} of {target}")
                state, tried = kitchen.make(plan)
                soups.append(_describe(plan, target, tried))
                save_weights(state, writer.path / soups[-1].path)
        progress(len(soups), total, "")
        record = SoupRecord(
            network=planned.all[0].record.network,
            soups=tuple(soups),
            trials=tuple(trial.name for trial in planned.all),
            missing=planned.missing,
        )
        writer.details.update(record.model_dump(mode="json"))


def _describe(plan: SoupPlan, target: str, tried: tuple[Tried, ...]) -> Soup:
    accepted = tuple(one.name for one in tried if one.accepted)
    return Soup(
        target_domain=target,
        name=plan.name,
        row=plan.row,
        ingredients=accepted or plan.ingredients,
        path=f"{target}/{plan.name}.safetensors",
        tried=tried,
        trial=plan.trial,
    )
