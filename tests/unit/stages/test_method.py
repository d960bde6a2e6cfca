"""Settings of the method reach a trial: what it trains, and what it leaves as it was."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from oodtune.artifact import open_artifact
from oodtune.data.batches import even_batches
from oodtune.data.cache import open_cache
from oodtune.errors import ConfigError
from oodtune.model.initial import BACKBONE_FILE, initial_network
from oodtune.model.statistics import estimate_statistics
from oodtune.model.weights import load_weights
from oodtune.stages import combine, train
from oodtune.stages.feed import Feed
from oodtune.trial import TrialRecord, plan_trials
from tests.unit.stages.conftest import Road

pytestmark = pytest.mark.xdist_group("road")


class KilledError(Exception):
    """Ends a trial in a way that nothing in it expects."""


def killed() -> None:
    raise KilledError


def train_with(road: Road, out: Path, seed: int = 0, **settings: dict[str, object]) -> dict[str, Tensor]:
    """Train the first trial with single settings changed (`train={"steps": 3}`); return its weights."""
    trial = plan_trials(road.config.sweep)[0].model_copy(update={"seed": seed})
    params = train.Params.for_trial(road.config, trial)
    changed = {name: getattr(params, name).model_copy(update=values) for name, values in settings.items()}
    train.run(road.cache, road.init, out, params.model_copy(update=changed), trial, "cpu")
    return load_weights(out / "weights.safetensors")


def record_of(path: Path) -> TrialRecord:
    return TrialRecord.model_validate(open_artifact(path, "trial").details)


def changed_parts(road: Road, state: dict[str, Tensor]) -> set[str]:
    """Return the first part of the name of every entry of the backbone that is no longer the initial one."""
    initial = load_weights(road.init / BACKBONE_FILE)
    return {
        name.split(".")[0] for name, tensor in initial.items() if not torch.equal(state[f"backbone.{name}"], tensor)
    }


@pytest.mark.parametrize(
    ("trained_stages", "parts"),
    [(0, set()), (2, {"layer3", "layer4"}), (None, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"})],
)
def test_a_trial_changes_the_stages_it_trains_and_no_other(
    road: Road, tmp_path: Path, trained_stages: int | None, parts: set[str]
) -> None:
    state = train_with(road, tmp_path / "trial", train={"trained_stages": trained_stages, "freeze_batch_norm": False})
    assert changed_parts(road, state) == parts
    assert record_of(tmp_path / "trial").statistics_move == bool(parts)


def test_too_many_stages_are_an_error_before_anything_is_written(road: Road, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at most 5"):
        train_with(road, tmp_path / "trial", train={"trained_stages": 9})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"method": {"head_rate_factor": 10.0}},
        {"method": {"mixout": 0.9}},
        {"train": {"warmup_steps": 3}},
        {"train": {"replacement": False}},
        {"augment": {"erase_probability": 0.5}},
    ],
    ids=lambda settings: next(iter(next(iter(settings.values())))),
)
def test_every_setting_makes_another_trial_and_makes_it_again(
    road: Road, tmp_path: Path, settings: dict[str, dict[str, object]]
) -> None:
    plain = load_weights(road.trials[0] / "weights.safetensors")
    first, second = (train_with(road, tmp_path / name, **settings) for name in ("first", "second"))
    assert first.keys() == plain.keys()
    assert any(not torch.equal(first[name], plain[name]) for name in plain)
    assert all(torch.equal(first[name], second[name]) for name in plain)


def test_a_trial_with_all_that_is_unusual_goes_on_bit_for_bit(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, dict[str, object]] = {
        "method": {"mixout": 0.9, "dropout": 0.5, "head_rate_factor": 10.0},
        "augment": {"erase_probability": 0.5},
        "train": {
            "replacement": False,
            "freeze_batch_norm": False,
            "trained_stages": 3,
            "decay": "matrices",
            "warmup_steps": 2,
            "checkpoint_every": 2,
        },
    }
    whole = train_with(road, tmp_path / "whole", **settings)
    draw = Feed.draw_batch
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(Feed, "draw_batch", lambda feed, step: draw(feed, step) if step < 5 else killed())
        train_with(road, tmp_path / "killed", **settings)
    assert not (tmp_path / "killed").exists()
    drawn: list[int] = []
    monkeypatch.setattr(Feed, "draw_batch", lambda feed, step: drawn.append(step) or draw(feed, step))
    resumed = train_with(road, tmp_path / "killed", **settings)
    assert drawn == [4, 5]
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_statistics_that_moved_apart_are_estimated_anew_in_a_soup(road: Road, tmp_path: Path) -> None:
    config = road.config.model_copy(
        update={
            "sweep": road.config.sweep.model_copy(
                update={"target_domains": ("plain",), "methods": ("plain",), "seeds": (0, 1)}
            )
        }
    )
    paths = [tmp_path / trial.name for trial in plan_trials(config.sweep)]
    for seed, path in enumerate(paths):
        train_with(road, path, seed, train={"freeze_batch_norm": False})
    combine.run(road.cache, road.init, paths, tmp_path / "soups", combine.Params.from_config(config))
    soup = load_weights(tmp_path / "soups" / "plain" / "uniform_soup.safetensors")
    trials = [load_weights(path / "weights.safetensors") for path in paths]
    network, _ = initial_network(open_artifact(road.init, "init"), "plain", dropout=0.0)
    for name, estimated in soup.items():
        mean = (trials[0][name].double() + trials[1][name].double()) / 2
        if name.endswith(("running_mean", "running_var")):
            # Those of the images, which an average of two trials' moving averages is not.
            assert not torch.allclose(estimated.double(), mean, rtol=1e-4)
            assert not torch.equal(estimated, network.state_dict()[name])
        elif estimated.is_floating_point():
            assert torch.allclose(estimated.double(), mean, atol=1e-6)


def test_statistics_of_an_average_at_the_end_are_those_of_the_source_images(road: Road, tmp_path: Path) -> None:
    swad = {"average": "swad", "swad_converge": 1, "swad_tolerance": 2}
    averaged = train_with(road, tmp_path / "trial", train={"freeze_batch_norm": False}, method=swad)
    assert record_of(tmp_path / "trial").averaged_steps is not None
    cache = open_cache(road.cache)
    network, _ = initial_network(open_artifact(road.init, "init"), "plain", dropout=0.0)
    network.freeze(batch_norm=False).load_state_dict(averaged)
    sources = [cache.examples(domain, "in") for domain in cache.source_domains("plain")]
    estimate_statistics(network, even_batches(sources, torch.device("cpu")), network.moving_norms)
    moved = [name for name in averaged if name.endswith(("running_mean", "running_var"))]
    assert all(torch.allclose(network.state_dict()[name], averaged[name]) for name in moved)
    assert any(not torch.equal(averaged[name], load_weights(road.init / BACKBONE_FILE)[name[9:]]) for name in moved)
