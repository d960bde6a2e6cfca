"""Building and running images with buildah. It runs in a chroot: with the image's files, user and environment, and on
the network, the processes and the limits of this machine."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT_DIR = Path(__file__).parents[2]
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
"""pip inside of a build trusts whom this machine trusts; an image must not learn it."""


class CommandError(Exception):
    """A command of the builder failed."""


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command; return what it prints. Raises CommandError with the end of what it says if it fails."""
    environ = {**os.environ, **(env or {})}
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environ, timeout=1200)
    if result.returncode:
        raise CommandError(f"{' '.join(command)}: {(result.stdout + result.stderr)[-2000:]}")
    return result.stdout


@dataclass
class Builder:
    """A store of images of its own."""

    store_dir: Path
    base: str
    environ: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        config, pip = self.store_dir / "storage.conf", self.store_dir / "pip.conf"
        config.write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{self.store_dir}/store"\nrunroot = "{self.store_dir}/run"\n'
        )
        pip.write_text(f"[global]\ncert = {AUTHORITIES}\n")
        flags = ["--isolation", "chroot", "--network", "host", "--layers=false"]
        if AUTHORITIES.is_file():
            flags += [f"--volume={AUTHORITIES}:{AUTHORITIES}:ro", f"--volume={pip}:/etc/pip.conf:ro"]
        self.environ = {"CONTAINERS_STORAGE_CONF": str(config), "BUILD_FLAGS": " ".join(flags)}

    def buildah(self, *arguments: str) -> str:
        return run("buildah", *arguments, env=self.environ).strip()

    def build(self, image: str, checkout: Path = PROJECT_DIR, *flags: str) -> str:
        """Build an image as `make images` does, from a checkout; return its name."""
        command = [str(checkout / "docker/build.sh"), "--engine", "buildah", "--base", self.base, image]
        environ = {**self.environ, "BUILD_FLAGS": " ".join([self.environ["BUILD_FLAGS"], *flags])}
        return run(*command, cwd=checkout, env=environ).splitlines()[-1].split()[0]

    def container(self, image: str) -> str:
        return self.buildah("from", image)

    def root_dir(self, container: str) -> Path:
        """Return where the container's files are."""
        return Path(self.buildah("mount", container))

    def config(self, image: str) -> dict[str, Any]:
        """Return what an engine would start, and how."""
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", image))["Docker"]["config"]
        return found

    def command(self, container: str, *arguments: str, mounts: tuple[str, ...] = (), **environ: str) -> list[str]:
        """Return the command line that runs `arguments` in a container, as its own user."""
        flags = [f"--volume={mount}" for mount in mounts] + [f"--env={k}={v}" for k, v in environ.items()]
        return ["buildah", "run", "--isolation", "chroot", "--network", "host", *flags, container, "--", *arguments]

    def run(self, container: str, *arguments: str, **environ: str) -> str:
        return run(*self.command(container, *arguments, **environ), env=self.environ)
