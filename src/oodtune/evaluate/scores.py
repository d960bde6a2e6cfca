"""iid and ood accuracy of every model, from stored logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from oodtune.config import held_out_domains
from oodtune.evaluate.metrics import accuracy
from oodtune.evaluate.predictions import Model, Predictions, Split


@dataclass(frozen=True)
class Score:
    """How one model did. All accuracies are shares, 0..1."""

    model: Model
    iid: float
    """Mean over the source domains of the accuracy on their test-splits, or on their out-splits if they have none."""
    ood: float
    """Accuracy on all images of the target domain; of a pair, the mean of both."""
    per_domain: dict[str, float]
    """Source domains: on the split of `iid`. Target domains: on all their images."""
    out_accuracy: float
    """Mean over the source domains of the accuracy on their out-splits: what models are chosen by."""
    iid_split: Literal["out", "test"] = "out"
    """Which splits `iid` was measured on."""


def score_models(predictions: Predictions) -> list[Score]:
    """Score every model, in the order in which they are stored."""
    return [_score(predictions, model) for model in predictions.models]


def _score(predictions: Predictions, model: Model) -> Score:
    targets = held_out_domains(model.target_domain)
    sources = [domain for domain in predictions.domains if domain not in targets]
    out = {domain: _accuracy(predictions, model, [(domain, "out")]) for domain in sources}
    tested = {domain: _accuracy(predictions, model, [(domain, "test")]) for domain in sources if predictions.has_test}
    iid = tested or out
    ood = {domain: _accuracy(predictions, model, predictions.whole(domain)) for domain in targets}
    return Score(
        model,
        iid=float(np.mean(list(iid.values()))),
        ood=float(np.mean(list(ood.values()))),
        per_domain={domain: ood[domain] if domain in ood else iid[domain] for domain in predictions.domains},
        out_accuracy=float(np.mean(list(out.values()))),
        iid_split="test" if predictions.has_test else "out",
    )


def _accuracy(predictions: Predictions, model: Model, splits: Sequence[tuple[str, Split]]) -> float:
    return accuracy(*predictions.joined(model, splits))
