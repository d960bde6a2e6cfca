"""Metrics of stored logits. Adding one costs no GPU: write a function of logits and labels."""

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def accuracy(logits: Logits, labels: Labels) -> float:
    """Return the share of examples whose largest logit is their label's, 0..1; logits (N, K), labels (N,)."""
    return float(np.mean(logits.argmax(1) == labels))


def negative_log_likelihood(logits: Logits, labels: Labels) -> float:
    """Return the mean negative log-likelihood of the labels, in nats; logits (N, K), labels (N,)."""
    scores = logits.astype(np.float64)
    top = scores.max(1)
    log_partition = top + np.log(np.exp(scores - top[:, None]).sum(1))
    return float(np.mean(log_partition - scores[np.arange(len(labels)), labels]))
