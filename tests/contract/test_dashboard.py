"""The dashboard: Grafana takes it, Prometheus parses it, and what it asks for is what the server exports."""

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from oodtune.serve.metrics import Metrics
from tests.fixtures.dashboard import DASHBOARD, PANELS, QUERIES, Query, fill_in

PROJECT_DIR = Path(__file__).parents[2]
OPERATIONS = (PROJECT_DIR / "docs/operations.md").read_text(encoding="utf-8")
RULES_DIR = PROJECT_DIR / "k8s/overlays/monitoring"
TARGET_LABELS = {"namespace", "service", "pod", "job", "instance"}
"""Labels that the Prometheus operator gives every series that it scrapes from a Service."""
ALERT_LABELS = {"alertname", "alertstate", "severity", "namespace"}
LABEL = r"[a-z_]\w*"
KINDS = {"stat", "timeseries", "bargauge", "heatmap", "state-timeline", "table"}
"""Grafana 11 and 12 have these; graph, singlestat and table-old are gone."""

by_title = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
by_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)


def recorded() -> set[str]:
    """Return the series that the rules record; all are sums by namespace and job."""
    specs = [yaml.safe_load(path.read_text(encoding="utf-8")).get("spec", {}) for path in RULES_DIR.glob("*.yaml")]
    rules = [rule for spec in specs for group in spec.get("groups", []) for rule in group["rules"]]
    return {rule["record"] for rule in rules if "record" in rule}


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Return the name of every series with its labels, when one of everything has been counted."""
    metrics = Metrics()
    metrics.count_request("/v1/classify", 200, 0.1)
    metrics.predicted.labels("bird")
    metrics.nearest.labels("sketch")
    metrics.drift.labels("energy")
    metrics.model.labels("birds", "1", "sha256", "cpu")
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for one in family.samples:
            found.setdefault(one.name, set()).update(one.labels)
    return found


def labels_of(selector: str) -> set[str]:
    """Return the labels that a selector, `a="x",b=~"y"`, names."""
    return set(re.findall(rf"({LABEL})\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', selector)))


def grouping_of(expression: str) -> set[str]:
    found = re.findall(r"\b(?:by|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", expression)
    return {label.strip() for text in found for label in text.split(",") if label.strip()}


def series_of(expression: str) -> list[tuple[str, str]]:
    """Return the (name, selector) of each series that an expression reads."""
    return re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression)


def test_it_has_what_grafana_needs_to_find_and_import_it() -> None:
    assert DASHBOARD["uid"] == "oodtune"
    assert 39 <= DASHBOARD["schemaVersion"] <= 41
    assert "id" not in DASHBOARD  # Grafana gives one; with another's it would overwrite that dashboard
    assert "__inputs" not in DASHBOARD  # a sidecar fills none in
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == [
        "datasource",
        "namespace",
        "service",
        "pod",
        "runbooks",
    ]


def test_the_file_is_formatted_as_json_dumps_does() -> None:
    text = (RULES_DIR / "dashboard.json").read_text(encoding="utf-8")
    assert text == json.dumps(DASHBOARD, indent=2, ensure_ascii=False) + "\n"


def test_ids_and_titles_of_panels_are_unique() -> None:
    for key in ("id", "title"):
        counts = Counter(panel[key] for panel in DASHBOARD["panels"])
        assert {one for one, count in counts.items() if count > 1} == set()


def test_panels_lie_inside_the_grid_do_not_overlap_and_leave_no_hole() -> None:
    cells: Counter[tuple[int, int]] = Counter()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
    assert set(cells.values()) == {1}
    assert {x for x, _ in cells} == set(range(24))
    assert len(cells) == 24 * (1 + max(y for _, y in cells))


def test_rows_ask_the_four_questions() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert titles == [
        "Is it healthy?",
        "Is it still in its domain?",
        "Which version serves?",
        "Where does time go, what is full?",
    ]


@by_title
def test_a_panel_is_of_a_kind_that_grafana_still_has(panel: dict[str, Any]) -> None:
    assert panel["type"] in KINDS


@by_title
def test_a_panel_says_what_good_looks_like_in_which_unit_and_where_to_read_on(panel: dict[str, Any]) -> None:
    assert "Good:" in panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["links"]


@by_title
def test_a_panel_asks_the_datasource_that_the_viewer_chose(panel: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert [one["datasource"] for one in (panel, *panel["targets"])] == [chosen] * (1 + len(panel["targets"]))
    assert len({one["refId"] for one in panel["targets"]}) == len(panel["targets"]) > 0


def test_limits_are_drawn_from_least_to_most() -> None:
    for panel in PANELS:
        first, *rest = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        assert first is None
        assert rest == sorted(rest)
    (drift,) = [panel for panel in PANELS if panel["title"] == "Population stability index"]
    assert [step["value"] for step in drift["fieldConfig"]["defaults"]["thresholds"]["steps"]] == [None, 0.1, 0.25]


def test_links_lead_to_sections_of_the_operations_page() -> None:
    headings = re.findall(r"^#+ (.+)$", OPERATIONS, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    urls = {link["url"] for panel in PANELS for link in panel["links"]}
    assert {url.partition("#")[0] for url in urls} == {"${runbooks}"}
    assert {url.partition("#")[2] for url in urls} <= anchors
    assert len(urls) > 10


@by_query
def test_queries_read_only_what_the_server_exports_or_rules_record(query: Query, exported: dict[str, set[str]]) -> None:
    series = series_of(query.expr)
    known = exported.keys() | recorded() | {"up", "ALERTS"}
    assert {name for name, _ in series} <= known
    assert set(re.findall(r"\b(?:oodtune|process|job:)[\w:]+", query.expr)) <= {name for name, _ in series}
    assert series


@by_query
def test_labels_in_queries_are_ones_that_the_series_have(query: Query, exported: dict[str, set[str]]) -> None:
    has: set[str] = set()
    for name, selector in series_of(query.expr):
        of_rules = ALERT_LABELS if name == "ALERTS" else {"namespace", "job"}
        labels = exported[name] | TARGET_LABELS if name in exported else TARGET_LABELS if name == "up" else of_rules
        assert labels_of(selector) <= labels, name
        has |= labels
    assert grouping_of(query.expr) | set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= has


@by_query
def test_a_query_keeps_to_the_namespace_service_and_replica_that_the_viewer_chose(query: Query) -> None:
    for name, selector in series_of(query.expr):
        asked = {"namespace", "service", "pod"} if re.match("oodtune_|process_|up$", name) else {"namespace"}
        for label in asked:
            assert f'{label}=~"${label}"' in selector, name
        assert not name.startswith("process_") or 'job="oodtune"' in selector


@by_query
def test_legends_show_labels_that_the_query_keeps(query: Query) -> None:
    shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    assert shown <= grouping_of(query.expr)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here; on Debian: apt-get install prometheus")
def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"q:{place}", "expr": fill_in(query.expr)} for place, query in enumerate(QUERIES)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(QUERIES)} rules found" in done.stdout


def test_variables_are_filled_from_a_series_that_every_replica_has(exported: dict[str, set[str]]) -> None:
    variables = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    for variable in variables:
        match = re.fullmatch(r"label_values\((\w+)(?:\{(.*)\})?,(\w+)\)", variable["query"]["query"])
        assert match, variable["name"]
        name, selector, label = match.groups()
        assert (name in exported, label) == (True, variable["name"])
        assert labels_of(selector or "") <= TARGET_LABELS
        assert variable["allValue"] == ".*"  # also of series without the label, as of a server outside of Kubernetes
