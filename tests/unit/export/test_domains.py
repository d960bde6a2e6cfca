import numpy as np
import pytest
import torch

from oodtune.bundle import open_bundle
from oodtune.export.domains import DomainDistances, fit_domains
from tests.unit.tiny_bundle import domain_images, tiny_bundle

WIDTH = 128


def draw(count: int, mean: float = 0.0, seed: int = 0, decay: float = 1.0):
    """Draw features (N, D) whose variance falls as a power of the direction's number, as that of networks does."""
    generator = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(np.random.default_rng(99).standard_normal((WIDTH, WIDTH)))
    deviations = np.arange(1, WIDTH + 1) ** (-decay / 2)
    return (mean + (generator.standard_normal((count, WIDTH)) * deviations) @ basis).astype(np.float32)


def distances(gaussians, features):
    return DomainDistances(gaussians)(torch.from_numpy(features)).numpy()


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("count", [12, 24, 100, 1000])
def test_held_out_images_of_a_domain_are_near_distance_one_however_few_it_was_fitted_to(count, decay):
    gaussians = fit_domains({"a": draw(count, decay=decay), "b": draw(count, 1.0, 1, decay)})
    held_out = distances(gaussians, draw(500, seed=2, decay=decay))[:, 0]
    assert 0.8 < np.sqrt(np.square(held_out).mean()) < 1.2


@pytest.mark.parametrize("count", [12, 100, 1000])
def test_another_domain_is_farther_than_nearly_all_held_out_images(count):
    gaussians = fit_domains({"a": draw(count), "b": draw(count, 1.0, 1)})
    ours = distances(gaussians, draw(300, seed=2)).min(axis=1)
    other = distances(gaussians, draw(300, -0.5, seed=3)).min(axis=1)
    assert np.median(other) > np.percentile(ours, 99)


def test_an_image_is_nearest_to_its_own_domain():
    gaussians = fit_domains({"a": draw(48), "b": draw(48, 0.5, 1)})
    found = distances(gaussians, np.concatenate([draw(100, 0.0, 2), draw(100, 0.5, 3)]))
    assert (found.argmin(axis=1) == np.repeat([0, 1], 100)).mean() > 0.95


def test_with_many_images_the_distance_is_that_of_the_true_covariance():
    features = draw(20_000, decay=2.0)
    gaussians = fit_domains({"a": features}, rank=WIDTH - 1)
    held_out = draw(200, seed=5, decay=2.0)
    covariance = np.cov(features.T)
    offsets = held_out - features.mean(axis=0)
    expected = np.sqrt(np.einsum("nd,de,ne->n", offsets, np.linalg.inv(covariance), offsets) / WIDTH)
    assert np.abs(distances(gaussians, held_out)[:, 0] / expected - 1).max() < 0.05


def test_features_that_do_not_vary_give_finite_distances():
    features = draw(20)
    features[:, :100] = 0.0
    assert np.isfinite(distances(fit_domains({"a": features, "b": features * 0}), draw(5))).all()


def test_a_few_directions_with_nearly_all_variance_leave_float32_its_digits():
    features = draw(200, decay=0.0)
    features[:, 0] *= 3000.0
    gaussians = fit_domains({"a": features}, rank=4)
    module = DomainDistances(gaussians).double()
    exact = module(torch.from_numpy(features).double()).numpy()
    assert np.abs(distances(gaussians, features) / exact - 1).max() < 1e-3


def test_held_out_images_of_a_real_graph_are_near_one_and_the_other_domain_is_far():
    bundle = open_bundle(tiny_bundle())
    for place, domain in enumerate(("day", "night")):
        found = bundle.run(domain_images(domain, seed=7)).domain_distances
        assert 0.5 < np.median(found[:, place]) < 1.5
        assert (found.argmin(axis=1) == place).all()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_size_gives_distances_of_the_same_bits(batch):
    bundle = open_bundle(tiny_bundle())
    images = domain_images("day", 20)
    together = bundle.run(images).domain_distances
    in_batches = [bundle.run(images[at : at + batch]).domain_distances for at in range(0, 20, batch)]
    assert np.array_equal(np.concatenate(in_batches), together)
