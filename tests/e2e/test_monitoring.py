"""A real server under load, a real Prometheus with our rules, and every question of the dashboard."""

import math
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest

from k8s.monitoring_demo.load import Load
from k8s.monitoring_demo.prometheus import Prometheus, Series, read_rules
from tests.fixtures.dashboard import QUERIES, Query, fill_in
from tests.fixtures.prometheus import needs_prometheus, scraping
from tests.unit.serve.running import running, wait_until
from tests.unit.tiny_bundle import DOMAINS, domain_images, encode, random_images, tiny_bundle

pytestmark = [pytest.mark.e2e, needs_prometheus, pytest.mark.xdist_group("monitoring")]

# The very images that export measured, as often each: of others, so few have an index of 0.2 by chance.
IN_DOMAIN = [encode(image) for domain in DOMAINS for image in domain_images(domain, seed=1)]
DRIFTED = [encode(image) for image in random_images(24, seed=3)]
NUM_IN_DOMAIN, NUM_DRIFTED, NUM_BAD = 5 * len(IN_DOMAIN), 20 * len(DRIFTED), 7
ANSWERED = 'oodtune_requests_total{route="/v1/classify",code="200"}'
DRIFT = 'ALERTS{alertname="OodtuneDrift",alertstate="firing"}'
ALERTING = {"Which alerts fire A"}
"""Queries that have nothing in a healthy system: they show alerts."""
RARE = {"Versions that took over"}
"""Has nothing unless a version took over within 2 minutes: the mark that it makes is of that moment."""
UNDATED = {"Age of the model A", "Replicas and what they serve B"}
"""NaN for a bundle that was never published."""
RECORDED = [rule for group in read_rules()["groups"] for rule in group["rules"] if "record" in rule]


@dataclass(frozen=True)
class Seen:
    """What Prometheus says after each stream."""

    prometheus: Prometheus
    url: str
    healthy: dict[str, list[Series]]
    """Query of the dashboard -> its series, after images of the training domains."""
    drifted: dict[str, list[Series]]
    alerts: tuple[list[str], list[str]]
    """What fired after each stream."""
    sent: dict[int, int]


def ask_all(prometheus: Prometheus) -> dict[str, list[Series]]:
    return {query.name: prometheus.query(fill_in(query.expr, "1m", "5m")) for query in QUERIES}


def await_count(prometheus: Prometheus, expr: str, count: int) -> None:
    wait_until(lambda: prometheus.value(expr) == count, timeout_s=20)


def settle(prometheus: Prometheus) -> None:
    """Return when every rule has been evaluated for 3 seconds more: what must fire by now does, with `for` of 1 s."""
    until_s = time.time() + 3
    wait_until(lambda: min(map(evaluated_s, prometheus.rules())) > until_s, timeout_s=20)


def evaluated_s(rule: dict[str, Any]) -> float:
    return datetime.fromisoformat(rule["lastEvaluation"]).timestamp()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with (
        running(str(tiny_bundle())) as (_, url),
        scraping(url, tmp_path_factory.mktemp("prometheus"), wait_s=1) as prometheus,
    ):
        load = Load(url, per_second=150)
        load.send(IN_DOMAIN, NUM_IN_DOMAIN)
        await_count(prometheus, ANSWERED, NUM_IN_DOMAIN)
        settle(prometheus)
        healthy, calm = ask_all(prometheus), prometheus.firing()
        load.send([b"no image"], NUM_BAD)
        load.send(DRIFTED, NUM_DRIFTED)
        await_count(prometheus, ANSWERED, NUM_IN_DOMAIN + NUM_DRIFTED)
        wait_until(lambda: bool(prometheus.query(DRIFT)), timeout_s=20)
        settle(prometheus)
        drifted, alerts = ask_all(prometheus), (calm, prometheus.firing())
        yield Seen(prometheus, url, healthy, drifted, alerts, dict(load.statuses))


def test_prometheus_reaches_the_server_under_the_labels_of_a_pod(seen: Seen) -> None:
    (up,) = seen.prometheus.query("up")
    assert up.value == 1
    assert (up.labels["job"], up.labels["namespace"], up.labels["pod"]) == ("oodtune", "demo", "oodtune-0")


def test_prometheus_counts_the_requests_that_were_sent(seen: Seen) -> None:
    images = NUM_IN_DOMAIN + NUM_DRIFTED
    assert seen.sent == {200: images, 400: NUM_BAD}
    for expr, count in {
        ANSWERED: images,
        'oodtune_requests_total{route="/v1/classify",code="400"}': NUM_BAD,
        'oodtune_rejected_total{reason="bad_image"}': NUM_BAD,
        'oodtune_request_seconds_count{route="/v1/classify"}': images + NUM_BAD,
        "oodtune_confidence_count": images,
        "sum(oodtune_predicted_class_total)": images,
        "sum(oodtune_nearest_domain_total)": images,
        "oodtune_batch_size_sum": images,
    }.items():
        assert seen.prometheus.value(expr) == count, expr


@pytest.mark.parametrize("query", [query for query in QUERIES if query.name not in RARE], ids=lambda query: query.name)
def test_a_query_of_the_dashboard_has_an_answer(seen: Seen, query: Query) -> None:
    if query.name not in ALERTING:
        assert seen.healthy[query.name]
    assert seen.drifted[query.name]
    values = [one.value for one in seen.drifted[query.name]]
    assert all(map(math.isnan, values)) is (query.name in UNDATED)
    assert not any(map(math.isinf, values))


def test_panels_tell_a_drifted_stream_from_images_of_the_training_domains(seen: Seen) -> None:
    share, psi = "Out-of-domain share A", "Population stability index A"
    assert seen.healthy[share][0].value < 0.1
    assert seen.drifted[share][0].value > 0.5
    assert {one.labels["of"] for one in seen.healthy[psi]} == {"predicted_class", "confidence", "energy", "distance"}
    assert max(one.value for one in seen.healthy[psi]) < 0.1
    assert max(one.value for one in seen.drifted[psi]) > 0.25


def test_panels_of_the_service_levels_see_a_healthy_server(seen: Seen) -> None:
    assert seen.drifted["Predictions answered A"][0].value == 1  # a client's bad images are no failure of the server
    assert seen.drifted["Error budget left A"][0].value == 1
    assert seen.drifted["Answered within 1 s A"][0].value > 0.9


def test_every_rule_is_evaluated_without_an_error(seen: Seen) -> None:
    rules = seen.prometheus.rules()
    assert len(rules) == sum(len(group["rules"]) for group in read_rules()["groups"])
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule["record"])
def test_a_recording_rule_records_a_number(seen: Seen, rule: dict[str, Any]) -> None:
    value = seen.prometheus.value(rule["record"])
    assert value is not None
    assert 0 <= value < math.inf


def test_the_drift_alert_fires_for_a_drifted_stream_and_not_before(seen: Seen) -> None:
    calm, drifted = seen.alerts
    assert calm == []
    assert drifted == ["OodtuneDrift", "OodtuneOutOfDomainShare"]


def test_promtool_has_nothing_to_say_of_the_metrics(seen: Seen) -> None:
    text = httpx.get(f"{seen.url}/metrics", trust_env=False).text
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
