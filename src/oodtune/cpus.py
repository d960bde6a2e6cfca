"""How many CPUs this process may use."""

import math
import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""cgroup v2: `<quota> <period>` in microseconds, or `max <period>`."""


def count_cpus(cpu_max: Path = CPU_MAX) -> int:
    """Return the CPUs this process may run on, or the container's quota, rounded up, if that is less.

    A container with a quota of 2 on a machine with 64 CPUs sees all 64; 64 threads would share two.
    """
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        return max(1, min(visible, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2 here, or no quota
        return visible
