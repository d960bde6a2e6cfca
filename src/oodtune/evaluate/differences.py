"""What a way to train gains over plain fine-tuning: differences within pairs that share target domain and seed."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from oodtune.config import Section
from oodtune.evaluate.scores import Score
from oodtune.evaluate.table import BASELINE, GROUPS, MISSING, SELECTED, Kind, by_seed, label
from oodtune.evaluate.uncertainty import Estimate, PairedDifference, Run, estimate, paired_difference

CAPTION = (
    "Points of accuracy more than {baseline}, ood on each target domain. Pairs share target domain and seed; settings "
    "of one seed are averaged first. mean: over all n pairs, with the 95 % t-interval of their differences; bootstrap: "
    "95 % over resampled seeds, the domains as they are, where every domain has two seeds. † has no seed of its own: "
    "one pair a domain, against the mean over {baseline}'s seeds. One pair has no interval. No interval covers other "
    "images, or that the best of many rows was looked for."
)
_NO_SEED = -1


class Difference(Section):
    """One row less the baseline, in points of accuracy."""

    name: str
    kind: Kind
    has_seeds: bool
    """Paired by seed; otherwise there is one pair a target domain."""
    ood: PairedDifference
    iid: PairedDifference
    by_target: dict[str, Estimate]
    """ood of each target domain where both were scored."""

    @property
    def label(self) -> str:
        return label(self.name) + ("" if self.has_seeds else " †")


class DifferenceTable(Section):
    baseline: str
    targets: tuple[str, ...]
    rows: tuple[Difference, ...]

    @property
    def caption(self) -> str:
        return CAPTION.format(baseline=label(self.baseline))

    def to_markdown(self) -> str:
        lines = [
            f"| against {label(self.baseline)} | "
            + " | ".join(self.targets)
            + " | mean | 95 % | bootstrap | iid | n |",
            "|---|" + "---:|" * (len(self.targets) + 5),
        ]
        for row in self.rows:
            cells = [signed(one.mean) if (one := row.by_target.get(t)) else MISSING for t in self.targets]
            interval, bootstrap = between(row.ood), between(row.ood, bootstrap=True)
            cells += [f"**{signed(row.ood.mean)}**", interval, bootstrap, signed(row.iid.mean), str(row.ood.n)]
            lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
        return "\n".join([*lines, "", self.caption]) + "\n"


def difference_table(scores: Sequence[Score], picks: Mapping[str, Mapping[str, Any]]) -> DifferenceTable | None:
    """Return how much more every other row, and the picks, have than the row `plain`; None without such a row."""
    rows: dict[str, list[Score]] = {}
    for score in sorted(scores, key=lambda score: list(GROUPS).index(score.model.kind)):
        rows.setdefault(score.model.row, []).append(score)
    if BASELINE not in rows:
        return None
    base = {axis: _runs(rows[BASELINE], axis) for axis in ("iid", "ood")}
    found = [
        _difference(name, some[0].model.kind, {axis: _runs(some, axis) for axis in ("iid", "ood")}, base)
        for name, some in rows.items()
        if name != BASELINE
    ]
    if picks:
        chosen = {
            axis: {(target, _NO_SEED): 100.0 * float(pick[axis]) for target, pick in picks.items()}
            for axis in ("iid", "ood")
        }
        found.append(_difference(SELECTED, "selected", chosen, base))
    targets = tuple(dict.fromkeys(score.model.target_domain for score in scores))
    return DifferenceTable(baseline=BASELINE, targets=targets, rows=tuple(one for one in found if one is not None))


def signed(points: float) -> str:
    text = f"{points:+.1f}".replace("-", "\N{MINUS SIGN}")
    return text if text[1:] != "0.0" else "0.0"


def between(value: PairedDifference, bootstrap: bool = False) -> str:
    """Return an interval as text; a dash where there is none."""
    interval = value.bootstrap if bootstrap else value.interval
    return MISSING if interval is None else f"{signed(interval.low)} to {signed(interval.high)}"


def _runs(scores: Sequence[Score], axis: str) -> dict[Run, float]:
    """Return (target, seed) -> percent, the mean over that seed's settings."""
    runs: dict[Run, float] = {}
    for target in dict.fromkeys(score.model.target_domain for score in scores):
        column = [score for score in scores if score.model.target_domain == target]
        seeds = by_seed((score.model.seed, getattr(score, axis)) for score in column)
        runs |= {(target, _NO_SEED if seed is None else seed): value for seed, value in seeds.items()}
    return runs


def _difference(
    name: str, kind: Kind, values: Mapping[str, Mapping[Run, float]], base: Mapping[str, Mapping[Run, float]]
) -> Difference | None:
    has_seeds = all(seed != _NO_SEED for _, seed in values["ood"])
    against = base if has_seeds else {axis: _over_seeds(runs) for axis, runs in base.items()}
    ood, iid = (paired_difference(values[axis], against[axis]) for axis in ("ood", "iid"))
    if ood is None or iid is None:
        return None
    pairs = sorted(values["ood"].keys() & against["ood"].keys())
    by_target = {
        target: estimate([values["ood"][run] - against["ood"][run] for run in pairs if run[0] == target])
        for target in dict.fromkeys(target for target, _ in pairs)
    }
    return Difference(name=name, kind=kind, has_seeds=has_seeds, ood=ood, iid=iid, by_target=by_target)


def _over_seeds(runs: Mapping[Run, float]) -> dict[Run, float]:
    targets = dict.fromkeys(target for target, _ in runs)
    return {
        (target, _NO_SEED): fmean(value for (other, _), value in runs.items() if other == target) for target in targets
    }
