import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from oodtune.config import AugmentConfig, TrainConfig
from oodtune.data.augment import augment
from oodtune.data.batches import ResidentBatches, StreamedBatches
from oodtune.data.cache import open_cache
from oodtune.data.sampling import step_seed
from oodtune.errors import ConfigError
from oodtune.evaluate.logits import compute_logits
from oodtune.evaluate.metrics import accuracy, negative_log_likelihood
from oodtune.pixels import Pixels, Places
from oodtune.stages.feed import Feed, open_feed
from oodtune.train.ranks import Ranks
from tests.fixtures.small_cache import write_cache

CPU = torch.device("cpu")
TRAIN = TrainConfig(batch_per_domain=4)
SEED = 3


@pytest.fixture(scope="module")
def cache_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("small"))


def feed_of(cache_path: Path) -> Feed:
    return open_feed(cache_path, "oil", SEED, AugmentConfig(), TRAIN, Ranks(CPU))


def test_a_step_is_a_function_of_seed_and_step_indices_first_then_augmentation(cache_path: Path) -> None:
    cache = open_cache(cache_path)
    sources = [cache.examples(domain, "in") for domain in ("clay", "ink")]
    with feed_of(cache_path) as feed:
        for step in (0, 1, 2, 30, 31, 5):
            generator = torch.Generator().manual_seed(step_seed(SEED, step, "data"))
            chosen = [torch.randint(len(one.labels), (4,), generator=generator).numpy() for one in sources]
            images = np.concatenate([one.images[at] for one, at in zip(sources, chosen, strict=True)])
            expected = augment(torch.from_numpy(images).permute(0, 3, 1, 2).float(), AugmentConfig(), generator)
            pixels, labels = feed.draw_batch(step)
            assert torch.equal(pixels, expected)
            assert pixels.is_contiguous(memory_format=torch.channels_last)
            assert labels.tolist() == [
                label for one, at in zip(sources, chosen, strict=True) for label in one.labels[at].tolist()
            ]


def test_streamed_and_resident_feeds_give_equal_bits(cache_path: Path) -> None:
    cache = open_cache(cache_path)
    sources = [cache.examples(domain, "in") for domain in ("clay", "ink")]
    with (
        feed_of(cache_path) as streamed,
        replace(streamed, batches=ResidentBatches(sources, streamed.sampling, CPU)) as resident,
    ):
        assert isinstance(streamed.batches, StreamedBatches)
        for step in (0, 1, 2, 17, 18):
            (pixels, labels), dropout = streamed.draw_batch(step), torch.rand(3)
            (resident_pixels, resident_labels), resident_dropout = resident.draw_batch(step), torch.rand(3)
            assert torch.equal(pixels, resident_pixels)
            assert torch.equal(labels, resident_labels)
            assert torch.equal(dropout, resident_dropout)


def test_what_is_read_ahead_changes_no_other_randomness(cache_path: Path) -> None:
    with feed_of(cache_path) as feed:
        feed.draw_batch(0)
        following = torch.rand(3)
        torch.manual_seed(step_seed(SEED, 0, "dropout"))
        assert torch.equal(following, torch.rand(3))


def test_a_closed_feed_leaves_no_thread_behind(cache_path: Path) -> None:
    before = threading.active_count()
    with feed_of(cache_path) as feed:
        feed.draw_batch(0)
    assert threading.active_count() == before


class Counted:
    """Images that count how often each is read."""

    def __init__(self, images: Pixels) -> None:
        self.images = images
        self.shape = images.shape
        self.reads = np.zeros(len(images), np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, places: slice | Places, /) -> npt.NDArray[np.uint8]:
        self.reads[places] += 1
        return self.images[places]


def network_of(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 16 * 16, 2))


def test_live_and_averaged_weights_are_measured_in_one_pass_as_each_would_be_alone(cache_path: Path) -> None:
    live, averaged = network_of(0), network_of(1)
    with feed_of(cache_path) as feed:
        counted = {name: replace(one, images=Counted(one.images)) for name, one in feed.out_splits.items()}
        both = replace(feed, out_splits=counted).measure(live, averaged.state_dict())
        assert both == [*feed.measure(live), *feed.measure(averaged)]
        assert both[0] != both[1]
        for domain, examples in counted.items():
            assert isinstance(examples.images, Counted)
            assert (examples.images.reads == 1).all()
            logits = compute_logits(live, examples.images, CPU)
            assert both[0].accuracy[domain] == accuracy(logits, examples.labels)
            assert both[0].loss[domain] == negative_log_likelihood(logits, examples.labels)


def test_the_target_domain_is_not_measured(cache_path: Path) -> None:
    with feed_of(cache_path) as feed:
        (measured,) = feed.measure(network_of(0))
    assert measured.accuracy.keys() == measured.loss.keys() == {"clay", "ink"}


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_ranks_get_their_parts_of_the_augmented_batch_and_one_dropout_mask(cache_path: Path, num_ranks: int) -> None:
    with feed_of(cache_path) as feed:
        pixels, labels = feed.draw_batch(3)
        following = torch.rand(3)
    for rank in range(num_ranks):
        with open_feed(cache_path, "oil", SEED, AugmentConfig(), TRAIN, Ranks(CPU, rank, num_ranks)) as part:
            my_pixels, my_labels = part.draw_batch(3)
            assert torch.equal(my_pixels, pixels[rank::num_ranks])
            assert torch.equal(my_labels, labels[rank::num_ranks])
            assert torch.equal(torch.rand(3), following)


def test_a_batch_that_ranks_cannot_share_evenly_is_refused(cache_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="expected a batch that 3 processes share evenly, found 2 domains of 4 images"
    ):
        open_feed(cache_path, "oil", SEED, AugmentConfig(), TRAIN, Ranks(CPU, 0, 3))
