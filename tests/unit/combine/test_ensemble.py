from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from oodtune.combine.ensemble import Logits, logit_ensemble, probability_ensemble

LOGITS = np.random.default_rng(0).normal(size=(3, 10, 4)).astype(np.float32)
both = pytest.mark.parametrize("ensemble", [logit_ensemble, probability_ensemble])


def softmax(logits: Logits) -> npt.NDArray[np.float64]:
    probabilities: npt.NDArray[np.float64] = torch.from_numpy(logits).double().softmax(-1).numpy()
    return probabilities


def test_logit_ensemble_of_clones_is_the_clone() -> None:
    assert np.array_equal(logit_ensemble([LOGITS[0]] * 5), LOGITS[0])


def test_probability_ensemble_of_clones_has_the_probabilities_of_the_clone() -> None:
    assert np.allclose(softmax(probability_ensemble([LOGITS[0]] * 5)), softmax(LOGITS[0]), rtol=0.0, atol=1e-6)


def test_logit_ensemble_is_the_mean_of_logits() -> None:
    assert np.array_equal(logit_ensemble(list(LOGITS)), LOGITS.mean(0, dtype=np.float64).astype(np.float32))


def test_probability_ensemble_is_the_logarithm_of_the_mean_of_probabilities() -> None:
    found = probability_ensemble(list(LOGITS))
    assert found.dtype == np.float32
    assert np.allclose(np.exp(found.astype(np.float64)), softmax(LOGITS).mean(0), rtol=0.0, atol=1e-6)


def test_both_ensembles_differ_on_who_is_right() -> None:
    sure, unsure = np.array([[9.0, 0.0, 0.0]], np.float32), np.array([[0.0, 4.0, 0.0]], np.float32)
    members = [sure, unsure, unsure]
    assert logit_ensemble(members).argmax() == 0
    assert probability_ensemble(members).argmax() == 1


def test_probabilities_too_small_for_a_float_are_not_lost() -> None:
    found = probability_ensemble([np.array([[0.0, 5000.0]], np.float32)] * 2)
    assert found.tolist() == [[-5000.0, 0.0]]


@both
def test_an_array_of_all_members_gives_the_same(ensemble: Callable[[Iterable[Logits]], Logits]) -> None:
    assert np.array_equal(ensemble(LOGITS), ensemble(iter(list(LOGITS))))


@both
def test_ensemble_does_not_depend_on_the_order_of_members(ensemble: Callable[[Iterable[Logits]], Logits]) -> None:
    assert np.array_equal(ensemble(list(LOGITS)), ensemble(list(LOGITS[::-1])))
