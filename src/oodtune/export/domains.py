"""How far an image is from the training domains: one Gaussian of penultimate features for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Features = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

RANK: Final = 64
"""Directions of the features that have a variance of their own; the rest share one."""
NUM_FOLDS: Final = 5
_LEAST_VARIANCE: Final = 1e-6
"""Of the mean variance: what does not vary at all must not divide by zero."""
_LEAST_DEVIATION: Final = 1e-3
"""Of the features' root mean square: float32 keeps six digits through a network, and a distance must not show the
seventh."""


@dataclass(frozen=True)
class DomainGaussians:
    """Gaussians of M domains over features of width D: a mean for each, one covariance for all of them.

    The covariance is shrunk toward a multiple of the identity by as much as its own sampling error asks for (Ledoit &
    Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", section 3.3), then kept as R
    directions with variances of their own and one variance for all others (probabilistic principal components, Tipping
    & Bishop 1999, equation 8). Last, its scale is set so that images which it was not fitted to are at a mean squared
    distance of 1 (cross-validation): with fewer images than features, any estimate is too narrow for them.
    """

    means: Features
    """(M, D)"""
    directions: Features
    """(R, D), orthonormal."""
    variances: Features
    """(R,), along `directions`."""
    rest_variance: float
    """Along everything else."""


def fit_domains(features: Mapping[str, Features], rank: int = RANK) -> DomainGaussians:
    """Fit the Gaussians of the domains that `features` maps to their penultimate features (N, D), N > 1."""
    domains = [np.asarray(part, np.float64) for part in features.values()]
    assert all(len(part) > 1 for part in domains), "a fold needs an image, and so does what is fitted without it"
    scale = _squared_distance_of_held_out(domains, rank)
    fitted = _fit(domains, rank)
    return DomainGaussians(
        means=fitted.means.astype(np.float32),
        directions=fitted.directions.astype(np.float32),
        variances=(fitted.variances * scale).astype(np.float32),
        rest_variance=fitted.rest_variance * scale,
    )


@dataclass(frozen=True)
class _Fitted:
    """As `DomainGaussians`, in float64."""

    means: Doubles
    directions: Doubles
    variances: Doubles
    rest_variance: float

    @property
    def width(self) -> int:
        width: int = self.means.shape[1]
        return width

    def squared_distance(self, domain: int, features: Doubles) -> Doubles:
        """Return (N,), divided by D, of features (N, D)."""
        offsets = features - self.means[domain]
        along = offsets @ self.directions.T  # (N, R)
        rest = np.square(offsets).sum(axis=1) - np.square(along).sum(axis=1)
        squared: Doubles = ((np.square(along) / self.variances).sum(axis=1) + rest / self.rest_variance) / self.width
        return squared


def _fit(domains: list[Doubles], rank: int) -> _Fitted:
    means = np.stack([part.mean(axis=0) for part in domains])  # (M, D)
    centred = np.concatenate([part - mean for part, mean in zip(domains, means, strict=True)])  # (N, D)
    width = centred.shape[1]
    count = max(1, len(centred) - len(means))
    spectrum, directions = _principal(centred, count)
    mean = spectrum.sum() / width
    shrinkage = _shrinkage(spectrum, centred, count)
    rounding = np.mean([np.square(part).mean() for part in domains]) * _LEAST_DEVIATION**2
    least = max(_LEAST_VARIANCE * float(mean), float(rounding), 1e-12)
    kept = min(rank, int((spectrum > least).sum()), width - 1)
    shrunk = (1.0 - shrinkage) * spectrum + shrinkage * mean
    rest = (1.0 - shrinkage) * spectrum[kept:].sum() / (width - kept) + shrinkage * mean
    rest = max(float(rest), least)
    return _Fitted(means, directions[:kept], np.maximum(shrunk[:kept], rest), rest)


def _principal(centred: Doubles, count: int) -> tuple[Doubles, Doubles]:
    """Return the variances (R,), largest first, and directions (R, D) of the principal components of (N, D)."""
    if len(centred) >= centred.shape[1]:
        values, vectors = np.linalg.eigh(centred.T @ centred / count)
        return np.maximum(values[::-1], 0.0), vectors.T[::-1]
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    return singular**2 / count, directions


def _shrinkage(spectrum: Doubles, centred: Doubles, count: int) -> float:
    """Return how far to go from the covariance of these variances to the identity, 0..1: Ledoit & Wolf's b^2 / d^2."""
    width = centred.shape[1]
    size = np.square(spectrum).sum()  # squared Frobenius norm of the covariance
    distance = size / width - np.square(spectrum.sum() / width)
    error = (np.square(np.square(centred).sum(axis=1)).sum() / count - size) / (count * width)
    return float(min(max(error, 0.0), distance) / distance) if distance > 0.0 else 1.0


def _squared_distance_of_held_out(domains: list[Doubles], rank: int) -> float:
    """Return the mean over all images of their squared distance to their domain as fitted without them."""
    num_folds = min(NUM_FOLDS, *(len(part) for part in domains))
    found = []
    for fold in range(num_folds):
        in_fold = [np.arange(len(part)) % num_folds == fold for part in domains]
        fitted = _fit([part[~chosen] for part, chosen in zip(domains, in_fold, strict=True)], rank)
        found += [
            fitted.squared_distance(place, part[chosen])
            for place, (part, chosen) in enumerate(zip(domains, in_fold, strict=True))
        ]
    mean = float(np.concatenate(found).mean())
    return mean if mean > 0.0 else 1.0  # features that never vary


class DomainDistances(nn.Module):
    """Mahalanobis distances (B, M), divided by the square root of D, of features (B, D) to M domains."""

    means: Tensor
    directions: Tensor
    precisions: Tensor

    def __init__(self, gaussians: DomainGaussians) -> None:
        super().__init__()
        self.register_buffer("means", torch.from_numpy(gaussians.means))
        self.register_buffer("directions", torch.from_numpy(gaussians.directions))
        self.register_buffer("precisions", torch.from_numpy(1.0 / gaussians.variances))
        self.rest_precision = 1.0 / gaussians.rest_variance
        self.width = gaussians.means.shape[1]

    def forward(self, features: Tensor) -> Tensor:
        offsets = features.unsqueeze(1) - self.means  # (B, M, D)
        along = offsets @ self.directions.T  # (B, M, R)
        # Not |offsets|^2 - |along|^2: of float32, little is left of that where a few directions have all the variance.
        rest = offsets - along @ self.directions  # (B, M, D)
        squared = (along.square() * self.precisions).sum(2) + self.rest_precision * rest.square().sum(2)
        return torch.sqrt(squared / self.width)
