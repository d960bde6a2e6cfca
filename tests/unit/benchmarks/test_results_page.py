"""The page of figures says what was missed, and why."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results_page
from benchmarks.figures import as_json
from benchmarks.growth import Curve, Growth
from benchmarks.plan import RUNS
from benchmarks.ratio import Bound, Ratio
from benchmarks.results_page import Reason, find_misses, load_all, load_reasons, render

BENCHMARKS = Path(results_page.__file__).parent


def ratio(value: float, target: float = 1.0) -> Ratio:
    return Ratio("soup", "ours", "naive", 2.0, 1.0, value, value - 0.1, value + 0.1, 3, target)


def figures(*measured: Ratio | Bound, **more: object) -> dict[str, Any]:
    ratios = [as_json(one) for one in measured if isinstance(one, Ratio)]
    bounds = [as_json(one) for one in measured if isinstance(one, Bound)]
    return {"settings": {}, "machine": {"cpus": 2}, "ratios": ratios, "bounds": bounds, **more}


@pytest.fixture
def reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [Reason("serve", r"p99 .*", "an ideal server needs 4.1")]
    monkeypatch.setattr(results_page, "load_reasons", lambda: known)


@pytest.mark.usefixtures("reasons")
def test_a_miss_comes_with_what_limits_it() -> None:
    found = {"serve": figures(ratio(0.9), Bound("p99 at 70%", 7.2, 2.5, "x"), Bound("memory", 209.0, 300.0, "MB"))}
    misses = find_misses(found)
    assert [(one.figure, one.found, one.wanted) for one in misses] == [
        ("soup: ours / naive", "0.90 (0.80 to 1.00, 3)", "1.00"),
        ("p99 at 70%", "7.2 x", "≤ 2.5 x"),
    ]
    assert [one.reason for one in misses] == [None, "an ideal server needs 4.1"]


@pytest.mark.usefixtures("reasons")
def test_a_reason_of_another_benchmark_does_not_count() -> None:
    assert find_misses({"train": figures(Bound("p99 at 70%", 7.2, 2.5, "x"))})[0].reason is None


def test_the_page_counts_misses_and_shows_every_figure() -> None:
    growth = Growth("trials", [1, 4], [Curve("combine", "s", [1.0, 2.0], most_exponent=0.1)])
    page = render({"combine": figures(ratio(1.5), ratio(0.5)), "growth-trials": figures(growth=asdict(growth))})
    assert "1 of 2 targets missed" in page
    assert "**not known**" in page
    assert "| soup: ours / naive | 1.50 (1.40 to 1.60, 3) | 1.00 |" in page
    assert "`python -m benchmarks.combine`; cpus 2" in page
    assert "| 4 | 2 |" in page


def test_growth_is_judged_by_its_last_two_sizes() -> None:
    curve = Curve("cache", "s", [5.0, 1.0, 4.0], most_exponent=1.1)
    assert curve.exponent([1, 10, 20]) == pytest.approx(2.0)
    (bound,) = Growth("images", [1, 10, 20], [curve, Curve("rate", "1/s", [1.0, 1.0, 1.0])]).bounds()
    assert not bound.met
    assert Growth("images", [1], [Curve("cache", "s", [5.0], most_exponent=1.1)]).bounds() == []


def test_every_run_names_a_benchmark_that_is_there() -> None:
    for run in RUNS:
        assert (BENCHMARKS.parent / run.module.replace(".", "/")).with_suffix(".py").is_file()
    assert len({run.name for run in RUNS}) == len(RUNS)


def test_every_reason_is_about_a_figure_that_is_measured() -> None:
    found = load_all(BENCHMARKS / "results")
    for reason in load_reasons():
        names = [figure for figure, *_ in results_page._judged(found[reason.benchmark])]
        assert any(re.fullmatch(reason.figure, name) for name in names), reason


def test_every_miss_has_a_reason() -> None:
    assert [one for one in find_misses(load_all(BENCHMARKS / "results")) if one.reason is None] == []


def test_the_page_is_that_of_the_figures() -> None:
    page = (BENCHMARKS / results_page.PAGE).read_text(encoding="utf-8")
    assert page == render(load_all(BENCHMARKS / "results")), "run `python -m benchmarks --page`"


def test_a_run_that_broke_leaves_its_last_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.__main__ import carry_out, conclude
    from benchmarks.plan import Run

    results = tmp_path / "results"
    results.mkdir()
    (results / "memory.json").write_text(json.dumps(figures(ratio(1.5))), encoding="utf-8")
    broken = carry_out(Run("memory", "Memory", "benchmarks.memory", ("--no-such-option",)), results, 1, 2, quick=False)
    lacking = carry_out(
        Run("serve", "Serving", "benchmarks.serve", programs=("no-such-program",)), results, 2, 2, quick=False
    )
    assert broken.trouble == "broke with exit status 2"
    assert lacking.trouble == "needs no-such-program, which is not installed"
    assert json.loads((results / "memory.json").read_bytes())["ratios"][0]["ratio"] == 1.5
    assert conclude([broken, lacking], tmp_path) == 1
    assert "no-such-program" in capsys.readouterr().out
