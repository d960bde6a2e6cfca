"""OSV's query API on this machine, from a dump of its advisories: for audits without a network."""

import json
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

Advisory = Mapping[str, Any]


def read_dump(path: Path) -> dict[str, list[Advisory]]:
    """Return package -> its advisories. Raises ValueError if there are none, OSError if the dump cannot be read."""
    by_package: dict[str, list[Advisory]] = defaultdict(list)
    for text in _texts(path):
        advisory = json.loads(text)
        if "withdrawn" in advisory:
            continue
        packages = [one.get("package", {}) for one in advisory.get("affected", [])]
        for name in {canonicalize_name(one["name"]) for one in packages if one.get("ecosystem") == "PyPI"}:
            by_package[name].append(advisory)
    if not by_package:
        raise ValueError(f"{path}: expected OSV's advisories of PyPI, found none")
    return by_package


def _texts(path: Path) -> Iterator[str]:
    if path.is_dir():
        for file in sorted(path.rglob("*.json")):
            yield file.read_text(encoding="utf-8")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield archive.read(name).decode()
    except zipfile.BadZipFile:
        raise ValueError(f"{path}: expected a zip or a folder of JSON files, found neither") from None


def affects(advisory: Advisory, name: str, version: str) -> bool:
    """Whether a version is among those that an advisory lists, or in one of its ranges."""
    for one in advisory["affected"]:
        if canonicalize_name(one.get("package", {}).get("name", "")) != name:
            continue
        if version in one.get("versions", []) or any(_in_range(found, version) for found in one.get("ranges", [])):
            return True
    return False


def _in_range(found: Mapping[str, Any], version: str) -> bool:
    """Go through the events of a range in order, as the OSV schema has it ("Evaluation")."""
    if found.get("type") != "ECOSYSTEM":
        return False
    is_in, wanted = False, Version(version)
    for event in sorted(found["events"], key=_event_version):
        at = _event_version(event)
        if "introduced" in event and wanted >= at:
            is_in = True
        elif ("fixed" in event and wanted >= at) or ("last_affected" in event and wanted > at):
            is_in = False
    return is_in


def _event_version(event: Mapping[str, str]) -> Version:
    (text,) = (event[key] for key in ("introduced", "fixed", "last_affected", "limit") if key in event)
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """Yield the address of a query API that knows the dump at `path`. Raises as `read_dump`."""
    by_package = read_dump(path)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name, version = canonicalize_name(query["package"]["name"]), query["version"]
            found = [one for one in by_package.get(name, []) if affects(one, name, version)]
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
