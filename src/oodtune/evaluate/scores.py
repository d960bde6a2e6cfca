"""iid and ood accuracy of every model, from stored logits."""

from dataclasses import dataclass

import numpy as np

from oodtune.evaluate.metrics import accuracy
from oodtune.evaluate.predictions import Model, Predictions


@dataclass(frozen=True)
class Score:
    """How one model did. All accuracies are shares, 0..1."""

    model: Model
    iid: float
    """Mean over the source domains of the accuracy on their out-splits."""
    ood: float
    """Accuracy on all images of the target domain."""
    per_domain: dict[str, float]
    """Source domains: on the out-split. Target domain: on all its images."""


def score_models(predictions: Predictions) -> list[Score]:
    """Score every model, in the order in which they are stored."""
    return [_score(predictions, model) for model in predictions.models]


def _score(predictions: Predictions, model: Model) -> Score:
    target = model.target_domain
    per_domain = {}
    for domain in predictions.domains:
        splits = [split for scored, split in predictions.splits(target) if scored == domain]
        logits = np.concatenate([predictions.logits(model, domain, split) for split in splits])
        labels = np.concatenate([predictions.labels(domain, split) for split in splits])
        per_domain[domain] = accuracy(logits, labels)
    sources = [domain for domain in predictions.domains if domain != target]
    iid = float(np.mean([per_domain[domain] for domain in sources]))
    return Score(model, iid=iid, ood=per_domain[target], per_domain=per_domain)
