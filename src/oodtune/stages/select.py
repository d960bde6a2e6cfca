"""`predictions` -> `selection`: one model per target domain by a rule that never looks at that domain."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oodtune.artifact import create_artifact, write_json
from oodtune.config import SelectConfig, StageParams
from oodtune.errors import ArtifactError
from oodtune.evaluate.calibration import fit_temperature
from oodtune.evaluate.predictions import Model, Predictions, open_predictions
from oodtune.evaluate.scores import Score, score_models
from oodtune.evaluate.selection import RULES


class Params(StageParams):
    select: SelectConfig


def run(predictions: Path | str, out: Path | str, params: Params) -> None:
    """Write a `selection` artifact: the winner of every target, and of the one that ships its temperature.

    Raises ArtifactError if no model was evaluated for `select.target_domain`.
    """
    opened = open_predictions(Path(predictions))
    scores = score_models(opened)
    targets = sorted({score.model.target_domain for score in scores})
    shipped = params.select.target_domain
    if shipped not in targets:
        raise ArtifactError(
            f"{opened.artifact.path}: expected models for target domain {shipped!r}, found only {targets}; "
            "change select.target_domain, or train trials for it"
        )
    picks = {target: _pick(scores, target, params.select) for target in targets}
    winner = picks[shipped]
    with create_artifact(Path(out), "selection", params, {"predictions": opened.artifact}) as writer:
        selection: dict[str, Any] = {
            "target_domain": shipped,
            "rule": params.select.rule,
            "winner": winner.model.model_dump(mode="json"),
            "iid": winner.iid,
            "ood": winner.ood,
            "per_domain": winner.per_domain,
            "temperature": _source_temperature(opened, winner.model),
            "picks": {target: _describe(score) for target, score in picks.items()},
            "reasons": _explain(scores, winner, params.select),
        }
        write_json(writer.path / "selection.json", selection)
        writer.details.update(winner=selection["winner"], target_domain=shipped, rule=params.select.rule)


def _pick(scores: Sequence[Score], target: str, config: SelectConfig) -> Score:
    candidates = {score.model: score for score in scores if score.model.target_domain == target}
    chosen = RULES[config.rule]({model: score.out_accuracy for model, score in candidates.items()})
    return candidates[chosen]


def _source_temperature(predictions: Predictions, model: Model) -> float:
    """Fit the temperature on the source out-splits: the target domain calibrates nothing."""
    splits = predictions.iid_splits(model.target_domain, "out")
    logits = np.concatenate([predictions.logits(model, domain, split) for domain, split in splits])
    labels = np.concatenate([predictions.labels(domain, split) for domain, split in splits])
    return fit_temperature(logits, labels)


def _describe(score: Score) -> dict[str, Any]:
    model = score.model
    return {"name": model.name, "row": model.row, "kind": model.kind, "iid": score.iid, "ood": score.ood}


def _explain(scores: Sequence[Score], winner: Score, config: SelectConfig) -> list[str]:
    target = winner.model.target_domain
    rivals = [score for score in scores if score.model.target_domain == target and score is not winner]
    ranked = sorted(rivals, key=lambda score: -score.out_accuracy)
    reasons = [
        f"{winner.model.name} has the highest mean accuracy on the source out-splits, {winner.out_accuracy:.2%}, "
        f"of {len(rivals) + 1} models trained without {target} (rule {config.rule}).",
        f"The rule saw no image of {target}; the accuracy there, {winner.ood:.2%}, was measured afterwards.",
    ]
    if ranked:
        margin = winner.out_accuracy - ranked[0].out_accuracy
        reasons.append(
            f"The runner-up is {ranked[0].model.name} with {ranked[0].out_accuracy:.2%}, {margin:.2%} behind."
        )
    return reasons
