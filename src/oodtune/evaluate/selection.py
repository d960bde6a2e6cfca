"""Rules that choose one model without looking at the target domain.

A rule is given accuracies on source out-splits only: it cannot look at the target domain even by mistake.
"""

from collections.abc import Mapping

from oodtune.evaluate.predictions import Model

_COST = {"trial": 0, "soup": 1, "ensemble": 2}
"""Cheapest to explain and serve first: breaks ties."""


def source_out_split(out_accuracy: Mapping[Model, float]) -> Model:
    """Return the model with the highest mean accuracy on its source out-splits.

    DomainBed's training-domain validation (Gulrajani & Lopez-Paz, arXiv 2007.01434, section 3.3).
    All models must be of one target domain: only those share their source out-splits. Ties go to a single
    trial before a soup before an ensemble, then to the first name.
    """
    assert len({model.target_domain for model in out_accuracy}) == 1
    return min(out_accuracy, key=lambda model: (-out_accuracy[model], _COST[model.kind], model.name))


RULES = {"source_out_split": source_out_split}
