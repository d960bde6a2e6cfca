"""A Prometheus on this machine, with the rules of k8s/overlays/monitoring, that scrapes one server every second."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from k8s.monitoring_demo.processes import running
from oodtune.errors import UserError

MONITORING_DIR: Final = Path(__file__).parents[1] / "overlays/monitoring"
JOB: Final = "oodtune"
TARGET_LABELS: Final = {"namespace": "demo", "service": "oodtune", "pod": "oodtune-0"}
"""What the Prometheus operator would add in a cluster; the dashboard chooses by these."""
_START_S: Final = 60.0


@dataclass(frozen=True)
class Series:
    """One series of an answer, and its value now."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that answers."""

    url: str

    def query(self, expr: str) -> list[Series]:
        """Return what an expression has now; no series if it has nothing."""
        found = self._get("query", query=expr)
        if found["status"] != "success":
            raise ValueError(f"{expr}: {found['error']}")
        assert found["data"]["resultType"] == "vector", expr
        return [Series(one["metric"], float(one["value"][1])) for one in found["data"]["result"]]

    def value(self, expr: str) -> float | None:
        """Return the value of an expression of one series; None if it has none."""
        found = self.query(expr)
        assert len(found) <= 1, f"{expr}: {found}"
        return found[0].value if found else None

    def firing(self) -> list[str]:
        """Return the names of the alerts that fire, sorted."""
        return sorted({one.labels["alertname"] for one in self.query('ALERTS{alertstate="firing"}')})

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules with their health and last error, as the API has them."""
        return [rule for group in self._get("rules")["data"]["groups"] for rule in group["rules"]]

    def _get(self, what: str, **params: str) -> dict[str, Any]:
        try:
            answer = httpx.get(f"{self.url}/api/v1/{what}", params=params, timeout=10, trust_env=False)
        except httpx.TransportError as error:
            raise UserError(f"expected Prometheus to answer at {self.url}; {error}; was it stopped?") from None
        found: dict[str, Any] = answer.json()
        return found


def find_prometheus() -> str:
    """Return the path of the program. Raises UserError if it is not installed."""
    found = shutil.which("prometheus")
    if found is None:
        raise UserError(
            "expected the program prometheus, found none on PATH; on Debian: apt-get install prometheus, on macOS: "
            "brew install prometheus, else https://prometheus.io/download"
        )
    return found


def read_rules(wait_s: int | None = None) -> dict[str, Any]:
    """Return all rules as a rule file of Prometheus has them; alerts wait `wait_s`, or as long as they say."""
    groups: list[dict[str, Any]] = []
    for path in sorted(MONITORING_DIR.glob("*.yaml")):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if found["kind"] == "PrometheusRule":
            groups += found["spec"]["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        if wait_s is not None and "for" in rule:
            rule["for"] = f"{wait_s}s"
    return {"groups": groups}


def config_of(target: str) -> dict[str, Any]:
    """Return the configuration: `target`, HOST:PORT, is scraped every second, and rules are evaluated as often."""
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [target], "labels": TARGET_LABELS}]}],
    }


@contextmanager
def running_prometheus(target: str, port: int, directory: Path, wait_s: int | None = None) -> Iterator[Prometheus]:
    """Yield a Prometheus on `port` that keeps everything in `directory`. Raises UserError if it does not start."""
    program = find_prometheus()
    _write(directory / "prometheus.yaml", config_of(target))
    _write(directory / "rules.yaml", read_rules(wait_s))
    url = f"http://127.0.0.1:{port}"
    command = [
        program,
        f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with running(command, f"{url}/-/ready", directory / "prometheus.log", _START_S):
        prometheus = Prometheus(url)
        _await_first_scrape(prometheus)
        yield prometheus


def _await_first_scrape(prometheus: Prometheus) -> None:
    deadline_s = time.monotonic() + _START_S
    while not prometheus.value(f'up{{job="{JOB}"}}'):
        if time.monotonic() > deadline_s:
            raise UserError(f"expected Prometheus to scrape the server within {_START_S:.0f} s; see {prometheus.url}")
        time.sleep(0.2)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
