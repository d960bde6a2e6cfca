"""Averages of outputs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def logit_ensemble(logits: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return the mean (N, K) of the logits (N, K) of M members, as the paper's ensembles (arXiv 2403.00946)."""
    mean: npt.NDArray[np.float64] = np.stack(logits).mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)
