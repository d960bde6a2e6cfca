import pytest

from oodtune.evaluate.corruption import Corruptions, summary
from tests.fixtures.corrupting import make_corrupted, make_corruptions


def test_the_mean_is_over_severities_and_then_over_corruptions():
    model = make_corrupted("plain", clean=0.9, fog=(0.8, 0.4), frost=(0.6, 0.2))
    assert model.by_corruption["fog"].ood == pytest.approx(0.6)
    assert model.by_corruption["frost"].iid == pytest.approx(0.45)
    assert model.mean.ood == pytest.approx(0.5)
    assert model.lost.ood == pytest.approx(0.4)


def test_the_table_names_the_corruption_that_is_worst_on_the_target():
    rows = summary(make_corruptions())
    assert rows[0] == ("large_dropout", "95.0 / 90.0", "70.0 / 65.0", "25.0 / 25.0", "60.0 frost")
    assert rows[1] == ("plain", "95.0 / 90.0", "55.0 / 50.0", "40.0 / 40.0", "40.0 frost")


def test_the_markdown_has_every_severity_of_every_model():
    text = make_corruptions().to_markdown()
    assert "| fog | 75.0 / 70.0 | 65.0 / 60.0 |" in text
    assert "## plain" in text
    assert "| frost | 65.0 / 60.0 | 25.0 / 20.0 | 45.0 / 40.0 |" in text


def test_the_caption_says_how_many_images_of_which_size_and_by_which_rule():
    caption = make_corruptions().caption
    assert "out-splits of the source domains (ink 30, oil 20 images); ood: all 250 images of wax" in caption
    assert "224 pixels a side and applied here at 96" in caption
    assert "selected by the rule source_out_split" in caption
    assert "an oracle that looked at the target domain" in make_corruptions(rule="oracle").caption


def test_what_is_written_is_read_back_the_same():
    found = make_corruptions()
    assert Corruptions.model_validate_json(found.model_dump_json()) == found
