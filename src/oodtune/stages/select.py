"""`predictions` -> `selection`: one model per target domain, by a rule, within limits, with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oodtune.artifact import create_artifact, write_json
from oodtune.config import SelectConfig, StageParams
from oodtune.errors import ArtifactError, SelectionError, UserError
from oodtune.evaluate.calibration import fit_temperature
from oodtune.evaluate.choice import Candidate, Choice, Margin, Pick
from oodtune.evaluate.gate import check_margin, keep_out, limits, measure_margin
from oodtune.evaluate.predictions import Model, Predictions, open_predictions
from oodtune.evaluate.reasons import explain, write_out
from oodtune.evaluate.scores import Score, score_models
from oodtune.evaluate.selection import Observed, Ranked, domains_seen, observe, rank, targets_of


class Params(StageParams):
    select: SelectConfig


@dataclass(frozen=True)
class Decision:
    """The models of one target domain as the rule ranks them, and which of them may not be chosen."""

    observed: Observed
    """What the rule goes by."""
    ranked: Sequence[Ranked]
    kept_out: Mapping[Model, str]
    """Model -> the key of the limit that it misses."""

    @property
    def winner(self) -> Model:
        return next(one.model for one in self.ranked if one.model not in self.kept_out)


def run(predictions: Path | str, out: Path | str, params: Params) -> None:
    """Write a `selection` artifact: the winner of every target, and of the one that ships its temperature.

    `selection.json` is a `Choice`, `selection.md` the same to read. Raises SelectionError, and writes nothing, if no
    model of `select.target_domain` meets the constraints; ArtifactError if none was evaluated for it, or none of what
    the rule goes by; ConfigError if `select.row` is unknown.
    """
    opened = open_predictions(Path(predictions))
    choice = choose(opened, params.select)
    if choice.refused is not None:
        raise SelectionError(choice.refused)
    write(Path(out), opened, choice, params)


def write(out: Path, opened: Predictions, choice: Choice, params: Params) -> None:
    """Write the `selection` artifact of a choice made from `opened`."""
    with create_artifact(out, "selection", params, {"predictions": opened.artifact}) as writer:
        winner = choice.winner.model_dump(mode="json")
        write_json(writer.path / "selection.json", choice.model_dump(mode="json"))
        (writer.path / "selection.md").write_text(write_out(choice), encoding="utf-8")
        writer.details.update(
            winner=winner, target_domain=choice.target_domain, rule=choice.rule, refused=choice.refused
        )


def choose(predictions: Predictions, config: SelectConfig) -> Choice:
    """Return the choice, also one that `select` refuses: it says why. Raises as `run` does for all else."""
    scores = {score.model: score for score in score_models(predictions)}
    targets, shipped = targets_of(scores), config.target_domain
    if shipped not in targets:
        raise ArtifactError(
            f"{predictions.artifact.path}: expected models for target domain {shipped!r}, found only {targets}; "
            "change select.target_domain, or train trials for it"
        )
    decision, refused = _decide_or_refuse(scores, shipped, config)
    winner = scores[decision.winner]
    baseline = sorted({m.recipe for m in scores if m.target_domain == shipped and m.row == config.baseline})
    margin = measure_margin(decision.observed, winner.model.recipe, baseline, config.margin_level)
    refused = refused or _refusal_of_margin(margin, winner.model.recipe, config)
    seen = domains_seen(winner, decision.observed, config.rule)
    picks, no_pick = _pick_others(scores, config, [target for target in targets if target != shipped])
    choice = Choice(
        target_domain=shipped,
        rule=config.rule,
        winner=winner.model,
        iid=winner.iid,
        ood=winner.ood,
        per_domain=winner.per_domain,
        temperature=_source_temperature(predictions, winner.model),
        picks={shipped: _describe(winner, seen), **picks},
        recipe=winner.model.recipe,
        constraints=config.model_dump(mode="json", exclude={"rule", "target_domain"}, exclude_none=True),
        candidates=tuple(_candidate(one, decision, scores) for one in decision.ranked),
        scored_on=seen,
        margin=margin,
        refused=refused,
        reasons=(),
    )
    num_models = sum(model.target_domain == shipped for model in scores)
    return choice.model_copy(update={"reasons": explain(choice, num_models, no_pick)})


def _decide_or_refuse(scores: Mapping[Model, Score], target: str, config: SelectConfig) -> tuple[Decision, str | None]:
    """Return the decision and, if no model meets the limits, what the nearest misses: it is then one without limits."""
    try:
        return _decide(scores, target, config), None
    except SelectionError as error:
        ranked = rank(list(scores.values()), target, config.rule, config.row)
        return Decision(observe(list(scores.values()), target, config.rule), ranked, {}), str(error)


def _refusal_of_margin(margin: Margin | None, recipe: str, config: SelectConfig) -> str | None:
    try:
        check_margin(margin, recipe, config)
    except SelectionError as error:
        return str(error)
    return None


def _decide(scores: Mapping[Model, Score], target: str, config: SelectConfig) -> Decision:
    """Rank by the rule and keep out what misses a limit: the first that is left is what the rule picks within them."""
    ranked = rank(list(scores.values()), target, config.rule, config.row)
    out_accuracy = {one.model: scores[one.model].out_accuracy for one in ranked}
    kept_out = keep_out(ranked, target, limits(out_accuracy, config))
    return Decision(observe(list(scores.values()), target, config.rule), ranked, kept_out)


def _pick_others(
    scores: Mapping[Model, Score], config: SelectConfig, targets: Sequence[str]
) -> tuple[dict[str, Pick], dict[str, str]]:
    """Return the picks for targets that do not ship, and why some have none: that refuses nothing."""
    picks, no_pick = {}, {}
    for target in targets:
        try:
            decision = _decide(scores, target, config)
            score = scores[decision.winner]
            picks[target] = _describe(score, domains_seen(score, decision.observed, config.rule))
        except UserError as error:
            no_pick[target] = str(error)
    return picks, no_pick


def _source_temperature(predictions: Predictions, model: Model) -> float:
    """Fit the temperature on the source out-splits: the target domain calibrates nothing."""
    return fit_temperature(*predictions.joined(model, predictions.iid_splits(model.target_domain, "out")))


def _describe(score: Score, scored_on: tuple[str, ...]) -> Pick:
    model = score.model
    return Pick(
        name=model.name,
        row=model.row,
        kind=model.kind,
        iid=score.iid,
        ood=score.ood,
        scored_on=scored_on,
    )


def _candidate(one: Ranked, decision: Decision, scores: Mapping[Model, Score]) -> Candidate:
    model = one.model
    return Candidate(
        name=model.name,
        row=model.row,
        recipe=model.recipe,
        kind=model.kind,
        seen=one.seen,
        out_accuracy=scores[model].out_accuracy,
        num_networks=model.num_networks,
        num_bytes=model.num_bytes,
        kept_out_by=decision.kept_out.get(model),
    )
