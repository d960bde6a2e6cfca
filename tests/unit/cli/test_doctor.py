"""The doctor on this environment, which has everything, and on environments that lack something."""

import sys
from importlib.metadata import PackageNotFoundError
from types import ModuleType

import pytest

from oodtune.cli import doctor
from oodtune.cli.doctor import Finding, examine, render

INSTALLED = {"torch": "2.15", "onnxruntime": "1.32", "onnxruntime-gpu": "1.31"}


def test_a_whole_environment_has_no_problem() -> None:
    findings = {finding.subject: finding for finding in examine()}
    assert [finding.subject for finding in findings.values() if finding.problem] == []
    assert "working: CPUExecutionProvider" in findings["onnxruntime"].found
    assert findings["torch devices"].found.startswith("cpu")


def pretend_installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Change what is installed: no test can uninstall packages that run it."""

    def version(package: str) -> str:
        if package not in packages:
            raise PackageNotFoundError(package)
        return INSTALLED[package]

    monkeypatch.setattr(doctor, "version", version)


def problems(monkeypatch: pytest.MonkeyPatch, *packages: str) -> dict[str, str]:
    pretend_installed(monkeypatch, *packages)
    return {finding.subject: finding.problem for finding in examine() if finding.problem}


def test_half_an_extra_is_a_problem_and_none_of_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(monkeypatch, "torch", "onnxruntime")
    assert list(found) == ["extra train"]
    assert "timm" in found["extra train"]
    assert "pip install 'oodtune[train]'" in found["extra train"]


def test_both_onnxruntimes_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    assert "overwrite each other's files" in found["onnxruntime"]


def test_no_onnxruntime_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing can run a bundle" in problems(monkeypatch)["onnxruntime"]


def test_a_provider_that_falls_back_to_the_cpu_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """No registry carries a GPU: a stand-in offers CUDA and, as onnxruntime does, silently uses the CPU."""

    class Session:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    fake = ModuleType("onnxruntime")
    fake.InferenceSession = Session  # type: ignore[attr-defined]
    fake.SessionOptions = lambda: ModuleType("options")  # type: ignore[attr-defined]
    fake.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]  # type: ignore[attr-defined]
    fake.preload_dlls = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    found = problems(monkeypatch, "onnxruntime-gpu")
    assert found["onnxruntime-gpu"].startswith("CUDAExecutionProvider offered but falls back")


def test_every_finding_is_a_row() -> None:
    findings = [Finding("a", "1"), Finding("b", "2", "broken; mend it")]
    assert render(findings).row_count == 2
