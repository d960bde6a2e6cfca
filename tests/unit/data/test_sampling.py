import numpy as np
import torch

from oodtune.data.cache import Examples
from oodtune.data.sampling import draw_batch, step_seed


def examples(value: int, num: int = 10) -> Examples:
    images = np.full((num, 4, 4, 3), value, np.uint8)
    images[:, 0, 0, 0] = np.arange(num)
    return Examples(images, np.arange(num, dtype=np.int64), tuple(str(n) for n in range(num)))


def test_a_batch_has_its_share_of_every_source_domain() -> None:
    images, labels = draw_batch([examples(1), examples(2)], 8, torch.Generator().manual_seed(0))
    assert images.shape == (16, 3, 4, 4)
    assert images[:, 1, 1, 1].tolist() == [1] * 8 + [2] * 8
    assert labels.shape == (16,)


def test_labels_stay_with_their_images() -> None:
    images, labels = draw_batch([examples(1), examples(2)], 8, torch.Generator().manual_seed(0))
    assert images[:, 0, 0, 0].tolist() == labels.tolist()


def test_equal_seeds_draw_equal_batches() -> None:
    first, second = (draw_batch([examples(1)], 8, torch.Generator().manual_seed(5))[1] for _ in range(2))
    assert torch.equal(first, second)


def test_every_seed_step_and_purpose_has_its_own_stream() -> None:
    seeds = {step_seed(seed, step, what) for seed in range(3) for step in range(20) for what in ("data", "dropout")}
    assert len(seeds) == 120
