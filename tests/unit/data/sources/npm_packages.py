"""Fixture: tiny icon packages in the format of @iconify-json, and a registry to serve one to a real npm."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

from oodtune.data.sources.npm import NpmPackage, integrity_of

DISC = '<circle cx="8" cy="8" r="7" fill="#c00"/>'
INFO = {
    "name": "Tiny",
    "author": {"name": "A. Painter", "url": "https://example.org"},
    "license": {"spdx": "MIT"},
}


@dataclass(frozen=True)
class TinyIcons:
    """What goes into one package: icons (name -> iconify icon) and categories (title -> names)."""

    icons: Mapping[str, Mapping[str, Any]]
    categories: Mapping[str, list[str]]
    aliases: Mapping[str, Any] = field(default_factory=dict)

    def members(self) -> dict[str, object]:
        return {
            "icons.json": {"icons": self.icons, "aliases": self.aliases, "width": 16, "height": 16},
            "metadata.json": {"categories": self.categories},
            "info.json": INFO,
        }


def pack_tarball(path: Path, members: Mapping[str, object]) -> str:
    """Write JSON `members` as an npm tarball at `path`; return its integrity."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            data = json.dumps(content).encode()
            header = tarfile.TarInfo(f"package/{name}")
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return integrity_of(path)


def make_package(name: str, directory: Path, members: Mapping[str, object]) -> NpmPackage:
    """Put the tarball of `name` 1.0.0 into `directory`, where a finished download would be."""
    unpinned = NpmPackage(name, "1.0.0", "")
    members = {"package.json": {"name": name, "version": "1.0.0"}, **members}
    directory.mkdir(parents=True, exist_ok=True)
    return NpmPackage(name, "1.0.0", pack_tarball(directory / unpinned.filename, members))


@contextmanager
def local_registry(package: NpmPackage, tarball: Path) -> Iterator[str]:
    """Serve one package as the npm registry would; yield the registry's address."""

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path)
            known = {f"/{package.name}": document, "/tarball.tgz": tarball.read_bytes()}
            self.send_response(200 if path in known else 404)
            self.end_headers()
            self.wfile.write(known.get(path, b"{}"))

        def log_message(self, *_: object) -> None:
            """Keep the test's output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    address = f"http://127.0.0.1:{server.server_port}/"
    dist = {"tarball": f"{address}tarball.tgz", "integrity": integrity_of(tarball)}
    version = {"name": package.name, "version": package.version, "dist": dist}
    latest = {"latest": package.version}
    document = json.dumps({"name": package.name, "dist-tags": latest, "versions": {package.version: version}}).encode()
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
