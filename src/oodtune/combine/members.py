"""How the score of an ensemble grows with the number of its members."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import comb

import numpy as np

from oodtune.combine.ensemble import Logits


@dataclass(frozen=True)
class MemberCount:
    """Scores of ensembles of one size."""

    size: int
    num_subsets: int
    """How many different sets of members were scored."""
    mean: float
    lowest: float
    highest: float


def member_curve(
    logits: Mapping[str, Logits], score: Callable[[Logits], float], num_subsets: int, seed: int
) -> list[MemberCount]:
    """Return the scores of logit ensembles of 1, 2 ... M of the members, whose logits are (N, K).

    Of every size, `num_subsets` different random subsets are scored, or all where there are fewer. They are
    the beginnings of random orders of the members: going along an order, one member is added to a running
    sum at a time. So subsets of neighbouring sizes have members in common, and the curve is smooth.
    The same for the same seed, in whatever order the members come.
    """
    assert logits, "a curve needs a member"
    assert num_subsets > 0
    members = [logits[name] for name in sorted(logits)]
    scores: dict[int, list[float]] = {size: [] for size in range(1, len(members) + 1)}
    for order, sizes in _draw_orders(len(members), num_subsets, seed):
        total = np.zeros(members[0].shape)
        for size, member in enumerate(order[: max(sizes)], 1):
            total += members[member]
            if size in sizes:
                scores[size].append(score((total / size).astype(np.float32)))
    return [
        MemberCount(size, len(found), float(np.mean(found)), min(found), max(found)) for size, found in scores.items()
    ]


def _draw_orders(num_members: int, num_subsets: int, seed: int) -> Iterator[tuple[list[int], set[int]]]:
    """Yield random orders of the members, each with the sizes at which it begins with a subset that is wanted."""
    random = np.random.default_rng(seed)
    seen: dict[int, set[frozenset[int]]] = {size: set() for size in range(1, num_members + 1)}
    wanting = {size: min(num_subsets, comb(num_members, size)) for size in seen}
    while wanting:
        order = random.permutation(num_members).tolist()
        sizes = {size for size in wanting if frozenset(order[:size]) not in seen[size]}
        for size in sizes:
            seen[size].add(frozenset(order[:size]))
            if len(seen[size]) == wanting[size]:
                del wanting[size]
        if sizes:
            yield order, sizes
