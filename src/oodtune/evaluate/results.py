"""What every model made of every split: logits are read once, judged, and dropped; the numbers stay."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from oodtune.evaluate.abstention import confidence_auroc, risk_coverage, selective_accuracy
from oodtune.evaluate.calibration import expected_calibration_error, fit_temperature
from oodtune.evaluate.classification import class_recalls, macro_accuracy, top_k_accuracy, worst_class
from oodtune.evaluate.metrics import Labels, Logits, accuracy
from oodtune.evaluate.outcomes import Floats, Outcomes, judge
from oodtune.evaluate.predictions import Model, Predictions, Split
from oodtune.evaluate.scores import Score

_FEW_CLASSES = 10

_Array = TypeVar("_Array", Logits, Labels)

StoredLogits = Mapping[tuple[str, Split], Logits]
"""(domain, split) -> (N, K), of one model."""


@dataclass(frozen=True)
class Truth:
    """Labels and ids of every split, read once."""

    labels: Mapping[tuple[str, Split], Labels]
    ids: Mapping[tuple[str, Split], tuple[str, ...]]


@dataclass(frozen=True)
class Judged:
    """One model on one domain: a source domain on the split of iid, the target domain on all its images."""

    split: Literal["out", "test", "all"]
    raw: Outcomes
    calibrated: Outcomes
    """With the temperature that was fitted on the source out-splits."""
    top5_accuracy: float | None = None
    """None if there are no more than 10 classes: five answers would say little."""


@dataclass(frozen=True)
class DomainMeasures:
    """Metrics of one model on one domain. Shares are 0..1; `_raw` is before the temperature, all else after."""

    split: Literal["out", "test", "all"]
    num_images: int
    accuracy: float
    top5_accuracy: float | None
    """None if there are no more than 10 classes."""
    macro_accuracy: float
    worst_class: int
    """Place among the classes; the first of equal ones."""
    worst_class_recall: float
    nll_raw: float
    """In nats."""
    nll: float
    brier_raw: float
    """0..2."""
    brier: float
    ece_raw: float
    ece: float
    auroc: float | None
    """None if all are right or all wrong."""
    aurc: float
    accuracy_at_80: float
    """Of the 80 % of images that it is surest of."""
    accuracy_at_90: float
    recalls: Floats
    """(K,), NaN for a class without images."""
    class_sizes: Labels
    """(K,)"""


@dataclass(frozen=True)
class Result:
    """Everything the report says of one model."""

    model: Model
    temperature: float
    score: Score
    domains: Mapping[str, DomainMeasures]
    """Source domains, then the target domain."""

    @property
    def target(self) -> DomainMeasures:
        return self.domains[self.model.target_domain]


def read_truth(predictions: Predictions) -> Truth:
    keys = [key for domain in predictions.domains for key in predictions.whole(domain)]
    return Truth(
        labels={key: predictions.labels(*key) for key in keys},
        ids={key: predictions.ids(*key) for key in keys},
    )


def read_logits(predictions: Predictions, model: Model) -> StoredLogits:
    """Read what is stored of a model: out-splits (and test-splits) of source domains, all of the target domain."""
    return {key: predictions.logits(model, *key) for key in predictions.splits(model.target_domain)}


def source_temperature(predictions: Predictions, truth: Truth, model: Model, stored: StoredLogits) -> float:
    """Fit the temperature on the source out-splits: the target domain calibrates nothing."""
    keys = predictions.iid_splits(model.target_domain, "out")
    return fit_temperature(_joined(stored, keys), _joined(truth.labels, keys))


def judge_model(
    predictions: Predictions, truth: Truth, model: Model, stored: StoredLogits, temperature: float
) -> dict[str, Judged]:
    """Judge a model on every domain, its target domain last."""
    assert not model.is_validation, "pairs serve to choose, and are in no table"
    iid: Literal["out", "test"] = "test" if predictions.has_test else "out"
    keys: dict[str, list[tuple[str, Split]]] = {
        key[0]: [key] for key in predictions.iid_splits(model.target_domain, iid)
    }
    keys[model.target_domain] = predictions.whole(model.target_domain)
    return {
        domain: Judged(
            "all" if domain == model.target_domain else iid,
            judge(logits := _joined(stored, some), labels := _joined(truth.labels, some)),
            judge(logits, labels, temperature),
            top_k_accuracy(logits, labels, 5) if len(predictions.classes) > _FEW_CLASSES else None,
        )
        for domain, some in keys.items()
    }


def measure_model(
    predictions: Predictions,
    truth: Truth,
    model: Model,
    stored: StoredLogits,
    judged: Mapping[str, Judged],
    temperature: float,
) -> Result:
    """Reduce a model's outcomes to numbers."""
    accuracies = {domain: one.raw.accuracy for domain, one in judged.items()}
    sources = [domain for domain in accuracies if domain != model.target_domain]
    out = [
        accuracy(stored[key], truth.labels[key]) if predictions.has_test else accuracies[key[0]]
        for key in predictions.iid_splits(model.target_domain, "out")
    ]
    score = Score(
        model,
        iid=float(np.mean([accuracies[domain] for domain in sources])),
        ood=accuracies[model.target_domain],
        per_domain={domain: accuracies[domain] for domain in predictions.domains},
        out_accuracy=float(np.mean(out)),
        iid_split="test" if predictions.has_test else "out",
    )
    return Result(model, temperature, score, {domain: measure_domain(one) for domain, one in judged.items()})


def measure_domain(judged: Judged) -> DomainMeasures:
    """Reduce one domain's outcomes to numbers."""
    raw, after = judged.raw, judged.calibrated
    worst, worst_recall = worst_class(raw)
    at_80, at_90 = selective_accuracy(after, (0.8, 0.9))
    return DomainMeasures(
        split=judged.split,
        num_images=len(raw.labels),
        accuracy=raw.accuracy,
        top5_accuracy=judged.top5_accuracy,
        macro_accuracy=macro_accuracy(raw),
        worst_class=worst,
        worst_class_recall=worst_recall,
        nll_raw=raw.negative_log_likelihood,
        nll=after.negative_log_likelihood,
        brier_raw=raw.brier_score,
        brier=after.brier_score,
        ece_raw=expected_calibration_error(raw),
        ece=expected_calibration_error(after),
        auroc=confidence_auroc(after),
        aurc=risk_coverage(after).area,
        accuracy_at_80=float(at_80),
        accuracy_at_90=float(at_90),
        recalls=class_recalls(raw),
        class_sizes=np.bincount(raw.labels, minlength=raw.num_classes),
    )


def pool(outcomes: Iterable[Outcomes]) -> Outcomes:
    """Return the outcomes of several splits as those of one."""
    parts = list(outcomes)
    names = ("labels", "predicted", "doubt", "losses", "squared_errors")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Outcomes(num_classes=parts[0].num_classes, **joined)


def _joined(arrays: Mapping[tuple[str, Split], _Array], keys: Sequence[tuple[str, Split]]) -> _Array:
    return arrays[keys[0]] if len(keys) == 1 else np.concatenate([arrays[key] for key in keys])
