"""Alert rules: promtool shows that each fires when it must; what they name exists; docs/operations.md explains each."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from oodtune.config import ExportConfig, ServeConfig
from oodtune.serve import drift, reload
from oodtune.serve.app import create_app
from oodtune.serve.metrics import Metrics
from oodtune.serve.oip.grpc_service import InferenceService
from oodtune.serve.oip.protocol import INFERENCE
from oodtune.serve.parts import create_parts
from oodtune.serve.refusal import Reason
from oodtune.serve.settings import ServeSettings

PROJECT_DIR = Path(__file__).parents[2]
MONITORING_DIR = PROJECT_DIR / "k8s/overlays/monitoring"
CASES = sorted((PROJECT_DIR / "tests/monitoring/alerts").glob("*.yaml"))
OPERATIONS = (PROJECT_DIR / "docs/operations.md").read_text(encoding="utf-8")
RULE_FILES = ("recording.yaml", "budgets.yaml", "alerts.yaml")
SPECS = {name: yaml.safe_load((MONITORING_DIR / name).read_text(encoding="utf-8"))["spec"] for name in RULE_FILES}
RULES: list[dict[str, Any]] = [rule for spec in SPECS.values() for group in spec["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
EXPRESSIONS = "\n".join(rule["expr"] for rule in RULES)

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here; on Debian: apt-get install prometheus"
)
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")


def identity(rule: dict[str, Any]) -> tuple[str, str]:
    """Return name and window: alerts of the same budget differ in their window."""
    return rule["alert"], rule["labels"].get("window", "")


def checks() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield every test of promtool, with each of its expectations."""
    for path in CASES:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for check in test["alert_rule_test"]:
                yield test, check


def expr(alert: str) -> str:
    (found,) = [rule["expr"] for rule in ALERTS if rule["alert"] == alert]
    return str(found)


def base_metrics(expression: str) -> set[str]:
    """Return the metrics that an expression reads, also through series that are recorded."""
    found = set(re.findall(r"(?<!:)\b(up|(?:oodtune|process)_\w+)\b(?!:)", re.sub(r"job:\S+", "", expression)))
    for rule in RULES:
        if re.search(rf"\b{re.escape(rule.get('record', '-'))}\b", expression):
            found |= base_metrics(rule["expr"])
    return found


@pytest.fixture(scope="module")
def rules_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the rules as Prometheus reads them: the operator hands it a PrometheusRule's spec."""
    path = tmp_path_factory.mktemp("rules")
    for name, spec in SPECS.items():
        (path / name).write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def promtool(*arguments: str, cwd: Path) -> str:
    return _output("promtool", *arguments, cwd=cwd)


def kustomize(directory: Path) -> str:
    return _output("kubectl", "kustomize", str(directory), cwd=PROJECT_DIR)


def _output(*command: str, cwd: Path) -> str:
    env = os.environ | {"GOGC": "400"}  # it ends soon: collecting garbage is a fifth of promtool's time
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_reads_every_rule(rules_dir: Path) -> None:
    output = promtool("check", "rules", *RULE_FILES, cwd=rules_dir)
    assert sum(map(int, re.findall(r"(\d+) rules found", output))) == len(RULES)


@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_must_and_only_then(case: Path, rules_dir: Path) -> None:
    (rules_dir / f"test_{case.name}").write_bytes(case.read_bytes())
    promtool("test", "rules", f"test_{case.name}", cwd=rules_dir)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: "-".join(identity(rule)).rstrip("-"))
def test_of_each_alert_promtool_sees_one_that_fires_and_one_that_nearly_does(rule: dict[str, Any]) -> None:
    name, window = identity(rule)
    fires, nearly = False, False
    for test, check in checks():
        if check["alertname"] != name:
            continue
        if any(one["exp_labels"].get("window", "") == window for one in check["exp_alerts"]):
            fires = True
        else:
            given = {re.split(r"\{", one["series"])[0].replace("_count", "") for one in test["input_series"]}
            nearly |= bool(given & {metric.replace("_count", "") for metric in base_metrics(rule["expr"])})
    assert (fires, nearly) == (True, True)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: "-".join(identity(rule)).rstrip("-"))
def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_each_alert_has_a_section_and_each_section_of_an_alert_an_alert() -> None:
    headings = re.findall(r"^### (Oodtune\w+)$", OPERATIONS, flags=re.MULTILINE)
    assert sorted(headings) == sorted({rule["alert"] for rule in ALERTS})


def test_the_table_of_alerts_names_each_with_its_severity() -> None:
    rows = re.findall(r"^\| \[(Oodtune\w+)\]\(#(\w+)\) \| (\w+) \|", OPERATIONS, flags=re.MULTILINE)
    assert sorted(rows) == sorted(
        {(rule["alert"], rule["alert"].lower(), rule["labels"]["severity"]) for rule in ALERTS}
    )


def test_rules_read_only_metrics_that_the_server_exports() -> None:
    families = Metrics().names()
    read = set().union(*(base_metrics(rule["expr"]) for rule in RULES)) - {"up"}
    assert {name for name in read if re.sub(r"_(bucket|count|sum)$", "", name) not in families} == set()
    assert len(read) > 10


def test_rules_read_only_series_that_rules_record() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    assert set(re.findall(r"job:[\w:]+", EXPRESSIONS)) <= recorded


def test_windows_differ_in_nothing_but_their_length() -> None:
    by_window = {
        group["name"].removeprefix("oodtune-requests-"): group["rules"]
        for group in SPECS["recording.yaml"]["groups"]
        if group["name"].startswith("oodtune-requests-")
    }
    texts = {window: re.sub(rf"(rate|\[){window}\b", r"\1WINDOW", str(rules)) for window, rules in by_window.items()}
    assert list(by_window) == ["5m", "30m", "1h", "2h", "6h", "1d", "3d"]
    assert len(set(texts.values())) == 1


def test_requests_of_the_service_levels_are_those_for_predictions() -> None:
    parts = create_parts(ServeSettings(workers=1))
    posted = {route.path for route in create_app(parts).routes if "POST" in route.methods}  # type: ignore[attr-defined]
    got = {route.path for route in create_app(parts).routes} - posted  # type: ignore[attr-defined]
    called = {f"grpc/{method}" for method in InferenceService(parts).answers()[INFERENCE]}
    (pattern,) = set(re.findall(r'route=~"([^"]+)"', EXPRESSIONS))
    counted = {route for route in posted | got | called if re.fullmatch(pattern, route)}
    assert counted == posted | {"grpc/ModelInfer"}


def test_label_values_in_rules_are_ones_that_the_server_counts() -> None:
    reasons = {one for text in re.findall(r'reason=~?"([^"]+)"', EXPRESSIONS) for one in text.split("|")}
    outcomes = {one for text in re.findall(r'outcome=~?"([^"]+)"', EXPRESSIONS) for one in text.split("|")}
    assert reasons == {"overloaded", "not_ready"} <= set(get_args(Reason))
    assert outcomes == {"refused", "unreachable"} <= set(get_args(reload.Outcome))


@pytest.mark.parametrize("name", ["oodtune_request_seconds", "oodtune_queue_seconds"])
def test_limits_of_time_are_bounds_of_the_histograms(name: str) -> None:
    metrics = Metrics()
    metrics.count_request("/v1/classify", 200, 0.1)
    bounds = re.findall(rf'^{name}_bucket{{.*le="([^"]+)".*}}', metrics.render().decode(), flags=re.MULTILINE)
    asked = set(re.findall(r'le="([^"]+)"', EXPRESSIONS))
    limit = str(ServeConfig().max_wait_s / 2)
    assert asked | {limit} <= set(bounds)
    assert f"> {limit}" in expr("OodtuneQueueLong")


def test_limits_that_repeat_settings_agree_with_them() -> None:
    assert f"> 3 * {ExportConfig().false_alarms}" in expr("OodtuneOutOfDomainShare")
    assert "above 0.25 as shifted" in " ".join((drift.DriftMonitor.__doc__ or "").split())
    assert "oodtune_drift_psi > 0.25" in expr("OodtuneDrift")


def test_windows_of_reloads_hold_more_than_one_attempt() -> None:
    assert "[75m]" in expr("OodtuneVersionRefused")
    assert reload._LONGEST_PAUSE_S < 75 * 60
    assert "[10m]" in expr("OodtuneRegistryUnreachable")
    assert 2 * (ServeConfig().reload_s or 0.0) < 10 * 60


@needs_kubectl
def test_one_line_moves_the_runbook_of_every_alert(tmp_path: Path) -> None:
    shutil.copytree(MONITORING_DIR, tmp_path / "monitoring")
    kustomization = tmp_path / "monitoring/kustomization.yaml"
    text = kustomization.read_text(encoding="utf-8")
    kustomization.write_text(text.replace("RUNBOOKS=docs/operations.md", "RUNBOOKS=https://wiki.example.com/birds"))
    rendered = kustomize(kustomization.parent)
    found = re.findall(r"runbook_url: (.*)", rendered)
    assert sorted(found) == sorted(f"https://wiki.example.com/birds#{rule['alert'].lower()}" for rule in ALERTS)
    assert "RUNBOOKS" not in rendered


@needs_kubectl
def test_the_overlay_holds_the_rules_as_they_were_tested_and_the_dashboard() -> None:
    rendered = kustomize(MONITORING_DIR)
    objects = [one for one in yaml.safe_load_all(rendered) if one]
    assert [one["spec"] for one in objects if one["kind"] == "PrometheusRule"] == [SPECS[n] for n in sorted(SPECS)]
    (dashboard,) = [one for one in objects if one["metadata"]["name"] == "oodtune-dashboard"]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["data"]["oodtune.json"] == (MONITORING_DIR / "dashboard.json").read_text(encoding="utf-8")


def test_the_adapter_asks_for_a_metric_that_the_server_exports() -> None:
    config = yaml.safe_load((MONITORING_DIR / "adapter.yaml").read_text(encoding="utf-8"))["data"]["config.yaml"]
    (rule,) = yaml.safe_load(config)["rules"]
    assert rule["name"]["as"] in Metrics().names()
    assert rule["seriesQuery"].startswith(rule["name"]["as"] + "{")


def test_prometheus_scrapes_the_port_of_metrics_of_the_endpoints_service() -> None:
    monitor = yaml.safe_load((MONITORING_DIR / "service-monitor.yaml").read_text(encoding="utf-8"))["spec"]
    service = yaml.safe_load((PROJECT_DIR / "k8s/base/service.yaml").read_text(encoding="utf-8"))
    base = yaml.safe_load((PROJECT_DIR / "k8s/base/kustomization.yaml").read_text(encoding="utf-8"))
    assert [one["port"] for one in monitor["endpoints"]] == ["metrics"]
    assert "metrics" in {port["name"] for port in service["spec"]["ports"]}
    assert monitor["selector"]["matchLabels"].items() <= base["labels"][0]["pairs"].items()
    assert base["labels"][0]["pairs"][monitor["jobLabel"]] == "oodtune"
    assert set(re.findall(r'job="([^"]+)"', EXPRESSIONS)) == {"oodtune"}
