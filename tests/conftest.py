"""What holds for every test, and for the processes that tests start.

One thread per process: two workers share two cores, and OpenMP collapses when it has to share.
"""

import os
import signal
import sys

import pytest

from tests.fixtures.collector import collect_rarely, pass_over_nothing, pass_over_what_is_here

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that asks a hub must fail at once, here and everywhere
os.environ.setdefault("DVC_NO_ANALYTICS", "1")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, every process compiles our sources anew
sys.dont_write_bytecode = False

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs have it, and all that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)

collect_rarely()


def pytest_collection_finish() -> None:
    pass_over_what_is_here()


def pytest_unconfigure() -> None:
    pass_over_nothing()  # nanobind complains of what is left at the end


@pytest.fixture(scope="session", autouse=True)
def _shared_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Name a directory of this run, the same in every worker and in the processes that tests start."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    shared = run / "shared"
    shared.mkdir(exist_ok=True)
    os.environ["OODTUNE_TESTS_SHARED"] = str(shared)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `--dist loadgroup` group: xdist 3.8 writes an item's group where pytest 9.2 no longer reads it, unnoticed.

    Remove this with a pytest-xdist that groups again: pytest-dev/pytest-xdist#1386.
    """
    for item in items:
        grouped = getattr(item, "_nodeid", item.nodeid)
        if grouped != item.nodeid:
            item._id = type(item.id).parse(grouped)
