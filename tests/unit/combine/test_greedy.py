"""Greedy soups, against the rule written out with all states in memory."""

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oodtune.combine.greedy import Acceptance, greedy_soup
from oodtune.combine.soup import uniform_soup
from oodtune.errors import ArtifactError
from tests.unit.combine.states import Pantry, State, equal, loaders, state_of

TARGET = state_of(99)["conv.weight"]
acceptances = st.sampled_from(["better", "not_worse"])


def score(state: Mapping[str, Tensor]) -> float:
    """A coarse score, so that many are equal: large near a target."""
    return round(-float((state["conv.weight"] - TARGET).abs().mean()), 1)


def point(*values: float) -> State:
    return {"weight": torch.tensor(values)}


def closeness(state: Mapping[str, Tensor]) -> float:
    """Large near the origin."""
    return -float(state["weight"].norm())


def greedy_with_everything_in_memory(states: Mapping[str, State], accept: Acceptance) -> list[tuple[str, float, bool]]:
    order = sorted(states, key=lambda name: (-score(states[name]), name))
    kept: list[State] = []
    best, trace = -float("inf"), []
    for name in order:
        merged = torch.stack([one["conv.weight"].double() for one in [*kept, states[name]]]).mean(0).float()
        value = score({"conv.weight": merged})
        helps = value > best if accept == "better" else value >= best
        if helps:
            kept.append(states[name])
            best = value
        trace.append((name, value, helps))
    return trace


@given(seeds=st.lists(st.integers(0, 30), min_size=1, max_size=8), accept=acceptances)
@settings(max_examples=100, deadline=None)
def test_a_greedy_soup_follows_the_rule(seeds: list[int], accept: Acceptance) -> None:
    states = {f"trial{i}": state_of(seed) for i, seed in enumerate(seeds)}
    accuracy = {name: score(state) for name, state in states.items()}
    soup = greedy_soup(loaders(**states), accuracy, score, accept)
    expected = greedy_with_everything_in_memory(states, accept)
    assert [(tried.name, tried.score, tried.accepted) for tried in soup.trace] == expected
    assert equal(soup.state, uniform_soup(loaders(**{name: states[name] for name in soup.accepted})))
    assert score(soup.state) == soup.score >= max(accuracy.values())


@pytest.mark.parametrize(("accept", "accepted"), [("better", ("a", "c")), ("not_worse", ("a", "b", "c"))])
def test_an_ingredient_that_changes_nothing_is_kept_only_by_the_papers_rule(
    accept: Acceptance, accepted: tuple[str, ...]
) -> None:
    # b is a once more; c is on the other side; d is far off
    states = {"a": point(3.0, 1.0), "b": point(3.0, 1.0), "c": point(-6.0, 1.0), "d": point(0.0, 9.0)}
    accuracy = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
    soup = greedy_soup(loaders(**states), accuracy, closeness, accept)
    assert soup.accepted == accepted


def test_ingredients_are_tried_from_the_best_on_and_equal_ones_by_name() -> None:
    states = {name: point(1.0, float(i)) for i, name in enumerate("badc")}
    soup = greedy_soup(loaders(**states), {"a": 0.5, "b": 0.5, "c": 0.9, "d": 0.1}, closeness)
    assert [tried.name for tried in soup.trace] == ["c", "a", "b", "d"]


def test_the_first_is_kept_whatever_it_scores() -> None:
    soup = greedy_soup(loaders(a=point(7.0)), {"a": 0.9}, closeness)
    assert (soup.accepted, soup.score) == (("a",), -7.0)


def test_memory_is_needed_for_one_ingredient_however_many_there_are() -> None:
    pantry = Pantry(12)
    greedy_soup(pantry.ingredients, dict.fromkeys(pantry.ingredients, 0.5), score)
    assert pantry.most_alive == 1


def test_ingredients_that_do_not_match_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"^greedy soup of a and b: expected 'weight' of"):
        greedy_soup(loaders(a=point(1.0), b=point(1.0, 2.0)), {"a": 0.9, "b": 0.8}, closeness)
