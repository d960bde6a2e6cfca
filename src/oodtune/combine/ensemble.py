"""Averages of outputs."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]


def logit_ensemble(logits: Iterable[Logits]) -> Logits:
    """Return the mean (N, K) of the logits of M members, as the paper's ensembles (arXiv 2403.00946).

    `logits` is an array (M, N, K) or yields M arrays (N, K), which are not kept.
    """
    total: npt.NDArray[np.float64] | None = None
    count = 0
    for member in logits:
        total = np.zeros(member.shape) if total is None else total
        assert member.shape == total.shape
        total += member
        count += 1
    assert total is not None, "an ensemble needs a member"
    return (total / count).astype(np.float32)


def probability_ensemble(logits: Iterable[Logits]) -> Logits:
    """Return the logarithm (N, K) of the mean of M members' class probabilities.

    Softmax of the result is that mean, so every metric of logits is a metric of it. `logits` as in
    `logit_ensemble`. The sum is taken of logarithms: probabilities too small for a float are not lost.
    """
    total: npt.NDArray[np.float64] | None = None
    count = 0
    for member in logits:
        logarithms = _log_softmax(member)
        assert total is None or logarithms.shape == total.shape
        total = logarithms if total is None else np.logaddexp(total, logarithms)
        count += 1
    assert total is not None, "an ensemble needs a member"
    mean: Logits = (total - np.log(count)).astype(np.float32)
    return mean


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits - logits.max(axis=-1, keepdims=True).astype(np.float64)
    logarithms: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logarithms
