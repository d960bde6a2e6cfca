import numpy as np
import pytest
import torch

from oodtune.data.sampling import Sampling, data_generator, draw_places, step_seed, walk_places


def test_places_lie_in_their_own_domain() -> None:
    places = draw_places([3, 1000], 500, data_generator(0, 0))
    assert set(places[0].tolist()) == {0, 1, 2}
    assert places[1].min() >= 0
    assert 900 < places[1].max() < 1000


def test_equal_seeds_and_steps_draw_equal_places() -> None:
    first, second = (draw_places([100, 50], 8, data_generator(5, 3)) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_every_step_draws_its_own_places() -> None:
    drawn = {tuple(draw_places([1000], 8, data_generator(0, step))[0]) for step in range(50)}
    assert len(drawn) == 50


def test_every_seed_step_and_purpose_has_its_own_stream() -> None:
    seeds = {step_seed(seed, step, what) for seed in range(3) for step in range(20) for what in ("data", "dropout")}
    assert len(seeds) == 120


def walk(size: int, batch: int, num_steps: int, seed: int = 0, domain: int = 0) -> np.ndarray:
    """Return the places of the first steps of one of three domains of `size`, one after the other."""
    return np.concatenate([walk_places([size] * 3, batch, seed, step)[domain] for step in range(num_steps)])


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (10, 5), (7, 3), (3, 8), (1, 4), (5, 5)])
def test_without_replacement_every_image_comes_once_in_every_epoch(size: int, batch: int) -> None:
    num_epochs = 2 * batch
    places = walk(size, batch, num_steps=2 * size)
    epochs = places.reshape(num_epochs, size)
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)


def test_every_epoch_domain_and_seed_has_its_own_order() -> None:
    epochs = walk(50, 10, 20).reshape(4, 50)
    others = [walk(50, 10, 5, domain=1), walk(50, 10, 5, seed=1)]
    assert len({tuple(order) for order in [*epochs, *others]}) == 6


def test_a_step_draws_the_same_places_whatever_was_drawn_before() -> None:
    in_order = [walk_places([10, 7], 4, 0, step) for step in range(30)]
    for step in (29, 0, 13, 13, 5):
        again = walk_places([10, 7], 4, 0, step)
        assert all(np.array_equal(one, other) for one, other in zip(again, in_order[step], strict=True))


def test_domains_of_unequal_sizes_have_epochs_of_their_own() -> None:
    drawn = [walk_places([4, 8], 4, 0, step) for step in range(2)]
    assert [sorted(small) for small, _ in drawn] == [[0, 1, 2, 3]] * 2
    assert sorted(np.concatenate([large for _, large in drawn])) == list(range(8))


def test_with_replacement_sampling_draws_what_its_generator_says() -> None:
    places, rest = Sampling((100, 50), 8, seed=5).draw(3)
    generator = data_generator(5, 3)
    expected = draw_places([100, 50], 8, generator)
    assert all(np.array_equal(one, other) for one, other in zip(places, expected, strict=True))
    assert torch.equal(torch.rand(4, generator=rest), torch.rand(4, generator=generator))


def test_without_replacement_randomness_of_the_step_goes_on_from_its_start() -> None:
    places, rest = Sampling((100, 50), 8, seed=5, replacement=False).draw(3)
    expected = walk_places([100, 50], 8, 5, 3)
    assert all(np.array_equal(one, other) for one, other in zip(places, expected, strict=True))
    assert torch.equal(torch.rand(4, generator=rest), torch.rand(4, generator=data_generator(5, 3)))
