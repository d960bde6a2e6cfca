import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oodtune.combine.interpolate import interpolate
from oodtune.combine.soup import uniform_soup
from oodtune.errors import ArtifactError
from tests.unit.combine.states import equal, loaders, state_of


def test_the_ends_are_the_two_states() -> None:
    for share in (0, 1):
        assert equal(interpolate(state_of(0), state_of(1), float(share)), state_of(share))


def test_the_middle_is_the_soup_of_both() -> None:
    soup = uniform_soup(loaders(a=state_of(0), b=state_of(1)))
    assert equal(interpolate(state_of(0), state_of(1), 0.5), soup)


@given(st.floats(0.0, 1.0))
def test_every_tensor_is_that_share_of_the_way(share: float) -> None:
    first, second = state_of(0), state_of(1)
    mixed = interpolate(first, second, share)
    for name in ("conv.weight", "head.bias"):
        expected = torch.lerp(first[name].double(), second[name].double(), share)
        assert torch.allclose(mixed[name].double(), expected, rtol=0.0, atol=1e-6)


def test_the_ends_stay_as_they_were() -> None:
    first, second = state_of(0), state_of(1)
    interpolate(first, second, 0.3)
    assert equal(first, state_of(0))
    assert equal(second, state_of(1))


@pytest.mark.parametrize("name", ["bn.running_mean", "bn.num_batches_tracked"])
def test_frozen_statistics_and_integers_must_be_equal(name: str) -> None:
    other = state_of(1, **{name: state_of(1)[name] + 1})
    with pytest.raises(ArtifactError, match=f"^interpolation of plain and dropped: expected .*{name}"):
        interpolate(state_of(0), other, 0.5, ("plain", "dropped"))


def test_moved_statistics_are_interpolated_where_that_is_asked_for() -> None:
    other = state_of(1, **{"bn.running_mean": torch.full((4,), 5.0)})
    mixed = interpolate(state_of(0), other, 0.25, statistics="average")
    assert torch.equal(mixed["bn.running_mean"], torch.full((4,), 2.0))
