"""Accuracy against dropout rate on frozen features, and the rate that it suggests."""

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Self

from oodtune.config import Section

ALL_TARGETS = "all targets"

CAPTION = (
    "Heads of squared loss on frozen penultimate features, at every dropout rate exactly. For a target domain, each "
    "of its source domains is left out once: ood estimate: accuracy on all in-split and out-split images of that "
    "domain; iid: on the out-splits of the domains fitted to (their mean); both are means over the left-out domains, "
    "± one sample standard deviation over them. No image of the target itself is used. Suggested is the rate of the "
    "highest ood estimate, the smaller one of a tie; as good are the rates around it that fall short by no more than "
    "the standard deviation of the difference. gain: over the ood estimate at rate 0, ± its standard deviation, and "
    "flat if within it; rate 0 is least squares, which overfits a few thousand images, so part of a gain is what any "
    "penalty would bring. The row of all targets has seen every domain: to report a result on a target, use the rate "
    "of its own row. Fine-tuning changes the features: this ranks rates and backbones to try, and foretells no "
    "accuracy."
)

Cells = tuple[str, ...]


class Fold(Section):
    """One source domain left out, scored with the heads fitted to the other source domains. Shares, 0..1."""

    left_out: str
    ood: tuple[float, ...]
    """By rate: accuracy on the domain left out."""
    iid: tuple[float, ...]
    """By rate: mean accuracy on the out-splits of the domains fitted to."""


class Suggestion(Section):
    rate: float
    iid: float
    ood: float
    ood_spread: float
    """Sample standard deviation over the folds."""
    gain: float
    """`ood` less the same at rate 0."""
    gain_spread: float
    """Sample standard deviation over the folds of that difference."""
    as_good: tuple[float, float]
    """The smallest and the largest rate around `rate` that fall short of it by no more than the spread of that."""
    verdict: str
    """What is to be said against the suggestion; empty if nothing is."""


class Curve(Section):
    """Means over folds, by rate."""

    iid: tuple[float, ...]
    ood: tuple[float, ...]
    suggestion: Suggestion

    @classmethod
    def of(cls, folds: Sequence[Fold], rates: Sequence[float]) -> Self:
        """Average two or more folds; `rates` ascend from 0."""
        iid, ood = _mean_by_rate(fold.iid for fold in folds), _mean_by_rate(fold.ood for fold in folds)
        return cls(iid=iid, ood=ood, suggestion=_suggest(folds, rates, iid, ood))


class TargetScreen(Section):
    target_domain: str
    folds: tuple[Fold, ...]
    """One for each source domain."""
    curve: Curve


class BackboneScreen(Section):
    label: str
    name: str
    weights: str
    num_features: int
    targets: tuple[TargetScreen, ...]
    curve: Curve
    """Over all targets: every one of them has as many folds."""


class Screen(Section):
    """`screen.json`: everything that was measured."""

    rates: tuple[float, ...]
    """Ascending, from 0."""
    backbones: tuple[BackboneScreen, ...]
    """The best ood estimate over all targets, each at its suggested rate, comes first."""

    def to_markdown(self) -> str:
        """Return the ranking, if there is one, then each backbone's suggestions and curves."""
        parts = ["Accuracy in %.", ""]
        if len(self.backbones) > 1:
            parts += [*_markdown(RANKING, ranking(self)), ""]
        for backbone in self.backbones:
            parts += [f"## {backbone.label}", "", *_markdown(SUGGESTIONS, suggestions(backbone)), ""]
            headings = ("dropout", *(target.target_domain for target in backbone.targets), ALL_TARGETS)
            parts += ["iid / ood estimate by rate; * marks the suggested one:", ""]
            parts += [*_markdown(headings, _curve_rows(backbone, self.rates)), ""]
        return "\n".join([*parts, CAPTION]) + "\n"


SUGGESTIONS = ("target domain", "dropout", "as good", "iid", "ood estimate", "gain over 0", "")
"""The headings of `suggestions`."""
RANKING = ("backbone", "features", "dropout", "as good", "iid", "ood estimate", "gain over 0")
"""The headings of `ranking`."""


def suggestions(backbone: BackboneScreen) -> list[Cells]:
    """Return a row per target domain and one for all of them."""
    curves = [(target.target_domain, target.curve) for target in backbone.targets]
    return [
        (name, *_cells(curve), curve.suggestion.verdict) for name, curve in [*curves, (ALL_TARGETS, backbone.curve)]
    ]


def ranking(screen: Screen) -> list[Cells]:
    """Return a row per backbone, best first."""
    return [(one.label, str(one.num_features), *_cells(one.curve)) for one in screen.backbones]


def rank(backbones: Iterable[BackboneScreen]) -> tuple[BackboneScreen, ...]:
    """Return the backbones by ood estimate over all targets, each at its suggested rate, the best first."""
    return tuple(sorted(backbones, key=lambda one: -one.curve.suggestion.ood))


def _suggest(folds: Sequence[Fold], rates: Sequence[float], iid: Sequence[float], ood: Sequence[float]) -> Suggestion:
    best = ood.index(max(ood))  # the first, so the smallest rate of a tie
    gain, gain_spread = ood[best] - ood[0], stdev(fold.ood[best] - fold.ood[0] for fold in folds)
    return Suggestion(
        rate=rates[best],
        iid=iid[best],
        ood=ood[best],
        ood_spread=_rounded(stdev(fold.ood[best] for fold in folds)),
        gain=_rounded(gain),
        gain_spread=_rounded(gain_spread),
        as_good=_plateau(folds, rates, ood, best),
        verdict=_judge(best, len(rates) - 1, gain, gain_spread),
    )


def _plateau(folds: Sequence[Fold], rates: Sequence[float], ood: Sequence[float], best: int) -> tuple[float, float]:
    def falls_short(place: int) -> bool:
        return ood[best] - ood[place] > stdev(fold.ood[best] - fold.ood[place] for fold in folds)

    low = next((place for place in range(best - 1, -1, -1) if falls_short(place)), -1) + 1
    high = next((place for place in range(best + 1, len(rates)) if falls_short(place)), len(rates)) - 1
    return rates[low], rates[high]


def _judge(best: int, last: int, gain: float, gain_spread: float) -> str:
    if best == 0:
        return "no rate beats 0"
    if gain <= gain_spread:
        return "flat: the gain is within its spread"
    return "the largest rate tried" if best == last else ""


def _mean_by_rate(values: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(_rounded(fmean(at_rate)) for at_rate in zip(*values, strict=True))


def _rounded(share: float) -> float:
    """Rounding makes ties of what differs by the order of a sum."""
    return round(share, 9)


def _cells(curve: Curve) -> Cells:
    best = curve.suggestion
    return (
        f"{best.rate:g}",
        " to ".join(f"{rate:g}" for rate in dict.fromkeys(best.as_good)),
        f"{100.0 * best.iid:.1f}",
        f"{100.0 * best.ood:.1f} ±{100.0 * best.ood_spread:.1f}",
        f"{100.0 * best.gain:+.1f} ±{100.0 * best.gain_spread:.1f}",
    )


def _curve_rows(backbone: BackboneScreen, rates: Sequence[float]) -> list[Cells]:
    curves = [*(target.curve for target in backbone.targets), backbone.curve]
    return [(f"{rate:g}", *(_point(curve, place, rate) for curve in curves)) for place, rate in enumerate(rates)]


def _point(curve: Curve, place: int, rate: float) -> str:
    star = "\\*" if rate == curve.suggestion.rate else ""
    return f"{100.0 * curve.iid[place]:.1f} / {100.0 * curve.ood[place]:.1f}{star}"


def _markdown(headings: Cells, rows: Sequence[Cells]) -> list[str]:
    lines = ["| " + " | ".join(cells) + " |" for cells in (headings, *rows)]
    return [lines[0], "|---" + "|---:" * (len(headings) - 1) + "|", *lines[1:]]
