"""How an ensemble grows: points gained over one network by the number of members, iid and ood."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from oodtune.evaluate.chart import Chart, Entry, Figure, Frame, Line, widen
from oodtune.evaluate.metrics import Labels, Logits
from oodtune.evaluate.palette import KNOWN, UNSEEN
from oodtune.evaluate.predictions import Predictions, Split
from oodtune.evaluate.results import StoredLogits, Truth

NUM_SUBSETS = 20
"""Of each size."""
_WORK = 400_000_000
"""Numbers that are added for one target domain: about a second. Beyond that, only every so many-th image counts."""

Curve = Sequence[tuple[int, float]]
"""(members, mean accuracy over subsets of that size, 0..1), from one member on."""
CurveOf = Callable[[Mapping[str, Logits], Callable[[Logits], float], int], Curve]
"""Given members' logits, a score and the number of subsets of each size."""


@dataclass(frozen=True)
class MemberCurves:
    """Of the logit ensemble of all trials of one target domain."""

    target: str
    iid: Curve
    ood: Curve
    stride: int
    """Every so many-th image was counted."""


def member_curves(
    predictions: Predictions, truth: Truth, target: str, trials: Mapping[str, StoredLogits], curve_of: CurveOf
) -> MemberCurves | None:
    """Return the curves of the trials of `target`, by name; None if there are fewer than two."""
    if len(trials) < 2:
        return None
    iid = predictions.iid_splits(target, "test" if predictions.has_test else "out")
    ood = predictions.whole(target)
    first = next(iter(trials.values()))
    num_numbers = sum(first[key].size for key in (*iid, *ood)) * len(trials) * NUM_SUBSETS
    stride = ceil(num_numbers / _WORK)

    def curve(keys: Sequence[tuple[str, Split]], groups: Sequence[Sequence[tuple[str, Split]]]) -> Curve:
        thinned = {name: np.concatenate([stored[key][::stride] for key in keys]) for name, stored in trials.items()}
        return curve_of(thinned, _Score(truth, groups, stride), NUM_SUBSETS)

    return MemberCurves(target, curve(iid, [[key] for key in iid]), curve(ood, [ood]), stride)


class _Score:
    """Mean accuracy over groups of splits that lie one after the other."""

    def __init__(self, truth: Truth, groups: Sequence[Sequence[tuple[str, Split]]], stride: int) -> None:
        self._labels: list[Labels] = [
            np.concatenate([truth.labels[key][::stride] for key in group]) for group in groups
        ]

    def __call__(self, logits: Logits) -> float:
        labels = np.concatenate(self._labels)
        correct = logits.argmax(1) == labels
        parts = np.split(correct, np.cumsum([len(part) for part in self._labels])[:-1])
        return float(np.mean([part.mean() for part in parts]))


def member_figure(curves: Sequence[MemberCurves]) -> Figure | None:
    """Return a panel per target domain; None if nowhere two networks are averaged."""
    if not curves:
        return None
    gains = {one.target: (_gain(one.iid), _gain(one.ood)) for one in curves}
    low, high = widen([gain for both in gains.values() for one in both for _, gain in one], 1.0)
    charts = []
    for target, (iid, ood) in gains.items():
        frame = Frame((1.0, float(len(ood))), (low, high))
        charts.append(
            Chart(
                title=target,
                description=f"Points of accuracy gained by the number of members, without {target}",
                frame=frame,
                x_label="members",
                y_label="points gained",
                x_ticks=frame.x_ticks(_whole(len(ood))),
                y_ticks=frame.y_ticks(),
                guides=(frame.across(0.0),),
                lines=tuple(Line(frame.trace(gain), style) for gain, style in ((iid, KNOWN), (ood, UNSEEN))),
                marks=tuple(
                    frame.mark(size, gain, style, f"{name}, {size} members: {gain:+.2f} points", 3.5)
                    for name, both, style in (("iid", iid, KNOWN), ("ood", ood, UNSEEN))
                    for size, gain in both
                ),
            )
        )
    legend = (Entry("ood: target domain", UNSEEN), Entry("iid: source domains", KNOWN))
    return Figure("members", tuple(charts), legend)


def _gain(curve: Curve) -> list[tuple[int, float]]:
    """Return points of accuracy above the mean of single networks."""
    return [(size, 100.0 * (value - curve[0][1])) for size, value in curve]


def _whole(most: int) -> list[float]:
    step = ceil((most - 1) / 6)
    return [float(size) for size in range(1, most + 1, step)]
