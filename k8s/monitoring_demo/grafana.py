"""Grafana with our dashboard, where it is installed; else how to import the dashboard."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from k8s.monitoring_demo.processes import running
from k8s.monitoring_demo.prometheus import MONITORING_DIR

DASHBOARD: Final = MONITORING_DIR / "dashboard.json"
_START_S: Final = 120.0


@contextmanager
def showing(prometheus_url: str, port: int, directory: Path) -> Iterator[str]:
    """Yield a line for the user: the address of the dashboard, or what to do where there is no Grafana."""
    program = shutil.which("grafana-server")
    home = _find_home(Path(program)) if program else None
    if program is None or home is None:
        yield f"no Grafana here; in one that can reach {prometheus_url}: Dashboards > New > Import > {DASHBOARD}"
        return
    provision(prometheus_url, directory / "provisioning")
    url = f"http://127.0.0.1:{port}"
    environ = {**os.environ, **_settings(port, directory)}
    command = [program, f"--homepath={home}"]
    with running(command, f"{url}/api/health", directory / "grafana.log", _START_S, environ):
        yield f"dashboard: {url}/d/oodtune"


def provision(prometheus_url: str, directory: Path) -> None:
    """Write what Grafana reads at its start: Prometheus as its datasource, and where our dashboard is."""
    source = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "url": prometheus_url, "isDefault": True}
    source["jsonData"] = {"timeInterval": "1s"}  # the scrape interval, from which $__rate_interval follows
    provider = {"name": "oodtune", "type": "file", "options": {"path": str(directory / "shown")}}
    _write(directory / "datasources/prometheus.yaml", {"apiVersion": 1, "datasources": [source]})
    _write(directory / "dashboards/oodtune.yaml", {"apiVersion": 1, "providers": [provider]})
    (directory / "shown").mkdir()
    shutil.copy(DASHBOARD, directory / "shown")


def _settings(port: int, directory: Path) -> dict[str, str]:
    return {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_PATHS_DATA": str(directory / "grafana"),
        "GF_PATHS_LOGS": str(directory / "grafana"),
        "GF_PATHS_PROVISIONING": str(directory / "provisioning"),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",  # as a viewer; it listens on this machine only
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
    }


def _find_home(program: Path) -> Path | None:
    """Return the directory with Grafana's defaults: beside the program, or where packages put it."""
    for home in (program.resolve().parents[1], Path("/usr/share/grafana")):
        if (home / "conf/defaults.ini").is_file():
            return home
    return None


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
