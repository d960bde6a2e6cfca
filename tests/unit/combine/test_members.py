from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oodtune.combine.ensemble import Logits, logit_ensemble
from oodtune.combine.members import member_curve

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 50)
MEMBERS = {f"trial{i}": RANDOM.normal(size=(50, 3)).astype(np.float32) for i in range(6)}


def score(logits: Logits) -> float:
    return float(np.mean(logits.argmax(1) == LABELS))


def test_a_curve_over_all_subsets_is_what_ensembles_of_each_score() -> None:
    curve = member_curve(MEMBERS, score, num_subsets=100, seed=0)
    assert [point.size for point in curve] == [1, 2, 3, 4, 5, 6]
    for point in curve:
        scores = [score(logit_ensemble([MEMBERS[one] for one in some])) for some in combinations(MEMBERS, point.size)]
        assert point.num_subsets == len(scores) == comb(6, point.size)
        assert (point.lowest, point.highest) == (min(scores), max(scores))
        assert point.mean == pytest.approx(np.mean(scores))


def test_of_each_size_no_more_subsets_are_scored_than_asked_for() -> None:
    curve = member_curve(MEMBERS, score, num_subsets=5, seed=0)
    assert [point.num_subsets for point in curve] == [5, 5, 5, 5, 5, 1]


@given(st.integers(1, 6), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_a_curve_ends_at_the_ensemble_of_all(num_subsets: int, seed: int) -> None:
    last = member_curve(MEMBERS, score, num_subsets, seed)[-1]
    everyone = score(logit_ensemble(MEMBERS.values()))
    assert (last.size, last.num_subsets) == (6, 1)
    assert last.lowest == last.mean == last.highest == everyone


def test_a_curve_depends_on_the_seed_but_not_on_the_order_of_members() -> None:
    backward = dict(reversed(MEMBERS.items()))
    assert member_curve(backward, score, 3, seed=1) == member_curve(MEMBERS, score, 3, seed=1)
    assert member_curve(MEMBERS, score, 3, seed=2) != member_curve(MEMBERS, score, 3, seed=1)


def test_a_curve_of_64_members_adds_each_once_for_every_order_of_them() -> None:
    class Counting(np.ndarray):  # type: ignore[type-arg]
        added = 0

        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):  # type: ignore[no-untyped-def]
            Counting.added += ufunc is np.add
            plain = [one.view(np.ndarray) if isinstance(one, Counting) else one for one in inputs]
            return getattr(ufunc, method)(*plain, **kwargs)

    members = {f"trial{i:02}": RANDOM.normal(size=(5, 2)).astype(np.float32).view(Counting) for i in range(64)}
    curve = member_curve(members, lambda logits: float(logits[0, 0]), num_subsets=10, seed=0)
    assert {point.num_subsets for point in curve[:-1]} == {10}
    assert Counting.added < 64 * 20  # averaging every subset anew would take 20,224
