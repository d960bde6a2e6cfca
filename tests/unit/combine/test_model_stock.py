import math

import pytest
import torch
from torch import Tensor

from oodtune.combine.model_stock import ModelStock, model_stock
from oodtune.errors import ArtifactError
from tests.unit.combine.states import Pantry, State, equal, loaders, state_of


def stock_of(initial: Tensor, *tuned: Tensor) -> ModelStock:
    trials = {f"trial{i}": {"weight": one} for i, one in enumerate(tuned)}
    return model_stock({"weight": initial}, loaders(**trials))


def at_angle(degrees: float, length: float = 2.0) -> Tensor:
    return length * torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


@pytest.mark.parametrize(("degrees", "share"), [(0.0, 1.0), (60.0, 2 / 3), (90.0, 0.0), (120.0, 0.0), (180.0, 0.0)])
def test_two_trials_share_two_cos_over_one_plus_cos_and_nothing_where_they_disagree(
    degrees: float, share: float
) -> None:
    initial = torch.tensor([5.0, -3.0])
    tuned = initial + at_angle(10.0), initial + at_angle(10.0 + degrees, length=7.0)
    stock = stock_of(initial, *tuned)
    assert stock.shares["weight"] == pytest.approx(share, abs=1e-6)
    assert torch.allclose(stock.state["weight"], initial + share * (sum(tuned) / 2 - initial), atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_stock_is_the_point_nearest_to_the_centre_of_the_papers_picture(count: int) -> None:
    """Seen from the centre, initial and fine-tuned weights are at right angles, the latter equally far."""
    axes = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(count)))[0]
    centre = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64)
    initial, tuned = centre + 3.0 * axes[0], centre + 2.0 * axes[1 : count + 1]
    edges = torch.stack([one - initial for one in tuned], dim=1)  # (12, N): they span the plane
    nearest = initial + edges @ torch.linalg.lstsq(edges, (centre - initial).unsqueeze(1)).solution.squeeze(1)
    assert torch.allclose(stock_of(initial, *tuned).state["weight"], nearest, rtol=0.0, atol=1e-12)


def test_the_cosine_is_the_mean_over_all_pairs() -> None:
    initial = torch.zeros(6)
    tuned = torch.nn.functional.normalize(torch.rand(5, 6, generator=torch.Generator().manual_seed(0)))
    cosine = float(torch.stack([tuned[i] @ tuned[j] for i in range(5) for j in range(i)]).mean())
    share = stock_of(initial, *tuned).shares["weight"]
    assert share == pytest.approx(5 * cosine / (1 + 4 * cosine), abs=1e-6)


def test_stock_of_clones_is_the_clone() -> None:
    stock = model_stock(state_of(0), loaders(a=state_of(1), b=state_of(1), c=state_of(1)))
    assert equal(stock.state, state_of(1))
    assert stock.shares == pytest.approx({"conv.weight": 1.0, "head.bias": 1.0})


def test_each_tensor_has_its_own_share_and_one_that_no_trial_moved_stays() -> None:
    initial = {"near": torch.zeros(2), "far": torch.zeros(2), "still": torch.ones(3)}
    first: State = {**initial, "near": at_angle(0.0), "far": at_angle(0.0)}
    second: State = {**initial, "near": at_angle(10.0), "far": at_angle(80.0)}
    stock = model_stock(initial, loaders(a=first, b=second))
    assert stock.shares["near"] > 0.9 > stock.shares["far"] > stock.shares["still"] == 0.0
    assert torch.equal(stock.state["still"], torch.ones(3))


def test_one_trial_is_refused() -> None:
    with pytest.raises(ArtifactError, match="expected two trials or more, found 1; plan more"):
        model_stock(state_of(0), loaders(a=state_of(1)))


def test_trials_unlike_the_initial_state_are_refused() -> None:
    other = state_of(1, **{"bn.running_mean": torch.zeros(4)})
    with pytest.raises(ArtifactError, match=r"^model stock of the initial state and b: .*bn.running_mean"):
        model_stock(state_of(9), loaders(a=state_of(0), b=other))


def test_one_trial_is_in_memory_at_a_time() -> None:
    pantry = Pantry(12)
    model_stock(state_of(0), pantry.ingredients)
    assert pantry.most_alive == 1
