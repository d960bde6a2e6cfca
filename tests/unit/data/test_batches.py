import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from oodtune.data.batches import ResidentBatches, StreamedBatches, count_bytes, fits_on_device
from oodtune.data.cache import Examples
from oodtune.data.sampling import Sampling, step_seed

CPU = torch.device("cpu")


def examples(value: int, num: int = 10) -> Examples:
    images = np.full((num, 4, 4, 3), value, np.uint8)
    images[:, 0, 0, 0] = np.arange(num)
    return Examples(images, np.arange(num, dtype=np.int64), tuple(str(n) for n in range(num)))


def sampling_of(sources: Sequence[Examples], batch_per_domain: int = 8, seed: int = 0, **more: int) -> Sampling:
    return Sampling(tuple(len(one.labels) for one in sources), batch_per_domain, seed, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [StreamedBatches, ResidentBatches])
def test_a_batch_has_its_share_of_every_source_domain(kind) -> None:  # type: ignore[no-untyped-def]
    batches = kind(sources := [examples(1), examples(2)], sampling_of(sources), CPU)
    images, labels, _ = batches.draw(0)
    batches.close()
    assert images.shape == (16, 4, 4, 3)
    assert images[:, 1, 1, 1].tolist() == [1] * 8 + [2] * 8
    assert labels.shape == (16,)


@pytest.mark.parametrize("kind", [StreamedBatches, ResidentBatches])
def test_labels_stay_with_their_images(kind) -> None:  # type: ignore[no-untyped-def]
    batches = kind(sources := [examples(1), examples(2, num=20)], sampling_of(sources), CPU)
    images, labels, _ = batches.draw(3)
    batches.close()
    assert images[:, 0, 0, 0].tolist() == labels.tolist()


@pytest.mark.parametrize("kind", [StreamedBatches, ResidentBatches])
def test_a_step_draws_what_its_seed_says_in_whatever_order_steps_come(kind) -> None:  # type: ignore[no-untyped-def]
    sources = [examples(1), examples(2, num=20)]
    batches = kind(sources, sampling_of(sources, seed=7), CPU)
    for step in (0, 1, 2, 9, 4, 4):
        generator = torch.Generator().manual_seed(step_seed(7, step, "data"))
        chosen = [torch.randint(len(one.labels), (8,), generator=generator).numpy() for one in sources]
        images, labels, rest = batches.draw(step)
        assert np.array_equal(images, np.concatenate([one.images[at] for one, at in zip(sources, chosen, strict=True)]))
        assert np.array_equal(labels, np.concatenate([one.labels[at] for one, at in zip(sources, chosen, strict=True)]))
        assert torch.equal(torch.rand(4, generator=rest), torch.rand(4, generator=generator))
    batches.close()


@pytest.mark.parametrize("kind", [StreamedBatches, ResidentBatches])
def test_without_replacement_an_epoch_has_every_image_once(kind) -> None:  # type: ignore[no-untyped-def]
    batches = kind(sources := [examples(1), examples(2, num=20)], sampling_of(sources, 5, 7, replacement=False), CPU)
    labels = [batches.draw(step).labels.reshape(2, 5) for step in range(4)]
    batches.close()
    assert sorted(torch.cat([one[0] for one in labels[:2]]).tolist()) == list(range(10))
    assert sorted(torch.cat([one[1] for one in labels]).tolist()) == list(range(20))


def test_sources_of_more_images_than_are_moved_at_once_are_moved_whole() -> None:
    source = examples(1, num=250)
    long = Examples(np.concatenate([source.images[:]] * 3), np.arange(750, dtype=np.int64), tuple(map(str, range(750))))
    images, labels, _ = ResidentBatches([long], sampling_of([long], 4000), CPU).draw(0)
    assert len(set(labels.tolist())) > 700
    assert np.array_equal(images, long.images[labels.numpy()])


def test_an_image_that_cannot_be_read_stops_the_loop_at_its_step() -> None:
    class Broken:
        shape = (10, 4, 4, 3)

        def __len__(self) -> int:
            return 10

        def __getitem__(self, places: object) -> np.ndarray:
            raise OSError("Input/output error")

    source = Examples(Broken(), np.arange(10, dtype=np.int64), tuple("0123456789"))
    batches = StreamedBatches([source], Sampling((10,), 8, 0), CPU)
    with pytest.raises(OSError, match="Input/output error"):
        batches.draw(0)
    batches.close()


def test_closed_batches_leave_no_thread_behind() -> None:
    before = threading.active_count()
    batches = StreamedBatches([examples(1)], Sampling((10,), 8, 0), CPU)
    batches.draw(0)
    assert threading.active_count() == before + 1
    batches.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("num_bytes", "free_bytes", "fits"), [(25, 100, True), (26, 100, False), (1, 0, False), (20 << 30, 79 << 30, False)]
)
def test_a_quarter_of_the_devices_free_memory_is_taken_at_most(num_bytes: int, free_bytes: int, fits: bool) -> None:
    assert fits_on_device(num_bytes, free_bytes) == fits


def test_bytes_are_those_of_the_pixels() -> None:
    sources = [examples(1), examples(2, num=20)]
    assert count_bytes(sources) == sum(one.images[:].nbytes for one in sources)


@pytest.mark.parametrize("kind", [StreamedBatches, ResidentBatches])
@pytest.mark.parametrize("num_ranks", [2, 3, 4, 5])
def test_ranks_share_a_batch_without_overlap(kind, num_ranks: int) -> None:  # type: ignore[no-untyped-def]
    sources = [examples(1), examples(2, num=20), examples(3, num=15)]
    whole = kind(sources, sampling_of(sources, 5), CPU)
    images, labels, rest = whole.draw(3)
    following = torch.rand(4, generator=rest)
    for rank in range(num_ranks):
        part = kind(sources, sampling_of(sources, 5, rank=rank, num_ranks=num_ranks), CPU)
        my_images, my_labels, my_rest = part.draw(3)
        assert torch.equal(my_images, images[rank::num_ranks])
        assert torch.equal(my_labels, labels[rank::num_ranks])
        assert torch.equal(torch.rand(4, generator=my_rest), following)
        part.close()
    whole.close()
