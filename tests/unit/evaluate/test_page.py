import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from oodtune.evaluate.choice import Candidate, Choice, Pick
from oodtune.evaluate.classes import class_map, confusion
from oodtune.evaluate.confidence import reliability_figure, risk_figure
from oodtune.evaluate.cost import Cost, Measured, Training, total_cost
from oodtune.evaluate.curves import Curve, curve_figure
from oodtune.evaluate.differences import difference_table
from oodtune.evaluate.mistakes import Mistake, encode_tile
from oodtune.evaluate.outcomes import judge
from oodtune.evaluate.page import Origin, Page, render_markdown, render_page, whiskers
from oodtune.evaluate.palette import row_styles
from oodtune.evaluate.results import Judged, Result, measure_domain
from oodtune.evaluate.scatter import scatter_figure
from oodtune.evaluate.scores import Score
from oodtune.evaluate.table import lodo_table
from tests.fixtures.judged import draw_logits
from tests.fixtures.reporting import RATES, make_picks, make_scores

VOID = {"meta", "img", "br", "source", "wbr"}
CLASSES = tuple("abcdefg")


def make_page(scores: list[Score], classes: tuple[str, ...] = CLASSES) -> Page:
    picks = make_picks(scores)
    winner = next(score for score in scores if score.model.row == "large_dropout")
    target = winner.model.target_domain
    trials = [score.model for score in scores if score.model.kind == "trial"]
    curves = [Curve(one.name, one.target_domain, one.row, 10, ((0, 0.5), (10, 0.8))) for one in trials]
    judged = {domain: make_judged(seed, domain == target) for seed, domain in enumerate(("known", target))}
    result = Result(winner.model, 1.25, winner, {domain: measure_domain(one) for domain, one in judged.items()})
    styles = row_styles(scores)
    figures = (
        scatter_figure(scores, picks, styles),
        reliability_figure(judged, target),
        risk_figure(judged, target),
        curve_figure(curves, styles),
    )
    return Page(
        title="A report",
        choice=make_choice(scores, winner),
        table=lodo_table(scores, picks),
        differences=difference_table(scores, picks),
        styles=styles,
        figures={figure.name: figure for figure in figures if figure},
        winner=result,
        class_map=class_map(result, [], classes),
        confusion=confusion(judged[target].raw, classes),
        tiles=[encode_tile(Mistake("x/y.png", 0, "a", "b", 0.98), np.zeros((8, 8, 3), np.uint8))],
        credits=["Pictures, CC0-1.0"],
        costs=[Cost("plain", 1, 300, 7200, 1, 19.0, 48.0, 150.0), Cost("logit_ensemble", 2, 600, 14400, 2, None)],
        total=total_cost([Training(300, 7200, Measured(48.0, 7200, None, "CPU, 2 threads"))]),
        regret={target: 0.012},
        member_stride=1,
        settings={"train": {"steps": 300}},
        origins=[Origin("cache", "cache", "ab" * 32)],
        missing=(),
        version="1.2.3",
    )


def make_choice(scores: list[Score], winner: Score) -> Choice:
    target = winner.model.target_domain
    return Choice(
        target_domain=target,
        rule="source_out_split",
        winner=winner.model,
        temperature=1.25,
        iid=winner.iid,
        ood=winner.ood,
        picks={target: Pick.model_validate(pick) for target, pick in make_picks(scores).items()},
        reasons=("It was best.",),
    )


def make_judged(seed: int, is_target: bool) -> Judged:
    logits, labels = draw_logits(seed, n=90)
    return Judged("all" if is_target else "out", judge(logits, labels), judge(logits, labels, 1.25))


@pytest.fixture
def page() -> Page:
    return make_page(make_scores(seeds=(0, 1)))


class Balance(HTMLParser):
    """Raises AssertionError where a tag closes that is not the last one open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_tag_is_closed_in_order(page: Page):
    balance = Balance()
    balance.feed(render_page(page))
    assert balance.open == []


def test_the_page_asks_nobody_for_anything(page: Page):
    html = render_page(page)
    addresses = re.findall(r"""(?:src|srcset|href)=["']([^"']*)|url\(([^)]*)|@import""", html)
    outside = {address[0].split(",")[0] for address in addresses if not address[0].startswith("#")}
    assert outside == {"data:image/jpeg;base64"}
    assert "<script" not in html
    assert "default-src 'none'" in html


def test_every_entry_of_the_contents_is_a_heading(page: Page):
    html = render_page(page)
    assert len(links := re.findall(r'href="#(\w+)"', html)) > 7
    assert set(links) <= set(re.findall(r'<h2 id="(\w+)"', html))


def test_what_there_is_nothing_to_show_of_is_absent(page: Page):
    html = render_page(replace(page, tiles=[], differences=None))
    for name in ("mistakes", "gains", "dropout", "members"):
        assert f'id="{name}"' not in html
        assert f'href="#{name}"' not in html


def test_names_are_escaped(page: Page):
    nasty = "<script>alert('x')</script>"
    tile = replace(page.tiles[0], mistake=Mistake(nasty, 0, nasty, nasty, 0.5))
    nasty_page = make_page(make_scores(seeds=(0, 1)), (nasty, *CLASSES[1:]))
    html = render_page(replace(nasty_page, title=nasty, tiles=[tile], origins=[Origin(nasty, nasty, nasty)]))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 8


def test_markdown_takes_no_name_for_markup(page: Page):
    text = render_markdown(replace(make_page(make_scores(), ("*a|b*", *CLASSES[1:])), title="a <b> title"))
    assert "# a \\<b\\> title" in text
    assert "| \\*a\\|b\\* |" in text


def test_markdown_holds_what_the_page_holds(page: Page):
    text = render_markdown(page)
    for heading in re.findall(r"<h2 id=\"(?!chosen|made)\w+\">([^<]*)</h2>", render_page(page)):
        assert f"## {heading}" in text
    assert page.table.to_markdown() in text
    assert "mistakes/01.jpg" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.rstrip().endswith("|") for line in tables)
    assert "\n\n\n\n" not in text


def test_a_ceiling_is_called_one(page: Page):
    oracle = replace(page, choice=page.choice.model_copy(update={"rule": "oracle"}))
    for text in (render_page(oracle), render_markdown(oracle)):
        assert "A ceiling, not an expectation." in text
        assert "and no choice" not in text
    assert "A ceiling" not in render_page(page)


def test_the_ranking_of_the_rule_is_shown_if_it_is_known(page: Page):
    candidate = Candidate(
        name="the-runner-up",
        row="plain",
        recipe="plain",
        kind="trial",
        seen=0.8123,
        out_accuracy=0.8,
        num_networks=1,
        num_bytes=1,
        kept_out_by="max_networks",
    )
    html = render_page(replace(page, choice=page.choice.model_copy(update={"candidates": (candidate,)})))
    assert "the-runner-up</code></th><td>81.2</td>" in html
    assert "max_networks" in html
    assert "ranking" not in render_page(page)


def test_missing_trials_are_named(page: Page):
    assert "noto-plain-seed7" in render_page(replace(page, missing=["noto-plain-seed7"]))
    assert "noto-plain-seed7" in render_markdown(replace(page, missing=["noto-plain-seed7"]))


def test_a_whisker_points_the_way_of_the_gain_and_stays_in_its_column():
    scores = make_scores(seeds=(0, 1), methods=RATES)
    table = difference_table(scores, make_picks(scores))
    assert table is not None
    for row in table.rows:
        found = whiskers(table)[row.name]
        assert (found.dot > found.zero) == (row.ood.mean > 0.0)
        assert found.low is not None
        assert found.high is not None
        assert 0.0 <= found.low <= found.dot <= found.high <= 100.0


def test_a_large_sweep_has_a_page(page: Page):
    html = render_page(make_page(make_scores(seeds=(0, 1, 2), methods=RATES)))
    assert html.count('class="group"') == 4


def test_the_headline_compares_the_chosen_model_with_plain_fine_tuning(page: Page):
    html = render_page(page)
    plain = page.table.row("plain")
    assert plain is not None
    gain = 100.0 * page.choice.ood - plain.cells[page.choice.target_domain].ood.mean
    assert f"{gain:+.1f} points against plain (mean of 2 seeds)".replace("-", "\N{MINUS SIGN}") in html


def test_a_sweep_without_plain_fine_tuning_has_a_page_too():
    page = make_page([score for score in make_scores() if score.model.row != "plain"])
    assert "points against" not in render_page(page)


def test_a_missing_cell_is_a_dash():
    scores = [s for s in make_scores() if (s.model.target_domain, s.model.row) != ("line", "plain")]
    assert render_page(make_page(scores)).count("\N{EN DASH}</span>") == 2  # the cell, and the mean


def test_every_heading_of_a_table_has_a_scope(page: Page):
    html = render_page(page)
    assert set(re.findall(r"<th\b([^>]*)>", html)) and all(
        re.search('scope="(col|row|colgroup)"', attributes) for attributes in re.findall(r"<th\b([^>]*)>", html)
    )


def test_a_rule_without_words_is_named(page: Page):
    choice = page.choice.model_copy(update={"rule": "coin_toss"})
    assert "Chosen for the rule coin_toss." in render_page(replace(page, choice=choice))
