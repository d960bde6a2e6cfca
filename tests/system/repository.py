"""Images in a git repository with DVC: revisions that grow by a domain, pushed to S3."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from oodtune.config import DataConfig
from oodtune.data.sources.synthetic import write_synthetic
from tests.fixtures.s3 import BIN, BUCKET
from tests.system.chaos import Command, Place

KNOWN = ("plain", "noise", "stripes")
"""Domains of the first revision."""
TARGET = "stripes"
"""Held out for the choice, in both revisions."""
NEW = "inverted"
"""A domain that requests come from later, and that the second revision has."""


@dataclass(frozen=True)
class Repository:
    place: Place

    @property
    def path(self) -> Path:
        return self.place.directory

    def create(self, endpoint_url: str, drawn: Path) -> None:
        """Make it, with the known domains as its first revision, `v1`. All images are drawn to `drawn`."""
        write_synthetic(DataConfig(source="synthetic"), drawn, drawn)
        self.path.mkdir(parents=True)
        self._git("init", "-q", "-b", "main")
        self._dvc("init", "-q")
        (self.path / ".dvc/config").write_text(
            "[core]\n    remote = store\n    analytics = false\n"
            f"['remote \"store\"']\n    url = s3://{BUCKET}/store\n    endpointurl = {endpoint_url}\n",
            encoding="utf-8",
        )
        for domain in KNOWN:
            self._add(drawn, domain)
        self._release("v1")

    def add_domain(self, drawn: Path) -> None:
        """Add the new domain, as revision `v2`."""
        self._add(drawn, NEW)
        self._release("v2")

    def push(self) -> Command:
        return Command.start(self.place, [BIN / "dvc", "push", "--all-tags"])

    def is_pushed(self) -> bool:
        """Whether the remote has every object of every tag."""
        said = subprocess.run(
            [BIN / "dvc", "status", "--cloud", "--all-tags", "-q"],
            cwd=self.path,
            env=dict(self.place.environment),
            check=False,
        )
        return said.returncode == 0

    def _add(self, drawn: Path, domain: str) -> None:
        target = self.path / "data" / domain
        target.parent.mkdir(exist_ok=True)
        (drawn / domain).rename(target)
        self._dvc("add", "-q", f"data/{domain}")

    def _release(self, tag: str) -> None:
        self._git("add", "--all")
        self._git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", tag)
        self._git("tag", tag)

    def _git(self, *words: str) -> None:
        self._run("git", *words)

    def _dvc(self, *words: str) -> None:
        self._run(str(BIN / "dvc"), *words)

    def _run(self, *words: str) -> None:
        subprocess.run(words, cwd=self.path, env=dict(self.place.environment), check=True)
