"""One line that says how the endpoint is, from what Prometheus knows."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from k8s.monitoring_demo.prometheus import Prometheus

_RATE: Final = 'sum(rate(oodtune_requests_total{route="/v1/classify"}[15s]))'
_P99: Final = 'histogram_quantile(0.99, sum by (le) (rate(oodtune_request_seconds_bucket{route="/v1/classify"}[15s])))'
_PSI: Final = "max(oodtune_drift_psi)"
_SHARE: Final = "sum(rate(oodtune_out_of_domain_total[15s])) / sum(rate(oodtune_confidence_count[15s]))"


@dataclass(frozen=True)
class View:
    """What an operator looks at first; None where there is no number yet."""

    rate: float | None
    p99_s: float | None
    psi: float | None
    share: float | None
    firing: tuple[str, ...]

    def line(self, stream: str) -> str:
        return (
            f"{stream}: {_show(self.rate, '.1f')} requests/s, p99 {_show(self.p99_s, '.3f')} s, "
            f"PSI {_show(self.psi, '.2f')}, out of domain {_show(self.share, '.0%')}, "
            f"firing: {', '.join(self.firing) or 'none'}"
        )


def look(prometheus: Prometheus) -> View:
    """Ask Prometheus for a view of now."""
    rate, p99_s, psi, share = (_number(prometheus.value(expr)) for expr in (_RATE, _P99, _PSI, _SHARE))
    return View(rate, p99_s, psi, share, tuple(prometheus.firing()))


@contextmanager
def live_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a line in the place of the one before; in a file or a pipe, every tenth is added."""
    console, lines = Console(), itertools.count()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda line: live.update(Text(line), refresh=True)
    else:
        yield lambda line: None if next(lines) % 10 else print(line, flush=True)


def _number(value: float | None) -> float | None:
    """NaN is what Prometheus says of nothing by nothing, and the server of drift while images are few."""
    return None if value is None or math.isnan(value) else value


def _show(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)
