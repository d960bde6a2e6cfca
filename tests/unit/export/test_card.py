import itertools
from dataclasses import replace

import pytest

from oodtune.bundle import Outputs
from oodtune.config import PreprocessConfig
from oodtune.domain_scores import DomainScores
from oodtune.export.card import Card, render_card

DETECTION = {
    "domain": "clay",
    "num_images": 40,
    "distance": {"auroc": 0.9012, "flagged": 0.61},
    "energy": {"auroc": 0.7, "flagged": 0.2},
}
LINEAGE = {
    "winner": {"name": "soup-greedy", "kind": "soup", "members": ["a", "b", "c"], "averages": ""},
    "target_domain": "clay",
    "rule": "source_out_split",
    "iid": 0.914,
    "ood": 0.758,
    "per_domain": {"photo": 0.92, "sketch": 0.908, "clay": 0.758},
    "reasons": ["It has the highest accuracy."],
    "backbone": "resnet50.a1_in1k",
    "commit": "abc123",
    "dataset": {
        "origins": [
            {"domain": "photo", "title": "A | B <script>", "source": "x", "version": "7", "licence": "CC0-1.0"},
            {"domain": "clay", "title": "C", "source": "y", "licence": ""},
        ]
    },
    "inputs": {"cache": "f" * 64},
    "versions": {"oodtune": "1.2", "torch": "2.9"},
}
CLOSE = {"max_abs_difference": 1.5e-6, "allowed": 1e-4}
CARD = Card(
    classes=("cat", "dog*"),
    preprocess=PreprocessConfig(size=96),
    temperature=1.234,
    domains=DomainScores(
        domains=("photo", "sketch"), num_images=80, quantiles={}, class_shares={}, max_score=0.9, detection=DETECTION
    ),
    lineage=LINEAGE,
    parity={
        "num_images": 120,
        "max_abs_difference": 2.5e-6,
        "top1_agreement": 1.0,
        "graph": {"num_images": 30, "outputs": dict.fromkeys(Outputs._fields, CLOSE)},
    },
    variants={},
)


@pytest.mark.parametrize(
    "fact",
    [
        "soup-greedy (one network, the average of 3 trained ones)",
        "| backbone | resnet50.a1\\_in1k |",
        "96 x 96 pixels (bicubic)",
        "| held-out domain | clay: never trained on |",
        "| **iid**: training domains, mean | 91.4 |",
        "| **ood**: clay, held out | 75.8 |",
        "| sketch, not trained on | 90.8 |",
        "divided by 1.234",
        "by construction 10.0 % of the 80 images",
        "| distance | 0.901 | 61.0 |",
        "On 120 stored images",
        "| domain\\_distances | 1.5e-06 | 0.0001 |",
        "cat, dog\\*",
        "| photo | A \\| B \\<script\\> | x | 7 |  | CC0-1.0 |",
        "| clay | C | y |  |  | not stated |",
        "oodtune serve .",
        "| commit | abc123 |",
    ],
)
def test_the_card_states(fact):
    assert fact in render_card(CARD)


def test_the_oracles_choice_is_called_a_ceiling():
    text = render_card(replace(CARD, lineage={**LINEAGE, "rule": "oracle"}))
    assert "looked at to choose the model" in text
    assert "a ceiling, no estimate" in text
    assert "a ceiling" not in render_card(CARD)


def test_what_is_not_known_is_left_out():
    domains = CARD.domains.model_copy(update={"detection": {}})
    text = render_card(replace(CARD, lineage={"winner": {"name": "x"}, "commit": None}, parity={}, domains=domains))
    assert "AUROC" not in text
    assert "## Accuracy" not in text
    assert "| commit | unknown |" in text
    assert "None" not in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head():
    lines = render_card(CARD).splitlines()
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert line.replace("\\|", "").count("|") == above.replace("\\|", "").count("|"), line


def test_equal_facts_give_equal_text():
    assert render_card(CARD) == render_card(replace(CARD, lineage=dict(reversed(LINEAGE.items()))))


def test_a_variant_that_was_left_out_is_shown_with_what_it_loses():
    lost = {
        "accepted": False,
        "worst_loss_points": 3.25,
        "target_loss_points": None,
        "refusal": "3.25 points lost on day",
    }
    assert "| int8 | no: 3.25 points lost on day | 3.25 | not measured |" in render_card(
        replace(CARD, variants={"int8": lost})
    )
    assert "## Variants" not in render_card(CARD)
