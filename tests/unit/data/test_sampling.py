import numpy as np

from oodtune.data.sampling import data_generator, draw_places, step_seed


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
