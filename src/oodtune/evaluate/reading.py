"""One pass over the stored logits: what every model did, and all that the report says of the chosen one."""

from collections.abc import Mapping
from dataclasses import dataclass

from oodtune.evaluate.members import CurveOf, MemberCurves, member_curves
from oodtune.evaluate.predictions import Model, Predictions
from oodtune.evaluate.results import (
    Judged,
    Result,
    StoredLogits,
    Truth,
    judge_model,
    measure_model,
    read_logits,
    read_truth,
    source_temperature,
)
from oodtune.evaluate.scores import Score
from oodtune.evaluate.table import BASELINE
from oodtune.progress import Progress, silent


@dataclass(frozen=True)
class Reading:
    """Models that two domains were held out of are not in it."""

    results: tuple[Result, ...]
    winner: Result
    judged: Mapping[str, Judged]
    """The winner, by domain; its target domain last."""
    target_ids: tuple[str, ...]
    """Of the images of the winner's target domain, in the order of `judged`."""
    members: tuple[MemberCurves, ...]
    """Of every target domain with two trials or more."""

    @property
    def scores(self) -> list[Score]:
        return [one.score for one in self.results]

    @property
    def baseline(self) -> list[Result]:
        """The baseline's results for the target domain of the winner, which is another row."""
        model = self.winner.model
        return [
            one
            for one in self.results
            if one.model.row == BASELINE != model.row and one.model.target_domain == model.target_domain
        ]


def read_everything(
    predictions: Predictions,
    winner: Model,
    temperature: float,
    curve_of: CurveOf,
    progress: Progress = silent,
) -> Reading:
    """Read every logits file once, a target domain after the other; its trials' logits are held that long.

    `temperature` is the winner's, as it is served; others are fitted to their source out-splits.
    """
    truth = read_truth(predictions)
    models = [model for model in predictions.models if not model.is_validation]
    results: list[Result] = []
    judged: Mapping[str, Judged] = {}
    members = []
    for target in dict.fromkeys(model.target_domain for model in models):
        held: dict[str, StoredLogits] = {}
        for model in (model for model in models if model.target_domain == target):
            progress(len(results), len(models), f"{model.name} without {target}")
            is_winner = (model.target_domain, model.name) == (winner.target_domain, winner.name)
            stored = read_logits(predictions, model)
            heat = temperature if is_winner else source_temperature(predictions, truth, model, stored)
            found = judge_model(predictions, truth, model, stored, heat)
            results.append(measure_model(predictions, truth, model, stored, found, heat))
            judged = found if is_winner else judged
            if model.kind == "trial":
                held[model.name] = stored
        members.append(member_curves(predictions, truth, target, held, curve_of))
    assert judged, "the winner is one of the models"
    return Reading(
        results=tuple(results),
        winner=next(one for one in results if one.model.name == winner.name and _same_target(one.model, winner)),
        judged=judged,
        target_ids=_ids(predictions, truth, winner.target_domain),
        members=tuple(one for one in members if one is not None),
    )


def _same_target(first: Model, second: Model) -> bool:
    return first.target_domain == second.target_domain


def _ids(predictions: Predictions, truth: Truth, domain: str) -> tuple[str, ...]:
    return tuple(one for key in predictions.whole(domain) for one in truth.ids[key])
