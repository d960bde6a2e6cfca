from collections.abc import Sequence

import numpy as np
import pytest

from oodtune.evaluate.classes import MOST_SHOWN, class_map, confusion
from oodtune.evaluate.outcomes import Outcomes
from oodtune.evaluate.predictions import Model
from oodtune.evaluate.results import Judged, Result, measure_domain
from oodtune.evaluate.scores import Score

NAMES = ("cat", "dog", "eel", "fox")


def outcomes(pairs: Sequence[tuple[int, int]], num_classes: int = 4) -> Outcomes:
    labels, predicted = (np.asarray(column, np.int64) for column in zip(*pairs, strict=True))
    zeros = np.full(len(labels), 0.25)
    return Outcomes(num_classes, labels, predicted, zeros, zeros, zeros)


def result(source: Sequence[tuple[int, int]], target: Sequence[tuple[int, int]]) -> Result:
    model = Model(target_domain="oil", name="m", kind="trial", row="plain", seed=0)
    found = {"ink": Judged("out", *2 * [outcomes(source)]), "oil": Judged("all", *2 * [outcomes(target)])}
    score = Score(model, iid=0.0, ood=0.0, per_domain={}, out_accuracy=0.0)
    return Result(model, 1.0, score, {domain: measure_domain(one) for domain, one in found.items()})


CHOSEN = result([(0, 0), (1, 1), (2, 2)], [(0, 0), (0, 1), (1, 1), (1, 0), (1, 0)])


def test_the_worst_domain_and_class_are_named():
    found = class_map(CHOSEN, [], NAMES)
    assert (found.worst_domain, found.worst_domain_accuracy) == ("oil", pytest.approx(0.4))
    assert found.worst_class == "dog"
    assert (found.worst_recall.share, found.worst_recall.num_images) == (pytest.approx(1 / 3), 3)


def test_of_equally_bad_classes_the_one_with_more_images_is_the_worst():
    found = class_map(result([(0, 0)], [(0, 1), (1, 0), (1, 0)]), [], NAMES)
    assert (found.worst_class, found.worst_recall.num_images) == ("dog", 2)


def test_a_class_without_images_is_absent_and_so_is_its_cell_where_a_domain_has_none():
    found = class_map(CHOSEN, [], NAMES)
    assert [row.name for row in found.rows] == ["dog", "cat", "eel"]  # fox has none; eel none in the target
    assert found.rows[-1].cells[-1] is None
    assert found.rows[-1].cells[0] is not None


def test_a_gain_is_over_the_mean_of_the_baselines_networks():
    worse, better = result([(0, 0)], [(0, 1), (1, 1)]), result([(0, 0)], [(0, 0), (1, 1)])
    cell = class_map(CHOSEN, [worse, better], NAMES).rows[1].cells[-1]
    assert cell is not None
    assert cell.gain == pytest.approx(0.0)  # 50 % against the mean of 0 % and 100 %
    without = class_map(CHOSEN, [], NAMES).rows[1].cells[-1]
    assert without is not None
    assert without.gain is None


def test_mixups_are_counted_from_the_most_frequent_and_right_answers_are_none():
    found = confusion(outcomes([(1, 0), (1, 0), (0, 1), (0, 0), (0, 0)]), NAMES)
    assert [(one.true, one.predicted, one.count) for one in found.mixups] == [("dog", "cat", 2), ("cat", "dog", 1)]
    assert found.mixups[0].share == 1.0


def test_the_matrix_leaves_out_classes_that_are_neither_there_nor_predicted():
    found = confusion(outcomes([(0, 0), (1, 3)]), NAMES)
    assert found.classes == ("cat", "dog", "fox")
    assert found.counts == ((1, 0, 0), (0, 0, 1), (0, 0, 0))


def test_many_classes_have_no_matrix_but_mixups():
    many = MOST_SHOWN + 5
    found = confusion(
        outcomes([(label, (label + 1) % many) for label in range(many)], many), [str(i) for i in range(many)]
    )
    assert found.classes == ()
    assert len(found.mixups) == 10
