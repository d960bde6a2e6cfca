import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from oodtune.evaluate.curves import Curve, curve_panels
from oodtune.evaluate.page import Choice, DomainAccuracy, Origin, Page, Pick, render_page
from oodtune.evaluate.palette import row_styles
from oodtune.evaluate.scores import Score
from oodtune.evaluate.table import lodo_table
from tests.fixtures.reporting import make_picks, make_scores

VOID = {"meta", "img", "br", "source", "wbr"}


def make_page(scores: list[Score]) -> Page:
    picks = make_picks(scores)
    winner = next(score for score in scores if score.model.row == "large_dropout")
    target = winner.model.target_domain
    choice = Choice(
        target_domain=target,
        rule="source_out_split",
        winner=winner.model,
        temperature=1.25,
        iid=winner.iid,
        ood=winner.ood,
        picks={target: Pick.model_validate(pick) for target, pick in picks.items()},
        reasons=("It was best.",),
    )
    trials = [score.model for score in scores if score.model.kind == "trial"]
    curves = [Curve(one.name, one.target_domain, one.row, 10, ((0, 0.5), (10, 0.8))) for one in trials]
    return Page(
        title="A report",
        choice=choice,
        table=lodo_table(scores, picks),
        styles=row_styles(scores),
        scatter_light=b"light",
        scatter_dark=b"dark",
        curves=curve_panels(curves),
        domains=[DomainAccuracy(name, share, 10, name == target) for name, share in winner.per_domain.items()],
        settings={"train": {"steps": 300}},
        origins=[Origin("cache", "cache", "ab" * 32)],
        version="1.2.3",
    )


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
    assert {address[0].split(",")[0] for address in addresses} == {"data:image/png;base64", "#made"}
    assert "<script" not in html
    assert "default-src 'none'" in html


def test_the_picture_comes_for_light_and_dark(page: Page):
    html = render_page(page)
    assert '<source media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,ZGFyaw==">' in html
    assert '<img src="data:image/png;base64,bGlnaHQ="' in html


def test_names_are_escaped(page: Page):
    nasty = "<script>alert('x')</script>"
    domains = [replace(page.domains[0], domain=nasty)]
    html = render_page(replace(page, title=nasty, domains=domains, origins=[Origin(nasty, nasty, nasty)]))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 4


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
        'scope="col"' in attributes or 'scope="row"' in attributes for attributes in re.findall(r"<th\b([^>]*)>", html)
    )


def test_a_rule_without_words_is_named(page: Page):
    choice = page.choice.model_copy(update={"rule": "coin_toss"})
    assert "Chosen for the rule coin_toss." in render_page(replace(page, choice=choice))
