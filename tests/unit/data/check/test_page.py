import io
import re
from html.parser import HTMLParser
from typing import get_args

import pytest
from PIL import Image

from oodtune.config import DataConfig
from oodtune.data.check.page import (
    MAX_LISTED,
    build_heat_map,
    describe_outcome,
    describe_verdict,
    lines_that_pass,
    render_page,
    sort_findings,
)
from oodtune.data.check.report import CheckReport, Finding, Kind

NASTY = "photo/dog/<script>alert(1)</script>.png"
VOID = {"meta", "img", "br", "wbr"}
COUNTS = {"photo": {"dog": 40, "cat": 10}, "sketch": {"dog": 5, "cat": 5}}


def make_finding(**changes: object) -> Finding:
    start = {"kind": "greyscale", "title": "Greyscale images", "policy": "keep", "unit": "images", "count": 1}
    return Finding.model_validate({**start, **changes})


def make_report(*findings: Finding, counts: dict[str, dict[str, int]] = COUNTS, dropped: int = 0) -> CheckReport:
    kept = sum(sum(classes.values()) for classes in counts.values())
    return CheckReport(
        num_images=kept + dropped,
        num_kept=kept,
        domains=tuple(counts),
        classes=tuple(sorted({class_name for classes in counts.values() for class_name in classes})),
        counts=counts,
        formats={"PNG": kept} if kept else {},
        widths=(32, 64, 4096) if kept else (0, 0, 0),
        heights=(32, 48, 3000) if kept else (0, 0, 0),
        findings=findings,
    )


CONFLICTS = make_finding(kind="label_conflicts", title="One file, two classes", policy="error", unit="groups", count=2)
UNREADABLE = make_finding(
    kind="unreadable", title="Broken", policy="drop", count=1, items=(f"{NASTY}: no image",), dropped=(NASTY,)
)
GREY = make_finding(count=30, items=("photo/dog/1.png",), consequence="converted to RGB")
CMYK = make_finding(kind="cmyk", title="CMYK images", count=0)


@pytest.fixture(scope="module")
def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (130, 64)).save(stream, "WEBP")
    return stream.getvalue()


@pytest.fixture(scope="module")
def html(picture: bytes) -> str:
    report = make_report(GREY, UNREADABLE, CONFLICTS, CMYK, dropped=1)
    return render_page(report, {("photo", "dog"): picture, ("sketch", "dog"): picture}, "Dogs & cats")


class Balance(HTMLParser):
    """Raises AssertionError where a tag closes that is not the last one open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_tag_is_closed_in_order(html: str):
    balance = Balance()
    balance.feed(html)
    assert balance.open == []


def test_the_page_asks_nobody_for_anything(html: str):
    addresses = re.findall(r"""(?:src|srcset|href)=["']([^"']*)|url\(([^)]*)|@import""", html)
    assert {address.split(",")[0] for address, _ in addresses} == {"data:image/webp;base64", "#class-1"}
    assert "default-src 'none'" in html


def test_a_file_name_is_text_wherever_it_stands(picture: bytes):
    evil = "<script>alert(1)</script>"
    counts = {evil: {evil: 3, "cat": 1}, "photo": {"cat": 1}}
    finding = make_finding(title=evil, policy="drop", items=(evil,), dropped=(evil,), consequence=evil)
    html = render_page(make_report(finding, counts=counts), {(evil, evil): picture}, evil)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 10


def test_refusals_come_first_then_what_is_dropped_then_what_is_kept():
    assert sort_findings([GREY, CMYK, UNREADABLE, CONFLICTS]) == [CONFLICTS, UNREADABLE, GREY]


def test_the_verdict_counts_what_was_looked_at_kept_and_dropped():
    assert describe_verdict(make_report(UNREADABLE, dropped=1)) == "Usable: 61 images looked at, 60 kept, 1 dropped."
    assert describe_verdict(make_report(CONFLICTS)) == (
        "Refused because of 1 finding: 60 images looked at, 60 would be kept, 0 dropped."
    )


def test_the_outcome_says_what_was_left_out_and_what_became_of_the_rest():
    assert describe_outcome(CONFLICTS) == "the data is refused"
    assert describe_outcome(UNREADABLE) == "1 image left out"
    assert describe_outcome(GREY) == "converted to RGB"
    assert describe_outcome(make_finding()) == "kept as they are"


def test_what_was_not_found_is_one_line(html: str):
    assert "Looked for and not found: CMYK images." in html
    assert ">cmyk<" not in html


def test_a_clean_report_has_no_table_of_findings():
    html = render_page(make_report(CMYK), {}, "clean")
    assert "Usable:" in html
    assert '<table class="findings">' not in html and "What would let it pass" not in html


def test_every_refusal_comes_with_lines_that_params_yaml_accepts():
    import yaml

    for kind in get_args(Kind):
        lines = lines_that_pass(make_finding(kind=kind, policy="error"))
        assert lines
        for line in lines:
            config = DataConfig.model_validate(yaml.safe_load(line)["data"])
            assert getattr(config.checks, kind) in ("drop", "keep")


def test_the_page_shows_the_lines_that_let_a_refusal_pass(html: str):
    assert "<code>data: {checks: {label_conflicts: drop}}</code>" in html
    assert "{checks: {unreadable" not in html


def test_long_lists_are_cut_and_say_where_the_rest_is():
    items = tuple(f"photo/dog/{number}.png" for number in range(MAX_LISTED + 7))
    html = render_page(make_report(make_finding(count=len(items), items=items)), {}, "long")
    assert html.count("<li><code>") == MAX_LISTED
    assert "and 7 more; all are in <code>check.json</code>" in html


def test_a_balanced_domain_has_the_middle_colour_whatever_its_size():
    heat = build_heat_map(make_report(counts={"photo": {"a": 500, "b": 500}, "sketch": {"a": 2, "b": 2}}))
    assert {cell.heat for _, cells in heat.rows for cell in cells} == {50}


def test_equal_factors_are_equal_steps_of_colour():
    heat = build_heat_map(make_report(counts={"d": {"a": 1, "b": 10, "c": 100, "e": 1000}}))
    a, b, c, e = (cells[0].heat for _, cells in heat.rows)
    assert b - a == pytest.approx(c - b, abs=1) == pytest.approx(e - c, abs=1)
    assert 0 <= a < e <= 100


def test_the_longer_side_of_the_heat_map_goes_down():
    many_classes = build_heat_map(make_report(counts={d: {f"c{k}": 1 for k in range(50)} for d in "ab"}))
    assert many_classes.columns == ("a", "b")
    many_domains = build_heat_map(make_report(counts={f"d{k}": {"x": 1, "y": 2} for k in range(50)}))
    assert many_domains.columns == ("x", "y")
    assert many_domains.row_totals["d0"] == 3 and many_domains.column_totals == {"x": 50, "y": 100}


def test_a_missing_cell_says_none():
    html = render_page(make_report(counts={"photo": {"dog": 4, "cat": 4}, "sketch": {"dog": 4}}), {}, "holes")
    assert html.count('<td class="none">none</td>') == 1


def test_a_class_with_a_sheet_shows_all_its_domains_side_by_side(html: str):
    assert html.count("<figure>") == 2
    assert 'width="130" height="64"' in html
    assert 'alt="Examples of dog in sketch"' in html


def test_a_cell_without_a_sheet_is_not_drawn_or_empty(picture: bytes):
    counts = {"photo": {"dog": 4, "cat": 1}, "sketch": {"dog": 4}, "clipart": {"cat": 2}}
    html = render_page(make_report(counts=counts), {("photo", "dog"): picture}, "holes")
    assert html.count("<span>not drawn</span>") == 1 and html.count("<span>none</span>") == 1
    assert "Only 1 of 4 cells are shown" in html


def test_data_without_any_usable_image_has_a_page():
    html = render_page(make_report(UNREADABLE, counts={}, dropped=1), {}, "nothing left")
    assert "1 image looked at, 0 kept, 1 dropped." in html
    assert '<table class="heat' not in html


def test_every_heading_of_a_table_has_a_scope(html: str):
    headings = re.findall(r"<th\b([^>]*)>", html)
    assert headings and all('scope="col"' in one or 'scope="row"' in one for one in headings)


def test_equal_reports_give_equal_pages(html: str, picture: bytes):
    report = make_report(GREY, UNREADABLE, CONFLICTS, CMYK, dropped=1)
    sheets = {("sketch", "dog"): picture, ("photo", "dog"): picture}
    assert render_page(report, sheets, "Dogs & cats") == html
