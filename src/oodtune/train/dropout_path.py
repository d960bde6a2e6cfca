"""Linear heads for every dropout rate from one eigendecomposition.

Features X (N, D), one-hot targets Y (N, K), head W (D, K), b (K,). Dropout of rate p zeroes each feature
with probability p and divides the others by 1 - p. Over its masks the squared loss is, on average (Wager
et al., arXiv 1307.1493; Srivastava et al., JMLR 15, 2014, section 9.1),

    E |Y - (mask * X) W - b|^2  =  |Y - X W - b|^2  +  r * sum_j s_j^2 |W_j|^2,      r = p / (1 - p),

where s_j^2 = sum_i X_ij^2 is the second moment of a feature about zero: a mask moves the feature to zero,
not to its mean. The bias is not dropped; the best one is mean(Y) - mean(X) W, which leaves centred
features and targets, Xc and Yc, in the first term. In V = diag(s) W the whole is a ridge regression,

    |Yc - Z V|^2 + r * |V|^2,      Z = Xc diag(1 / s),

and with Z'Z = Q diag(lambda) Q' its minimiser is V = Q diag(1 / (lambda + r)) Q' Z'Yc. Only r depends on
the rate. As p goes to 0 this tends to the least squares solution, the one of least |V| if there are many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS: Final = 4096
"""Rows of X that are converted to float64 at a time."""


@dataclass(frozen=True)
class Moments:
    """All that the loss knows of features (N, D) and labels (N,) of K classes. Sets of images add up."""

    class_counts: Tensor
    """(K,), float64 like the rest."""
    mean: Tensor
    """(D,)"""
    scatter: Tensor
    """(D, D): Xc'Xc, about the mean: a sum about zero would lose the digits of features that hardly vary."""
    cross: Tensor
    """(D, K): Xc'Yc"""

    @property
    def count(self) -> Tensor:
        return self.class_counts.sum()

    @property
    def target_mean(self) -> Tensor:
        """(K,)"""
        return self.class_counts / self.count

    @property
    def scale(self) -> Tensor:
        """(D,): s, the root of the second moment about zero; 1 for a feature that is zero everywhere."""
        return _usable(self.scatter.diagonal() + self.count * self.mean.square())

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, num_classes: int) -> Self:
        """Measure features (N, D) of any float type and labels (N,), N > 0.

        Memory beside them: (D + 3 * ROWS + 2 * K) * D numbers of float64, whatever N is.
        """
        class_counts = torch.bincount(labels, minlength=num_classes).double()
        sums = [rows.sum(0, dtype=torch.float64) for rows in torch.split(features, ROWS)]
        mean = torch.stack(sums).sum(0) / len(labels)
        scatter = mean.new_zeros(len(mean), len(mean))
        by_class = mean.new_zeros(num_classes, len(mean))
        for rows, classes in zip(torch.split(features, ROWS), torch.split(labels, ROWS), strict=True):
            centred = rows - mean  # float64, as `mean` is
            scatter.addmm_(centred.T, centred)
            by_class.index_add_(0, classes, centred)
        return cls(class_counts, mean, scatter, by_class.T)  # Xc'Y is Xc'Yc, as the rows of Xc add up to 0


def add_moments(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all parts together: their own scatter, and that of their means."""
    class_counts = torch.stack([part.class_counts for part in parts]).sum(0)
    mean = torch.stack([part.count * part.mean for part in parts]).sum(0) / class_counts.sum()
    scatter, cross = torch.zeros_like(parts[0].scatter), torch.zeros_like(parts[0].cross)
    for part in parts:
        shift = part.mean - mean
        scatter += part.scatter
        scatter.addr_(part.count * shift, shift)
        cross += part.cross
        cross.addr_(shift, part.class_counts)  # the targets' shift adds nothing: the weighted shifts add up to 0
    return Moments(class_counts, mean, scatter, cross)


@dataclass(frozen=True)
class DropoutPath:
    """The best head for every dropout rate, for squared loss. R is D, or N where there are fewer images."""

    eigenvalues: Tensor
    """(R,): lambda"""
    basis: Tensor
    """(D, R)"""
    loadings: Tensor
    """(R, K)"""
    mean: Tensor
    """(D,)"""
    target_mean: Tensor
    """(K,)"""

    def weights(self, rate: float) -> tuple[Tensor, Tensor]:
        """Return W (D, K) and b (K,), float64, for a dropout rate of 0 <= rate < 1."""
        assert 0.0 <= rate < 1.0
        damped = self.eigenvalues + rate / (1.0 - rate)
        known = damped > len(damped) * torch.finfo(damped.dtype).eps * self.eigenvalues.max()
        inverse = torch.where(known, 1.0 / damped, 0.0)  # at rate 0 directions without any variance get no weight
        weights = self.basis @ (inverse[:, None] * self.loadings)
        return weights, self.target_mean - self.mean @ weights

    def logits(self, features: Tensor, rates: Sequence[float]) -> Tensor:
        """Return the logits (P, M, K) of features (M, D), without dropout, of the heads for P rates."""
        return _apply(features, *self._heads(rates))

    def accuracies(self, features: Tensor, labels: Tensor, rates: Sequence[float]) -> list[float]:
        """Return the share of right predictions, 0..1, at each rate; features (M, D), labels (M,), M > 0.

        Memory: 2 * P * K * D + ROWS * (D + 2 * P * K) numbers of float64, whatever M is.
        """
        heads = self._heads(rates)
        right = torch.zeros(len(rates), dtype=torch.int64, device=labels.device)
        for rows, classes in zip(torch.split(features, ROWS), torch.split(labels, ROWS), strict=True):
            right += (_apply(rows, *heads).argmax(2) == classes).sum(1)
        return [count / len(labels) for count in right.tolist()]

    def _heads(self, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        weights, biases = zip(*(self.weights(rate) for rate in rates), strict=True)
        return torch.stack(weights), torch.stack(biases)  # (P, D, K), (P, K)


def fit_path(features: Tensor, labels: Tensor, num_classes: int) -> DropoutPath:
    """Fit heads for every dropout rate to features (N, D) and labels (N,); a class may be missing."""
    if len(labels) >= features.shape[1]:
        return solve_path(Moments.of(features, labels, num_classes))
    return _solve_few(features.double(), F.one_hot(labels, num_classes).double())


def solve_path(moments: Moments) -> DropoutPath:
    """Fit heads for every dropout rate to the images behind `moments`: one eigendecomposition of (D, D)."""
    scale = moments.scale
    eigenvalues, vectors = torch.linalg.eigh(moments.scatter / torch.outer(scale, scale))
    basis = vectors / scale[:, None]
    loadings = basis.T @ moments.cross
    return DropoutPath(eigenvalues.clamp_min(0.0), basis, loadings, moments.mean, moments.target_mean)


def _solve_few(features: Tensor, targets: Tensor) -> DropoutPath:
    """As `solve_path` from features (N, D) and targets (N, K) with N < D: one eigendecomposition of (N, N).

    With ZZ' = U diag(lambda) U', the same minimiser is V = Z'U diag(1 / (lambda + r)) U'Yc.
    """
    mean, target_mean = features.mean(0), targets.mean(0)
    scale = _usable(features.square().sum(0))
    scaled = (features - mean) / scale
    eigenvalues, vectors = torch.linalg.eigh(scaled @ scaled.T)
    basis = (scaled.T @ vectors) / scale[:, None]
    loadings = vectors.T @ (targets - target_mean)
    return DropoutPath(eigenvalues.clamp_min(0.0), basis, loadings, mean, target_mean)


def _usable(second_moments: Tensor) -> Tensor:
    return torch.where(second_moments > 0.0, second_moments, 1.0).sqrt()


def _apply(features: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    return torch.matmul(features.double(), weights).add_(biases[:, None])
