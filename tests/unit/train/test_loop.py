"""The loop on a small network: what it does to weights, and what it keeps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from oodtune.config import TrainConfig
from oodtune.errors import TrainingError
from oodtune.train.loop import train_network

CONFIG = TrainConfig(optimiser="sgd", schedule="constant", steps=25, snapshot_every=10, batch_per_domain=4)


def make_network(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 2))


def draw(step: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1000 + step)
    random = torch.Generator().manual_seed(step)
    labels = torch.randint(2, (8,), generator=random)
    return torch.randn(8, 3, 2, 2, generator=random) + labels.view(-1, 1, 1, 1), labels


def constant_accuracy() -> dict[str, float]:
    return {"ink": 0.5, "oil": 0.7}


def accuracies(values: list[float]) -> Callable[[], dict[str, float]]:
    remaining = iter(values)
    return lambda: {"ink": next(remaining)}


def train(dropout: float = 0.0, config: TrainConfig = CONFIG, learning_rate: float = 0.1) -> dict[str, Tensor]:
    network = make_network(dropout)
    train_network(network, draw, constant_accuracy, config, learning_rate, 0.0)
    return network.state_dict()


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_seeded_training_is_equal_bit_for_bit() -> None:
    assert equal(train(dropout=0.9), train(dropout=0.9))


def test_zero_dropout_is_plain_fine_tuning() -> None:
    network = make_network()
    plain = nn.Sequential(*(module for module in network if not isinstance(module, nn.Dropout)))
    train_network(plain, draw, constant_accuracy, CONFIG, 0.1, 0.0)
    assert equal({name.replace("4.", "3."): tensor for name, tensor in train(dropout=0.0).items()}, plain.state_dict())


def test_large_dropout_trains_other_weights() -> None:
    assert not equal(train(dropout=0.0), train(dropout=0.9))


def test_training_lowers_the_loss() -> None:
    network = make_network()
    history = train_network(network, draw, constant_accuracy, CONFIG.model_copy(update={"steps": 100}), 0.1, 0.0)
    first, last = history.snapshots[1].loss, history.snapshots[-1].loss
    assert first is not None
    assert last is not None
    assert last < 0.8 * first


def test_snapshots_are_taken_at_the_start_every_so_often_and_at_the_end() -> None:
    history = train_network(make_network(), draw, constant_accuracy, CONFIG, 0.1, 0.0)
    assert [snapshot.step for snapshot in history.snapshots] == [0, 10, 20, 25]
    assert history.snapshots[0].loss is None


def test_the_best_trained_snapshot_is_kept_and_the_first_of_equals() -> None:
    network = make_network()
    history = train_network(network, draw, accuracies([0.9, 0.6, 0.8, 0.8]), CONFIG, 0.1, 0.0)
    assert history.best is not None
    assert (history.best.step, history.best.source_accuracy) == (20, 0.8)
    assert not equal(history.best_state, network.state_dict())
    assert equal(history.best_state, train(config=CONFIG.model_copy(update={"steps": 20})))


def test_source_accuracy_is_the_mean_over_domains() -> None:
    history = train_network(make_network(), draw, constant_accuracy, CONFIG, 0.1, 0.0)
    assert history.snapshots[0].source_accuracy == pytest.approx(0.6)


def test_a_loss_that_is_not_finite_stops_training_with_advice() -> None:
    with pytest.raises(TrainingError, match=r"step 10: expected a finite loss.*lower the learning rate"):
        train_network(make_network(), draw, constant_accuracy, CONFIG, 1e30, 0.0)


def test_measuring_does_not_change_training() -> None:
    often = CONFIG.model_copy(update={"snapshot_every": 5})
    assert equal(train(dropout=0.5), train(dropout=0.5, config=often))
