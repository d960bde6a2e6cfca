"""What a benchmark writes: what was measured, with which options, on which machine."""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.ratio import Bound, Ratio
from oodtune.cpus import count_cpus


def describe_machine(*packages: str) -> dict[str, object]:
    """Return what the figures depend on: processor, memory, Python, versions of `packages`, the day."""
    return {
        "cpus": count_cpus(),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "day": datetime.now(UTC).date().isoformat(),
    }


def write_figures(
    options: argparse.Namespace,
    machine: dict[str, object],
    ratios: Sequence[Ratio] = (),
    bounds: Sequence[Bound] = (),
    **more: object,
) -> None:
    """Write what was measured, with which `options` and where, to `options.out`; nothing if that is None."""
    if options.out is None:
        return
    settings = {name: str(value) for name, value in sorted(vars(options).items()) if name not in ("out", "work")}
    figures = {
        "settings": settings,
        "machine": machine,
        "ratios": [as_json(one) for one in ratios],
        "bounds": [as_json(one) for one in bounds],
        **more,
    }
    options.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def as_json(one: Ratio | Bound) -> dict[str, object]:
    return {**asdict(one), "met": one.met}


def _cpu_model() -> str:
    """Return the processor's name as the kernel tells it, "unknown" where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
