"""Watch a server leave its domain, on this machine: server, Prometheus with our rules, load, and Grafana if it is here.

python -m k8s.monitoring_demo --bundle artifacts/bundle
"""

import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated, Final

import typer

from k8s.monitoring_demo.grafana import showing
from k8s.monitoring_demo.images import Streams, read_streams
from k8s.monitoring_demo.load import Load
from k8s.monitoring_demo.processes import running
from k8s.monitoring_demo.prometheus import Prometheus, find_prometheus, running_prometheus
from k8s.monitoring_demo.view import live_line, look
from oodtune.artifact import open_artifact
from oodtune.errors import UserError

PER_SECOND: Final = 20.0
ALERT_WAIT_S: Final = 10
"""Alerts wait for minutes in production; here nobody would see them fire."""
DATASET: Final = Path("artifacts/dataset")
_START_S: Final = 120.0


def demonstrate(
    bundle: Annotated[Path, typer.Option(help="What `oodtune export`, or `make demo`, wrote.")] = Path(
        "artifacts/bundle"
    ),
    images: Annotated[Path | None, typer.Option(help=f"Images of the training domains; else of {DATASET}.")] = None,
    drifted: Annotated[Path | None, typer.Option(help="Images of none of them; else of the held-out domain.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the server.")] = 8080,
    prometheus_port: Annotated[int, typer.Option(min=1, max=65534, help="Of Prometheus; Grafana has the next.")] = 9091,
    minutes: Annotated[float, typer.Option(min=0.1, help="Half of it for each stream.")] = 5,
) -> None:
    """Send images of the training domains, then images of none of them, and show what the monitoring says."""
    find_prometheus()
    open_artifact(bundle, "bundle")
    streams = read_streams(images, drifted, DATASET, bundle)
    load = Load(f"http://127.0.0.1:{port}", PER_SECOND)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oodtune-monitoring-")))
        command = [sys.executable, "-m", "oodtune", "serve", str(bundle), "--port", str(port)]
        stack.enter_context(running(command, f"{load.url}/v2/health/ready", directory / "serve.log", _START_S))
        prometheus = stack.enter_context(
            running_prometheus(f"127.0.0.1:{port}", prometheus_port, directory, ALERT_WAIT_S)
        )
        grafana = stack.enter_context(showing(prometheus.url, prometheus_port + 1, directory))
        print(
            f"server: {load.url}\nrules: {prometheus.url}/alerts (alerts wait {ALERT_WAIT_S} s)\n{grafana}", flush=True
        )
        _send(load, streams, prometheus, round(PER_SECOND * minutes * 60 / 2))
    print(f"answers by status: {dict(load.statuses)}")


def _send(load: Load, streams: Streams, prometheus: Prometheus, count: int) -> None:
    """Send `count` images of each stream; meanwhile, show a line a second."""
    with live_line() as show, ThreadPoolExecutor(1) as sender:
        try:
            for name, images in {"training domains": streams.in_domain, "drifted": streams.drifted}.items():
                sent = sender.submit(load.send, images, count)
                while not wait([sent], timeout=1).done:
                    show(look(prometheus).line(name))
                sent.result()
        finally:
            load.stop()


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends us ends the others first
    try:
        typer.run(demonstrate)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
