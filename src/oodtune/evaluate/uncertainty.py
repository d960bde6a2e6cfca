"""How sure a mean is, and what that does not cover. Every result says how many values are behind it.

An interval here speaks of other *seeds*: other splits, batches and dropout on these very images and domains. Seeds
share most of their images, so it is too narrow for what new images would give (`wilson_interval` speaks of that), and
domains are chosen, not drawn: no interval here speaks of a domain that was not tried.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist, fmean, stdev

import numpy as np

from oodtune.config import Section

LEVEL = 0.95
_NUM_RESAMPLES = 10_000

Run = tuple[str, int]
"""(target domain, seed)."""


class Interval(Section):
    low: float
    high: float
    level: float
    """Coverage, 0..1, if its assumptions hold."""


class Estimate(Section):
    """The mean of n values, in their unit."""

    mean: float
    n: int
    standard_error: float | None = None
    """Sample standard deviation (n - 1 in the denominator) over sqrt(n); None for n = 1."""
    interval: Interval | None = None
    """Student's t with n - 1 degrees of freedom; None for n = 1."""


class PairedDifference(Estimate):
    """The mean of n differences, first less second, in the unit of the values; n counts runs that both have."""

    num_domains: int
    bootstrap: Interval | None = None
    """Percentiles of means over resampled seeds, domain by domain; None if a domain has a single seed."""


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the mean of independent repeats (one value per seed), with its spread if there are two or more.

    The t-interval takes the values for draws of one normal distribution. At 95 % and n = 3 it is +-2.5 sample
    standard deviations, and rightly so. Not covered: what all seeds share, above all the images.
    """
    n = len(values)
    assert n > 0, "a mean of nothing is absent: leave it out"
    if n == 1:
        return Estimate(mean=float(values[0]), n=1)
    mean, error = fmean(values), stdev(values) / sqrt(n)
    reach = _t_quantile(0.5 + level / 2.0, n - 1) * error
    return Estimate(mean=mean, n=n, standard_error=error, interval=_interval(mean - reach, mean + reach, level))


def paired_difference(
    first: Mapping[Run, float], second: Mapping[Run, float], level: float = LEVEL, seed: int = 0
) -> PairedDifference | None:
    """Return how much more `first` has than `second`, over the runs that both have; None if there are none.

    A pair shares domain, seed and split, so what these do to both drops out. Two intervals, for two questions:

    `interval` takes the n differences for independent draws of one distribution. Domains that gain differently (they
    do) add to that spread, so it asks whether the gain stands out from its variation over domains and seeds together.
    It does not make the domains a sample of all domains.

    `bootstrap` keeps the domains as they are and draws, 10,000 times, each domain's seeds with replacement: would
    other seeds give this mean on these domains? Percentiles of so few values are too narrow, by about
    sqrt((s - 1) / s) for s seeds a domain (18 % at s = 3), and one seed says nothing.

    Neither covers other images, settings that were chosen after a look at these numbers, or the best of many methods.
    `seed` is that of the drawing: equal input gives equal bytes, in whichever order the runs come.
    """
    runs = sorted(first.keys() & second.keys())
    if not runs:
        return None
    by_domain: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        by_domain[run[0]].append(first[run] - second[run])
    whole = estimate([value for values in by_domain.values() for value in values], level)
    return PairedDifference(
        **whole.model_dump(), num_domains=len(by_domain), bootstrap=_bootstrap(list(by_domain.values()), level, seed)
    )


def wilson_interval(num_right: int, num_examples: int, level: float = LEVEL) -> Interval:
    """Return the interval of an accuracy measured on `num_examples` images, as shares, 0..1.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927. It speaks of other images
    drawn like these, for this one trained model: it is what can be said with a single seed. Not covered: another
    seed, and images that come in groups (copies, frames of one place), which make it too narrow.
    """
    assert 0 <= num_right <= num_examples, f"{num_right} of {num_examples} cannot be right"
    assert num_examples > 0, "an accuracy on no image is absent"
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    share = num_right / num_examples
    pull = z**2 / num_examples
    centre = (share + pull / 2.0) / (1.0 + pull)
    reach = sqrt(share * (1.0 - share) * pull + pull**2 / 4.0) / (1.0 + pull)
    return _interval(max(0.0, centre - reach), min(1.0, centre + reach), level)


def _bootstrap(groups: Sequence[Sequence[float]], level: float, seed: int) -> Interval | None:
    """Percentile interval of the mean of all values, each group resampled on its own."""
    if any(len(group) < 2 for group in groups):
        return None
    generator = np.random.default_rng(seed)
    totals = np.zeros(_NUM_RESAMPLES)
    for group in groups:
        drawn = generator.integers(len(group), size=(_NUM_RESAMPLES, len(group)))
        totals += np.asarray(group)[drawn].sum(1)
    means = totals / sum(len(group) for group in groups)
    low, high = np.quantile(means, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return _interval(float(low), float(high), level)


def _interval(low: float, high: float, level: float) -> Interval:
    return Interval(low=low, high=high, level=level)


def _t_quantile(share: float, degrees_of_freedom: int) -> float:
    # scipy.stats takes a second to import, scipy.special a tenth of that
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, share))
