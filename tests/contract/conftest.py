"""What tests of several files share. kfp takes seconds to import: only tests that need it pay for it."""

import inspect
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fixtures.kubeflow import StubbedKubeflow


@pytest.fixture(scope="session", autouse=True)
def _stacks_of_names() -> Iterator[None]:
    """kfp asks for its caller's name at every step, and `inspect` then looks for the source, which nobody reads, in all
    modules that any test has imported, for xdist's own frames too: nine tenths of the time that compiling takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", _name_callers)
        yield


def _name_callers(context: int = 0) -> list[inspect.FrameInfo]:
    """Return what `inspect.stack` does, without lines of source."""
    frames = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        frames.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return frames


@pytest.fixture(scope="session")
def kubeflow_process() -> "Iterator[StubbedKubeflow]":
    from tests.fixtures.kubeflow import stub_kubeflow

    with stub_kubeflow() as stub:
        yield stub


@pytest.fixture
def kubeflow(kubeflow_process: "StubbedKubeflow", monkeypatch: pytest.MonkeyPatch) -> "StubbedKubeflow":
    """Return a stand-in for a cluster's API server that knows nothing yet, and no login."""
    for name in ("OODTUNE_KFP_TOKEN", "OODTUNE_KFP_COOKIES", "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    kubeflow_process.reset()
    return kubeflow_process
