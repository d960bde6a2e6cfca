import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oodtune.combine import sums
from oodtune.combine.soup import uniform_soup
from oodtune.errors import ArtifactError
from tests.unit.combine.states import Pantry, State, equal, loaders, state_of

MOVED = {"bn.running_mean": torch.zeros(4), "bn.num_batches_tracked": torch.tensor(8)}


def soup_of(**states: State) -> State:
    return uniform_soup(loaders(**states))


def test_soup_of_one_trial_is_that_trial() -> None:
    assert equal(soup_of(a=state_of(0)), state_of(0))


@given(seed=st.integers(0, 1000), count=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_soup_of_clones_is_the_clone(seed: int, count: int) -> None:
    assert equal(soup_of(**{f"clone{i}": state_of(seed) for i in range(count)}), state_of(seed))


def test_soup_is_the_mean_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "CHUNK", 7)  # several to a tensor, and a rest
    soup = soup_of(a=state_of(0), b=state_of(1), c=state_of(2))
    for name in ("conv.weight", "head.bias"):
        expected = torch.stack([state_of(seed)[name].double() for seed in range(3)]).mean(0).float()
        assert torch.equal(soup[name], expected)


@given(st.permutations(range(5)))
@settings(max_examples=30, deadline=None)
def test_soup_does_not_depend_on_the_order_of_ingredients(order: list[int]) -> None:
    expected = soup_of(**{f"trial{seed}": state_of(seed) for seed in range(5)})
    assert equal(soup_of(**{f"trial{seed}": state_of(seed) for seed in order}), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_soup_leaves_its_ingredients_as_they_were_and_keeps_their_type(dtype: torch.dtype) -> None:
    weight = torch.full((3,), 1.5, dtype=dtype)
    first = state_of(0, **{"conv.weight": weight})
    soup = soup_of(a=first, b=state_of(1, **{"conv.weight": torch.full((3,), 2.5, dtype=dtype)}))
    assert torch.equal(weight, torch.full((3,), 1.5, dtype=dtype))
    assert torch.equal(soup["conv.weight"], torch.full((3,), 2.0, dtype=dtype))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("bn.running_mean", torch.zeros(4), "equal frozen statistics, found 'bn.running_mean' to differ"),
        ("bn.num_batches_tracked", torch.tensor(8), "equal frozen statistics, found 'bn.num_batches_tracked'"),
        ("conv.weight", torch.zeros(4, 4), r"'conv.weight' of \(4, 3, 3, 3\) .* found \(4, 4\) .* in b"),
        ("head.bias", torch.zeros(5).double(), "'head.bias' of .* torch.float32 in both, found .* torch.float64 in b"),
        ("extra.weight", torch.zeros(1), "equal names, found no 'extra.weight' in a"),
    ],
)
def test_ingredients_that_do_not_match_are_refused_by_name(name: str, value: Tensor, problem: str) -> None:
    with pytest.raises(ArtifactError, match=f"^soup of a and b: expected {problem}.*; combine only"):
        soup_of(a=state_of(0), b=state_of(1, **{name: value}))


def test_a_tensor_that_is_missing_is_refused() -> None:
    second = state_of(1)
    del second["head.bias"]
    with pytest.raises(ArtifactError, match=r"found no 'head.bias' in b"):
        soup_of(a=state_of(0), b=second)


def test_moved_statistics_are_averaged_where_that_is_asked_for() -> None:
    soup = uniform_soup(loaders(a=state_of(0), b=state_of(1, **MOVED)), statistics="average")
    assert torch.equal(soup["bn.running_mean"], torch.full((4,), 0.5))
    assert soup["bn.num_batches_tracked"] == 7


def test_other_integers_must_be_equal_even_where_statistics_are_averaged() -> None:
    first, second = (state_of(0, index=torch.tensor([value])) for value in (1, 2))
    with pytest.raises(ArtifactError, match="equal values of 'index'"):
        uniform_soup(loaders(a=first, b=second), statistics="average")


def test_one_ingredient_is_in_memory_at_a_time() -> None:
    pantry = Pantry(12)
    uniform_soup(pantry.ingredients)
    assert pantry.most_alive == 1
