import numpy as np

from oodtune.combine.ensemble import logit_ensemble

LOGITS = np.random.default_rng(0).normal(size=(3, 10, 4)).astype(np.float32)


def test_ensemble_of_clones_is_the_clone() -> None:
    assert np.array_equal(logit_ensemble([LOGITS[0]] * 5), LOGITS[0])


def test_ensemble_is_the_mean_of_logits() -> None:
    assert np.allclose(logit_ensemble(list(LOGITS)), LOGITS.mean(0), atol=1e-6)


def test_ensemble_does_not_depend_on_the_order_of_members() -> None:
    assert np.array_equal(logit_ensemble(list(LOGITS)), logit_ensemble(list(LOGITS[::-1])))
