"""The path of heads over dropout rates against solutions that know nothing of an eigendecomposition."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from oodtune.train import dropout_path
from oodtune.train.dropout_path import Moments, add_moments, fit_path, solve_path

RATES = (0.0, 0.1, 0.5, 0.9, 0.99, 0.999)
K = 3


def draw(num_images: int, num_features: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features (N, D) on different scales, with means far from zero, that tell K classes apart."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (num_images,), generator=random)
    features = torch.randn(num_images, num_features, generator=random, dtype=torch.float64)
    features = features + F.one_hot(labels, num_features) + 2.0
    return features * torch.logspace(-2, 1, num_features, dtype=torch.float64), labels


def solve_ridge(features: Tensor, labels: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Return W and b at which the gradient of the penalised loss is zero, bias as one more unknown."""
    gram = features.T @ features
    with_ones = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], 1)
    penalty = torch.cat([rate / (1.0 - rate) * gram.diagonal(), torch.zeros(1, dtype=torch.float64)])
    targets = F.one_hot(labels, K).double()
    solution = torch.linalg.solve(with_ones.T @ with_ones + penalty.diag(), with_ones.T @ targets)
    return solution[:-1], solution[-1]


def minimise_over_masks(features: Tensor, labels: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Return W and b that minimise the expected loss: every mask is a copy of the images, weighted."""
    rows, targets = [], []
    for mask in product((0.0, 1.0), repeat=features.shape[1]):
        kept = torch.tensor(mask, dtype=torch.float64)
        root = (kept * (1.0 - rate) + (1.0 - kept) * rate).prod().sqrt()
        dropped = features * kept / (1.0 - rate)
        rows.append(root * torch.cat([dropped, torch.ones(len(features), 1, dtype=torch.float64)], 1))
        targets.append(root * F.one_hot(labels, K).double())
    solution = torch.linalg.lstsq(torch.cat(rows), torch.cat(targets)).solution
    return solution[:-1], solution[-1]


def difference(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> float:
    """Return the largest error relative to the largest weight of each feature, and of the bias."""
    errors = [(one - other).abs().amax(-1) / other.abs().amax(-1) for one, other in zip(found, expected, strict=True)]
    return max(float(error.max()) for error in errors)


@pytest.mark.parametrize("rate", RATES)
def test_the_path_is_the_direct_ridge_solution_at_every_rate(rate: float):
    features, labels = draw(200, 12)
    assert difference(fit_path(features, labels, K).weights(rate), solve_ridge(features, labels, rate)) < 1e-9


@pytest.mark.parametrize("rate", RATES[1:])
def test_the_path_is_the_direct_ridge_solution_with_fewer_images_than_features(rate: float):
    features, labels = draw(20, 50)
    assert difference(fit_path(features, labels, K).weights(rate), solve_ridge(features, labels, rate)) < 1e-9


@pytest.mark.parametrize("num_images", [40, 5])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.99])
def test_the_path_minimises_the_loss_averaged_over_all_masks(rate: float, num_images: int):
    features, labels = draw(num_images, 7)
    expected = minimise_over_masks(features, labels, rate)
    assert difference(fit_path(features, labels, K).weights(rate), expected) < 1e-9


@pytest.mark.parametrize("rate", RATES)
def test_both_eigendecompositions_give_one_path(rate: float):
    features, labels = draw(30, 31)
    from_moments = solve_path(Moments.of(features, labels, K))
    assert difference(fit_path(features, labels, K).weights(rate), from_moments.weights(rate)) < 1e-6


def test_rate_0_is_least_squares_of_least_norm_where_features_are_redundant():
    features, labels = draw(60, 6)
    features = torch.cat([features, features[:, :2]], 1)
    weights, bias = fit_path(features, labels, K).weights(0.0)
    scale = features.square().sum(0).sqrt()
    centred, targets = features - features.mean(0), F.one_hot(labels, K).double()
    expected = torch.linalg.pinv(centred / scale, rtol=1e-10) @ (targets - targets.mean(0)) / scale[:, None]
    assert difference((weights, bias), (expected, targets.mean(0) - features.mean(0) @ expected)) < 1e-9
    assert torch.allclose(weights[:2], weights[6:], rtol=1e-9)


def test_rate_0_with_fewer_images_than_features_fits_every_label():
    features, labels = draw(20, 50)
    predicted = fit_path(features, labels, K).logits(features, [0.0])[0]
    assert torch.allclose(predicted, F.one_hot(labels, K).double(), atol=1e-9)


@pytest.mark.parametrize("num_images", [40, 5])
def test_a_feature_that_is_zero_everywhere_has_no_weight_and_changes_no_other(num_images: int):
    features, labels = draw(num_images, 7)
    widened = torch.cat([features, torch.zeros(num_images, 1, dtype=torch.float64)], 1)
    for rate in (0.0, 0.9):
        weights, bias = fit_path(widened, labels, K).weights(rate)
        assert torch.equal(weights[-1], torch.zeros(K, dtype=torch.float64))
        assert difference((weights[:-1], bias), fit_path(features, labels, K).weights(rate)) < 1e-9


@pytest.mark.parametrize("num_images", [300, 10])
def test_a_class_without_images_is_never_predicted(num_images: int):
    features, labels = draw(num_images, 12)
    path = fit_path(features, labels % 2, K)
    assert path.logits(10.0 * features, RATES).argmax(2).max() < 2


def test_moments_of_parts_add_up_to_the_moments_of_the_whole():
    features, labels = draw(300, 12)
    features[:100] += 50.0
    parts = [Moments.of(features[part], labels[part], K) for part in (slice(0, 100), slice(100, 130), slice(130, 300))]
    added, whole = add_moments(parts), Moments.of(features, labels, K)
    for name in ("class_counts", "mean", "scatter", "cross", "scale"):
        assert torch.allclose(getattr(added, name), getattr(whole, name), rtol=1e-12, atol=1e-9)
    assert difference(solve_path(added).weights(0.5), solve_ridge(features, labels, 0.5)) < 1e-9


def test_reading_rows_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    features, labels = draw(100, 12)
    whole = fit_path(features, labels, K)
    accuracies = whole.accuracies(features, labels, RATES)
    monkeypatch.setattr(dropout_path, "ROWS", 7)
    pieces = fit_path(features, labels, K)
    assert difference(pieces.weights(0.5), whole.weights(0.5)) < 1e-12
    assert pieces.accuracies(features, labels, RATES) == accuracies


def test_features_of_float32_are_fitted_in_float64():
    features, labels = draw(200, 12)
    rough = (features + 1000.0).float()
    assert difference(fit_path(rough, labels, K).weights(0.5), fit_path(rough.double(), labels, K).weights(0.5)) == 0.0


def test_accuracies_are_those_of_the_logits():
    features, labels = draw(100, 12)
    path = fit_path(features[:50], labels[:50], K)
    predicted = path.logits(features[50:], RATES).argmax(2)
    assert path.accuracies(features[50:], labels[50:], RATES) == (predicted == labels[50:]).double().mean(1).tolist()


def test_large_dropout_spreads_weight_over_redundant_features():
    features, labels = draw(500, 12)
    path = fit_path(features, labels, K)
    shares = [path.weights(rate)[0].norm(dim=1) * features.square().sum(0).sqrt() for rate in (0.0, 0.9)]
    evenness = [float(share.sum() / share.norm()) for share in shares]
    assert evenness[1] > evenness[0]
