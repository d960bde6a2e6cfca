"""Coverage of each package as a table, from the `.coverage` of the last `make coverage`.

python -m tests.coverage_table
"""

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

PROJECT_DIR = Path(__file__).parents[1]


@dataclass
class Lines:
    run: int = 0
    all: int = 0

    @property
    def share(self) -> float:
        return 100.0 * self.run / self.all if self.all else 100.0


def by_package(report: dict[str, dict[str, dict[str, dict[str, int]]]]) -> dict[str, Lines]:
    """Return package -> lines that were run, and that there are; a module at the top counts as itself."""
    found: dict[str, Lines] = defaultdict(Lines)
    for file, told in report["files"].items():
        name = Path(file).relative_to("src/oodtune").parts[0]
        found[name].run += told["summary"]["covered_lines"]
        found[name].all += told["summary"]["num_statements"]
    return dict(sorted(found.items()))


def main() -> None:
    command = [sys.executable, "-m", "coverage", "json", "--quiet", "-o", "-"]
    packages = by_package(json.loads(subprocess.check_output(command, cwd=PROJECT_DIR)))
    total = Lines(sum(one.run for one in packages.values()), sum(one.all for one in packages.values()))
    print("| package | lines | run | share |", "| --- | --- | --- | --- |", sep="\n")
    for name, lines in [*packages.items(), ("all", total)]:
        print(f"| {name} | {lines.all} | {lines.run} | {lines.share:.1f} % |")


if __name__ == "__main__":
    main()
