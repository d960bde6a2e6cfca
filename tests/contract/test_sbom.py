"""The list of components of an image is whole, and a licence that nobody allowed stops it."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.markers import Marker

PROJECT_DIR = Path(__file__).parents[2]
LOCK = PROJECT_DIR / "requirements/serve-cpu.txt"
RULES = tomllib.loads((PROJECT_DIR / "docker/licences.toml").read_text(encoding="utf-8"))


def load_licences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", PROJECT_DIR / "docker/licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


licences = load_licences()


def component(expression: str | None, name: str = "thing") -> dict[str, Any]:
    return {"name": name, "version": "1.0", **({"licenses": [{"expression": expression}]} if expression else {})}


def complaints(*components: dict[str, Any]) -> list[str]:
    found: list[str] = licences.check({"components": list(components)}, RULES)[1]
    return found


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the SBOM of this environment, without what the serve image has not. Validating it would take a minute."""
    path = tmp_path_factory.mktemp("sbom") / "environment.json"
    command = [Path(sys.executable).with_name("cyclonedx-py"), "environment", "--output-reproducible", "--no-validate"]
    subprocess.run([*command, "--output-file", path, sys.executable], check=True, capture_output=True, timeout=120)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    names = {name.replace("-", "_") for name, _ in pins()}
    kept = [one for one in found["components"] if re.sub(r"[-.]", "_", one["name"].lower()) in names]
    return {**found, "components": kept}


def pins() -> list[tuple[str, str]]:
    """Return what the lock installs here: name and version."""
    lock = LOCK.read_text(encoding="utf-8")
    lines = re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)(?: ; ([^\\\n]+))?", lock, flags=re.MULTILINE)
    return [(name, version) for name, version, marker in lines if not marker or Marker(marker.strip()).evaluate()]


def test_every_pin_of_the_lock_is_a_component_of_its_version_and_address(sbom: dict[str, Any]) -> None:
    found = {one["purl"] for one in sbom["components"]}
    assert {f"pkg:pypi/{name}@{version}" for name, version in pins()} <= found


def test_every_licence_of_the_serve_image_is_allowed(sbom: dict[str, Any]) -> None:
    assert complaints(*sbom["components"]) == []


@pytest.mark.parametrize("expression", ["AGPL-3.0-only", "MIT AND GPL-3.0-only", "no licence at all", None])
def test_what_nobody_allowed_is_refused_by_its_name(expression: str | None) -> None:
    (complaint,) = complaints(component("MIT", "good"), component(expression))
    assert complaint.startswith("thing 1.0: ")


@pytest.mark.parametrize("expression", ["MIT", "GPL-3.0-only OR MIT", "MPL-2.0 AND (Apache-2.0 OR GPL-2.0-only)"])
def test_one_allowed_choice_is_enough(expression: str) -> None:
    assert complaints(component(expression)) == []


def test_licences_that_we_state_are_of_packages_that_are_there_and_name_none(sbom: dict[str, Any]) -> None:
    without = {one["name"].lower() for one in sbom["components"] if not one.get("licenses")}
    assert set(RULES["stated"]) == without


def test_a_refusal_is_exit_code_1_and_the_table_is_written(tmp_path: Path) -> None:
    (tmp_path / "sbom.json").write_text(json.dumps({"components": [component("AGPL-3.0-only")]}))
    command = [sys.executable, PROJECT_DIR / "docker/licences.py", tmp_path / "sbom.json", tmp_path / "table.md"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert "thing 1.0: AGPL-3.0-only" in result.stdout
    assert "| thing | 1.0 | AGPL-3.0-only |" in (tmp_path / "table.md").read_text()


def test_docker_is_still_the_package_that_kfp_imports() -> None:
    spec = importlib.util.find_spec("docker")
    assert spec is not None
    assert spec.origin is not None, "the folder docker/ took the place of the package"
    assert not Path(spec.origin).is_relative_to(PROJECT_DIR / "docker")


def test_what_make_sbom_writes_is_validated_and_the_same_every_time() -> None:
    calls = re.findall(r"cyclonedx-py .*", (PROJECT_DIR / "docker/sbom.sh").read_text(encoding="utf-8"))
    assert len(calls) == 2
    assert all("--output-reproducible" in call and "--no-validate" not in call for call in calls)
