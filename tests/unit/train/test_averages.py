"""Averages of a trajectory against a list of all of its states."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oodtune.config import MethodConfig
from oodtune.train.averages import Mean, Sma, Swad, create_average
from tests.fixtures.toy_training import CONFIG, equal, train_toy

State = dict[str, Tensor]
SEGMENT = 4
"""Steps from one snapshot to the next."""


def state_of(step: int) -> State:
    random = torch.Generator().manual_seed(step)
    return {"weight": torch.randn(2, 3, generator=random), "counter": torch.tensor(step)}


def mean_of(steps: range) -> Tensor:
    return torch.stack([state_of(step)["weight"].double() for step in steps]).mean(0).float()


def walk(average: Sma | Swad, losses: list[float]) -> int:
    """Take a step after the other with a snapshot after each segment, until `average` closes; return how many."""
    for snapshot, loss in enumerate(losses):
        for step in range(snapshot * SEGMENT + 1, (snapshot + 1) * SEGMENT + 1):
            average.add(step, state_of(step))
        average.end_segment(loss)
        if average.closed:
            return snapshot + 1
    return len(losses)


def algorithm_1(losses: list[float], converge: int, tolerance: int, ratio: float) -> tuple[int | None, int, int]:
    """Return t_s, t_e and the last snapshot taken, as the paper has it, with i counting snapshots from 1."""
    start, threshold = None, 0.0
    for i in range(1, len(losses) + 1):
        if start is None:
            latest = losses[i - converge : i] if i >= converge else []
            if latest and latest[0] == min(latest):
                # in floating point the mean of equal losses may be less than each of them
                start, threshold = i - converge + 1, (1 + ratio) * max(sum(latest) / converge, min(latest))
        elif threshold < min(losses[max(0, i - tolerance) : i]):
            return start, i - tolerance, i
    return start, len(losses), len(losses)


def test_a_mean_is_that_of_all_states_and_counters_are_the_latest() -> None:
    mean = Mean(state_of(0))
    for step in range(5, 1005):
        mean.add(step, state_of(step))
    assert torch.equal(mean.value()["weight"], mean_of(range(5, 1005)))
    assert mean.value()["counter"] == 1004
    assert (mean.count, mean.steps) == (1000, (5, 1004))


def test_the_mean_of_equal_states_is_that_state_bit_for_bit() -> None:
    mean = Mean(state_of(0))
    for step in range(1, 778):
        mean.add(step, state_of(3))
    assert equal(mean.value(), state_of(3))


def test_sma_follows_equation_1_at_every_step() -> None:
    start, recursive = 7, state_of(7)["weight"].double()
    average = Sma(state_of(0), start, every=1)
    for step in range(1, 40):
        average.add(step, state_of(step))
        mean = average.at_snapshot()
        if step < start:
            assert mean is None
            continue
        since = step - start
        recursive = since / (since + 1) * recursive + state_of(step)["weight"].double() / (since + 1)
        assert mean is not None
        assert torch.allclose(mean.value()["weight"].double(), recursive, rtol=0, atol=1e-7)
        assert torch.equal(mean.value()["weight"], mean_of(range(start, step + 1)))


def test_sma_of_every_fifth_state_leaves_out_the_others() -> None:
    average = Sma(state_of(0), start=7, every=5)
    for step in range(1, 31):
        average.add(step, state_of(step))
    assert torch.equal(average.mean.value()["weight"], mean_of(range(7, 31, 5)))
    assert average.mean.steps == (7, 27)


@settings(max_examples=300, deadline=None)
@given(
    losses=st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.9, 1.1, 1.5]), min_size=1, max_size=14),
    converge=st.integers(1, 4),
    tolerance=st.integers(1, 6),
    ratio=st.sampled_from([0.0, 0.2, 0.3]),
)
def test_swad_is_the_mean_over_the_window_of_algorithm_1(
    losses: list[float], converge: int, tolerance: int, ratio: float
) -> None:
    start, end, last = algorithm_1(losses, converge, tolerance, ratio)
    average = Swad(state_of(0), converge, tolerance, ratio)
    assert walk(average, losses) == last
    found = average.at_end()
    if start is None:
        assert found is None
        return
    steps = range((start - 1) * SEGMENT + 1, end * SEGMENT + 1)
    assert found is not None
    assert found.steps == (steps[0], steps[-1])
    assert torch.equal(found.value()["weight"], mean_of(steps))


def test_swad_of_losses_that_do_not_move_is_the_mean_of_all_states() -> None:
    average = Swad(state_of(0), converge=3, tolerance=4, ratio=0.0)
    walk(average, [0.7] * 4)  # whose sum over three, in floating point, is less than 0.7
    found = average.at_end()
    assert found is not None
    assert found.steps == (1, 4 * SEGMENT)


def test_swad_opens_closes_and_ends_training_where_the_paper_says() -> None:
    losses = [1.0, 0.8, 0.5, 0.6, 0.7, 0.6, 0.9, 0.9, 0.9, 0.4, 0.4]
    average = Swad(state_of(0), converge=3, tolerance=3, ratio=0.3)
    assert walk(average, losses) == 9  # 0.5 is the lowest of three at snapshot 5; 0.9 thrice is above 1.3 * 0.6
    found = average.at_end()
    assert found is not None
    assert found.steps == (2 * SEGMENT + 1, 6 * SEGMENT)


def test_each_method_has_its_average() -> None:
    made = [create_average(MethodConfig(average=name), state_of(0)) for name in ("none", "sma", "swad")]
    assert [type(one).__name__ for one in made] == ["NoAverage", "Sma", "Swad"]


def trajectory(method: MethodConfig) -> list[State]:
    """Return the state after every step of the toy trial."""
    states: list[State] = []
    for steps in range(1, CONFIG.steps + 1):
        network, _ = train_toy(CONFIG.model_copy(update={"steps": steps}), MethodConfig(dropout=method.dropout))
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
    return states


def test_a_trial_by_sma_keeps_the_average_that_is_best_on_the_out_splits() -> None:
    method = MethodConfig(dropout=0.5, average="sma", average_from=6)
    states = trajectory(method)
    _, history = train_toy(method=method)
    kept = history.kept
    assert kept is not None
    assert kept.averaged_steps == (6, kept.step)
    expected = Mean(states[0])
    for step in range(6, kept.step + 1):
        expected.add(step, states[step - 1])
    assert equal(kept.state, expected.value())
    averaged = {one.step: one.averaged.source_accuracy for one in history.snapshots if one.averaged is not None}
    assert list(averaged) == [10, 20, 25]
    assert averaged[kept.step] == max(averaged.values()) == kept.source_accuracy


def test_before_its_first_step_sma_keeps_live_weights() -> None:
    _, history = train_toy(method=MethodConfig(average="sma", average_from=100))
    _, plain = train_toy()
    assert history.kept is not None
    assert plain.kept is not None
    assert history.kept.averaged_steps is None
    assert equal(history.kept.state, plain.kept.state)


def test_a_trial_by_swad_ends_when_the_window_closes_and_keeps_its_mean() -> None:
    config = CONFIG.model_copy(update={"steps": 60, "snapshot_every": 2})
    method = MethodConfig(average="swad", swad_converge=2, swad_tolerance=2, swad_ratio=0.0)
    network, history = train_toy(config, method, learning_rate=0.5)
    kept = history.kept
    assert kept is not None
    assert kept.averaged_steps is not None
    losses = [one.live.source_loss for one in history.snapshots[1:]]
    start, end, last = algorithm_1(losses, 2, 2, 0.0)
    assert start is not None
    assert len(losses) == last < 30
    assert kept.averaged_steps == (2 * start - 1, 2 * end)
    assert kept.step == 2 * end
    assert equal(kept.state, network.state_dict())


@pytest.mark.parametrize("steps", [5, 25])
def test_a_trial_by_swad_whose_window_never_opens_keeps_its_last_state(steps: int) -> None:
    config = CONFIG.model_copy(update={"steps": steps})
    _, history = train_toy(config, MethodConfig(average="swad", swad_converge=10))
    network, _ = train_toy(config)
    assert history.kept is not None
    assert (history.kept.step, history.kept.averaged_steps) == (steps, None)
    assert equal(history.kept.state, network.state_dict())
