"""The loop on a small network: what it does to weights, and what it keeps."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from oodtune.config import MethodConfig, TrainConfig
from oodtune.errors import ConfigError, DataError, TrainingError
from oodtune.train.history import Measurement, State
from oodtune.train.loop import Recipe, train_network
from oodtune.train.update import choose_precision, update
from tests.fixtures.toy_training import ALONE, CONFIG, PLAIN, ToySource, equal, make_network, train_toy

DROPOUT = MethodConfig(dropout=0.9)


class Scripted(ToySource):
    """Says that the live weights have the given accuracies, one after the other."""

    def __init__(self, *accuracies: float) -> None:
        super().__init__()
        self.accuracies = list(accuracies)

    def measure(self, network: nn.Module, *others: State) -> list[Measurement]:
        network.eval()
        return [Measurement({"ink": self.accuracies.pop(0)}, {"ink": 1.0})]


def trained(**settings: object) -> State:
    network, _ = train_toy(CONFIG.model_copy(update=settings))
    return network.state_dict()


def test_seeded_training_is_equal_bit_for_bit() -> None:
    first, second = (train_toy(method=DROPOUT)[0].state_dict() for _ in range(2))
    assert equal(first, second)


def test_zero_dropout_is_plain_fine_tuning() -> None:
    plain = make_network()
    assert isinstance(plain, nn.Sequential)
    del plain.dropout
    train_network(plain, ToySource(), Recipe(CONFIG, PLAIN, 0.1, 0.0), ALONE)
    assert equal(trained(), plain.state_dict())


def test_large_dropout_trains_other_weights() -> None:
    assert not equal(trained(), train_toy(method=DROPOUT)[0].state_dict())


def test_training_lowers_the_loss() -> None:
    _, history = train_toy(CONFIG.model_copy(update={"steps": 100}))
    first, last = history.snapshots[1].loss, history.snapshots[-1].loss
    assert first is not None
    assert last is not None
    assert last < 0.8 * first


def test_snapshots_are_taken_at_the_start_every_so_often_and_at_the_end() -> None:
    _, history = train_toy()
    assert [snapshot.step for snapshot in history.snapshots] == [0, 10, 20, 25]
    assert history.snapshots[0].loss is None


def test_the_best_trained_snapshot_is_kept_and_the_first_of_equals() -> None:
    network, history = train_toy(source=Scripted(0.9, 0.6, 0.8, 0.8))
    assert history.kept is not None
    assert (history.kept.step, history.kept.source_accuracy) == (20, 0.8)
    assert not equal(history.kept.state, network.state_dict())
    assert equal(history.kept.state, trained(steps=20))


def test_source_accuracy_and_loss_are_means_over_domains() -> None:
    measured = Measurement({"ink": 0.5, "oil": 0.7}, {"ink": 1.0, "oil": 2.0})
    assert measured.source_accuracy == pytest.approx(0.6)
    assert measured.source_loss == pytest.approx(1.5)


def test_measuring_does_not_change_training() -> None:
    assert equal(trained(), trained(snapshot_every=5))


def test_averaging_does_not_change_the_trajectory() -> None:
    average = MethodConfig(average="sma", average_from=3)
    assert equal(trained(), train_toy(method=average)[0].state_dict())


def test_a_loss_that_is_not_finite_stops_training_with_advice() -> None:
    with pytest.raises(TrainingError, match=r"step 10: expected a finite loss.*lower the learning rate") as raised:
        train_toy(learning_rate=1e30)
    assert "\n" not in str(raised.value)


def ask_for_too_much() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def say_what_a_gpu_says() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")


@pytest.mark.parametrize("fail", [ask_for_too_much, say_what_a_gpu_says])
def test_memory_that_is_short_is_one_line_that_names_the_settings(fail: Callable[[], None]) -> None:
    source = ToySource(lambda step: fail() if step == 12 else None)
    with pytest.raises(
        TrainingError, match=r"step 12: expected memory .*; raise train.accumulate \(it is 1\)"
    ) as raised:
        train_toy(source=source)
    assert "\n" not in str(raised.value)


def test_an_error_of_ours_is_not_taken_for_one_of_the_machine() -> None:
    def fail(step: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        train_toy(source=ToySource(fail))


def test_images_that_cannot_be_read_are_one_line() -> None:
    def vanish(step: int) -> None:
        if step == 12:
            raise OSError(5, "Input/output error")

    with pytest.raises(DataError, match=r"step 12: expected to read images .*Input/output error.*`oodtune cache`"):
        train_toy(source=ToySource(vanish))


def frozen(network: nn.Module) -> nn.Module:
    """Keep the batch-norm statistics in training, too."""

    def freeze(module: nn.Module, _: object) -> None:
        module.eval()

    network.get_submodule("backbone.1").register_forward_pre_hook(freeze)
    return network


@pytest.mark.parametrize("num_parts", [2, 3, 8])
def test_a_batch_in_parts_takes_the_step_of_the_undivided_one(num_parts: int) -> None:
    states = []
    for parts in (1, num_parts):
        network = frozen(make_network())
        optimiser = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
        source = ToySource()
        losses = [update(network, optimiser, *source.draw_batch(step), parts) for step in range(3)]
        states.append({**network.state_dict(), "losses": torch.stack(losses)})
    for name, tensor in states[0].items():
        assert torch.allclose(tensor.double(), states[1][name].double(), rtol=0, atol=1e-5), name


def test_every_part_of_a_batch_has_images_of_every_domain() -> None:
    seen = []

    def forward(pixels: Tensor) -> Tensor:
        seen.append(set(pixels[:, 0, 0, 0].long().tolist()))
        return pixels[:, :2, 0, 0] * weight

    weight = torch.ones(1, requires_grad=True)
    domains = torch.arange(3).repeat_interleave(4).view(12, 1, 1, 1).expand(12, 3, 1, 1).float()
    update(forward, torch.optim.SGD([weight], lr=0.1), domains, torch.zeros(12, dtype=torch.int64), num_parts=4)
    assert seen == [{0, 1, 2}] * 4


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU does not compute in bfloat16")
def test_bfloat16_is_the_type_of_activations_and_not_of_weights() -> None:
    network, types = make_network(), []
    network.get_submodule("backbone.0").register_forward_hook(lambda module, _, output: types.append(output.dtype))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    precision = choose_precision(TrainConfig(precision="bfloat16"), torch.device("cpu"))
    loss = update(network, optimiser, *ToySource().draw_batch(0), precision=precision)
    assert types == [torch.bfloat16]
    assert loss.dtype == torch.float32
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.skipif(torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU computes in bfloat16")
def test_bfloat16_is_refused_where_the_device_lacks_it() -> None:
    with pytest.raises(ConfigError, match=r"train.precision: .* set float32"):
        choose_precision(TrainConfig(precision="bfloat16"), torch.device("cpu"))


def test_progress_shows_loss_speed_and_accuracy_and_does_not_look_at_every_step() -> None:
    shown: list[tuple[int, int, str]] = []
    around = replace(ALONE, progress=lambda *values: shown.append(values))
    train_toy(around=around)
    assert [(done, total) for done, total, _ in shown] == [(10, 25), (20, 25), (25, 25)]
    assert all(word in shown[-1][2] for word in ("loss", "images/s", "iid", "best"))


def test_the_log_grows_by_one_snapshot_at_a_time() -> None:
    lengths: list[int] = []
    train_toy(around=replace(ALONE, log=lambda snapshots: lengths.append(len(snapshots))))
    assert lengths == [1, 2, 3, 4]
