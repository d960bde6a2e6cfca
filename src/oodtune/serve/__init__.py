"""The endpoint: one process, a bounded queue, worker threads, metrics. No torch."""

from oodtune.serve.server import run_server
from oodtune.serve.settings import ServeSettings, read_settings

__all__ = ["ServeSettings", "read_settings", "run_server"]
