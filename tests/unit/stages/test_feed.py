import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from oodtune.config import AugmentConfig, TrainConfig
from oodtune.data.augment import augment
from oodtune.data.batches import ResidentBatches, StreamedBatches
from oodtune.data.cache import open_cache
from oodtune.data.sampling import step_seed
from oodtune.stages.feed import Feed, open_feed
from tests.fixtures.small_cache import write_cache

CPU = torch.device("cpu")
TRAIN = TrainConfig(batch_per_domain=4)
SEED = 3


@pytest.fixture(scope="module")
def cache_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("small"))


def feed_of(cache_path: Path) -> Feed:
    return open_feed(cache_path, "oil", SEED, AugmentConfig(), TRAIN, CPU)


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
        replace(streamed, batches=ResidentBatches(sources, TRAIN.batch_per_domain, SEED, CPU)) as resident,
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
