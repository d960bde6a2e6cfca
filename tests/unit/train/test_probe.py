import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from oodtune.config import ProbeConfig
from oodtune.train.probe import fit_probe

CONFIG = ProbeConfig(weight_decay=0.01, max_iterations=500)


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Return features (300, 12), on different scales, and labels (300,) of 3 classes."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (300,), generator=random)
    features = torch.randn(300, 12, generator=random) + 1.5 * torch.eye(3, 12)[labels]
    return features * torch.logspace(-2, 1, 12) + 3, labels


def test_the_probe_is_the_optimum_that_scikit_learn_finds(data: tuple[torch.Tensor, torch.Tensor]) -> None:
    features, labels = data
    head = fit_probe(features, labels, 3, CONFIG)
    scaled = (features / features.square().mean(0).sqrt()).numpy().astype(np.float64)
    penalty = 1.0 / (2.0 * CONFIG.weight_decay * len(labels))
    reference = LogisticRegression(C=penalty, tol=1e-8, max_iter=5000).fit(scaled, labels.numpy())
    with torch.inference_mode():
        probabilities = head(features).softmax(1).numpy()
    assert np.abs(probabilities - reference.predict_proba(scaled)).max() < 2e-3


def test_equal_features_give_an_equal_head(data: tuple[torch.Tensor, torch.Tensor]) -> None:
    first, second = fit_probe(*data, 3, CONFIG), fit_probe(*data, 3, CONFIG)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_a_feature_that_never_changes_does_no_harm(data: tuple[torch.Tensor, torch.Tensor]) -> None:
    features, labels = data
    with_constant = torch.cat([features, torch.ones(300, 1)], 1)
    head = fit_probe(with_constant, labels, 3, CONFIG)
    assert head(with_constant).isfinite().all()
