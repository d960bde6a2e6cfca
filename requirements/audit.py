"""Known vulnerabilities of every locked package: pip-audit on the locks, against OSV or a dump of it.

    python -m requirements.audit                        ask OSV's API
    python -m requirements.audit --osv-url URL          ask a mirror of it
    python -m requirements.audit --dump PyPI/all.zip    ask nobody: OSV's dump of PyPI, a zip or a folder of JSON files

Exits with 0 if no vulnerability is known, 1 if one is, 2 if that could not be found out: silence is no proof.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from requirements.osv_dump import serving

LOCKS = sorted(Path(__file__).parent.glob("*.txt"))


class NotCheckedError(Exception):
    """Nobody could say whether there are vulnerabilities."""


@dataclass(frozen=True)
class Found:
    lock: str
    package: str
    version: str
    advisory: str
    fixed_in: str

    def __str__(self) -> str:
        return f"{self.lock}: {self.package} {self.version}: {self.advisory}, fixed in {self.fixed_in or 'no version'}"


def audit(lock: Path, osv_url: str | None) -> tuple[int, list[Found]]:
    """Return how many packages were looked up, and what is known of them. Raises NotCheckedError."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--requirement", str(lock)]
    command += ["--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off"]
    command += ["--osv-url", osv_url] if osv_url else []
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except ValueError:
        said = ended.stderr.strip().splitlines()
        raise NotCheckedError(f"{lock.name}: {said[-1] if said else 'pip-audit said nothing'}") from None
    if skipped := [one for one in packages if "skip_reason" in one]:
        raise NotCheckedError(f"{lock.name}: {skipped[0]['name']} was left out: {skipped[0]['skip_reason']}")
    return len(packages), [
        Found(lock.name, one["name"], one["version"], advisory["id"], ", ".join(advisory["fix_versions"]))
        for one in packages
        for advisory in one["vulns"]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        with asking(options) as osv_url:
            results = {lock: audit(lock, osv_url) for lock in options.lock}
    except (NotCheckedError, OSError, ValueError) as error:
        print(f"not checked: {error}", file=sys.stderr)
        return 2
    for lock, (count, _) in results.items():
        print(f"{lock.name}: {count} packages looked up")
    found = [one for _, some in results.values() for one in some]
    print(*found, f"{len(found)} vulnerabilities known", sep="\n")
    return 1 if found else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m requirements.audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--osv-url", help="of the query API of a mirror")
    source.add_argument("--dump", type=Path, help="OSV's dump: a zip, or a folder of JSON files")
    parser.add_argument("lock", nargs="*", type=Path, default=LOCKS, help="default: all of them")
    return parser.parse_args(arguments)


@contextmanager
def asking(options: argparse.Namespace) -> Iterator[str | None]:
    """Yield the address of the API to ask; None is OSV's own."""
    with serving(options.dump) if options.dump else nullcontext(options.osv_url) as osv_url:
        yield osv_url


if __name__ == "__main__":
    sys.exit(main())
