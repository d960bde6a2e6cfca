"""What a model must be to be chosen. Where none is, nothing is chosen, and the message says what was missed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from oodtune.config import SelectConfig
from oodtune.errors import ArtifactError, SelectionError
from oodtune.evaluate.choice import Margin
from oodtune.evaluate.predictions import Model
from oodtune.evaluate.selection import Observed, Ranked, Run, complete_recipes, mean_over_domains
from oodtune.evaluate.uncertainty import LEVEL, paired_difference

_ROUNDING = 1e-9
"""What sums of floats may be off by: 85 % less 84 % is a little under one point."""


@dataclass(frozen=True)
class Limit:
    """One constraint on single models."""

    key: str
    """Of `select`."""
    wanted: str
    excess: Callable[[Model], float]
    """By how much a model misses the limit; 0 or less if it does not."""
    missed: Callable[[Model], str]
    """What the model has, and by how much that misses."""
    advice: str


def limits(out_accuracy: Mapping[Model, float], config: SelectConfig) -> list[Limit]:
    """Return the constraints that are set. `out_accuracy`: mean over the source out-splits, a share."""
    found = [_kinds(config)]
    if (networks := config.max_networks) is not None:
        found.append(_networks(networks))
    if (megabytes := config.max_megabytes) is not None:
        found.append(_megabytes(megabytes))
    if (share := config.min_iid) is not None:
        found.append(_iid(share, out_accuracy))
    return found


def keep_out(ranked: Sequence[Ranked], target: str, constraints: Sequence[Limit]) -> dict[Model, str]:
    """Return the models that may not be chosen, each with the key of the first limit that it misses.

    Raises SelectionError if that is all of them; ArtifactError if a limit is on sizes and these are unknown.
    """
    kept_out: dict[Model, str] = {}
    left = [one.model for one in ranked]
    for limit in constraints:
        excess = {model: limit.excess(model) for model in left}
        if min(excess.values()) > 0.0:
            raise SelectionError(_refusal(limit, min(left, key=excess.__getitem__), len(left), target))
        kept_out |= {model: limit.key for model in left if excess[model] > 0.0}
        left = [model for model in left if excess[model] <= 0.0]
    return kept_out


def measure_margin(
    observed: Observed, recipe: str, baseline_recipes: Sequence[str], level: float | None = None
) -> Margin | None:
    """Return the gain of `recipe` over the best of `baseline_recipes`; None if there is none to compare with.

    The recipe was chosen for being the best of many by these accuracies, which no interval accounts for: the more
    candidates, the more of the gain is luck.
    """
    rivals = [rival for rival in complete_recipes(observed) if rival in baseline_recipes]
    if not rivals:
        return None
    best = min(rivals, key=lambda rival: (-mean_over_domains(observed[rival]), rival))
    difference = paired_difference(*_paired(observed[recipe], observed[best]), level=level or LEVEL)
    return None if difference is None else Margin(recipe=recipe, baseline=best, difference=difference)


def check_margin(margin: Margin | None, recipe: str, config: SelectConfig) -> None:
    """Raise SelectionError unless the gain over the baseline is what `config` asks for."""
    wanted, level = config.min_margin, config.margin_level
    if wanted is None:
        return
    start = f"select.min_margin: expected {recipe} to beat {config.baseline} by at least {wanted:.2f} points"
    advice = f"lower select.min_margin, or choose {config.baseline} with select.rule fixed and no min_margin"
    if margin is None:
        raise SelectionError(
            f"{start}, found nothing to compare: no recipe of row {config.baseline!r} was measured on the same domains "
            "and seeds; train it there, or name another select.baseline"
        )
    gain = margin.difference
    if gain.mean < wanted - _ROUNDING:
        raise SelectionError(
            f"{start}, found {gain.mean:+.2f} over {margin.baseline} (n = {gain.n}), {wanted - gain.mean:.2f} short; "
            f"{advice}"
        )
    if level is None:
        return
    start = f"{start} at the lower end of the {level:.0%} interval"
    if gain.interval is None:
        raise SelectionError(
            f"{start}, found {gain.mean:+.2f} of a single comparison (n = 1), which has no interval; train at least "
            f"two seeds of each, leave out at least two source domains, or set select.margin_level to null"
        )
    if gain.interval.low < wanted - _ROUNDING:
        raise SelectionError(
            f"{start}, found {gain.interval.low:+.2f} (mean {gain.mean:+.2f} over {margin.baseline}, n = {gain.n}), "
            f"{wanted - gain.interval.low:.2f} short; train more seeds, or {advice}"
        )


def _kinds(config: SelectConfig) -> Limit:
    return Limit(
        "kinds",
        f"of kind {' or '.join(config.kinds)}",
        excess=lambda model: float(model.kind not in config.kinds),
        missed=lambda model: f"of kind {model.kind}",
        advice="allow that kind, or have others made (section combine)",
    )


def _networks(most: int) -> Limit:
    return Limit(
        "max_networks",
        f"of at most {most} network{'s' if most > 1 else ''}",
        excess=lambda model: float(model.num_networks - most),
        missed=lambda model: f"of {model.num_networks}, {model.num_networks - most} too many",
        advice="raise it, or allow trials and soups in select.kinds",
    )


def _megabytes(most: float) -> Limit:
    def excess(model: Model) -> float:
        if not model.num_bytes:
            raise ArtifactError(
                f"select.max_megabytes: expected the size of {model.name}, found none in these predictions; "
                "run `oodtune evaluate` again"
            )
        return model.num_bytes / 1e6 - most

    return Limit(
        "max_megabytes",
        f"of at most {most:g} MB",
        excess,
        missed=lambda model: f"of {model.num_bytes / 1e6:.2f} MB, {excess(model):.2f} too many",
        advice="raise it, or train a smaller backbone",
    )


def _iid(least: float, out_accuracy: Mapping[Model, float]) -> Limit:
    return Limit(
        "min_iid",
        f"with at least {least:.2%} on the source out-splits",
        excess=lambda model: least - out_accuracy[model] - _ROUNDING,
        missed=lambda model: f"with {out_accuracy[model]:.2%}, {100 * (least - out_accuracy[model]):.2f} points short",
        advice="lower it, or train longer or with other settings",
    )


def _refusal(limit: Limit, nearest: Model, num_left: int, target: str) -> str:
    return (
        f"select.{limit.key}: expected a model {limit.wanted} for target domain {target}, found none among the "
        f"{num_left} that nothing else keeps out; the nearest is {nearest.name} {limit.missed(nearest)}; {limit.advice}"
    )


def _paired(
    first: Mapping[Run, float], second: Mapping[Run, float]
) -> tuple[dict[tuple[str, int], float], dict[tuple[str, int], float]]:
    """Return both, in points, by (domain, seed); where one has no seeds, the means over seeds as the seed 0."""
    if any(seed is None for _, seed in (*first, *second)):
        return _by_domain(first), _by_domain(second)
    return _by_seed(first), _by_seed(second)


def _by_seed(runs: Mapping[Run, float]) -> dict[tuple[str, int], float]:
    return {(domain, seed): 100.0 * value for (domain, seed), value in runs.items() if seed is not None}


def _by_domain(runs: Mapping[Run, float]) -> dict[tuple[str, int], float]:
    domains = sorted({domain for domain, _ in runs})
    return {(one, 0): 100.0 * fmean(value for (domain, _), value in runs.items() if domain == one) for one in domains}
