"""Tables of reports in README and docs, made from what `oodtune report` wrote.

    python -m docs.tables                                put every table where a page asks for it
    python -m docs.tables keep artifacts/report demo     first keep a report as docs/results/demo.json

A page asks with a line `<!-- table: demo -->`; the table goes between it and the next `<!-- end -->`.
"""

import re
import shutil
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from oodtune.artifact import open_artifact
from oodtune.evaluate.table import LodoTable

PROJECT_DIR = Path(__file__).parents[1]
RESULTS_DIR = PROJECT_DIR / "docs" / "results"
BLOCK = re.compile(r"(<!-- table: (\w[\w-]*) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


class Kept(BaseModel):
    """The part of a report's `summary.json` that a table is made of."""

    model_config = ConfigDict(extra="ignore")

    table: LodoTable


def pages() -> list[Path]:
    """Return the pages that may have tables."""
    return [PROJECT_DIR / "README.md", *sorted((PROJECT_DIR / "docs").glob("*.md"))]


def fill(text: str) -> str:
    """Return a page with its tables as the kept results have them."""
    return BLOCK.sub(lambda block: f"{block[1]}{render(block[2])}{block[3]}", text)


def render(name: str) -> str:
    """Return the Markdown table of `docs/results/<name>.json`, without its caption."""
    kept = Kept.model_validate_json((RESULTS_DIR / f"{name}.json").read_bytes())
    return "".join(line + "\n" for line in kept.table.to_markdown().splitlines() if line.startswith("|"))


def keep(report: Path, name: str) -> None:
    """Copy the results and the picture of a report into docs. Raises ArtifactError if it is none."""
    artifact = open_artifact(report, "report")
    RESULTS_DIR.mkdir(exist_ok=True)
    kept = Kept.model_validate_json((artifact.path / "summary.json").read_bytes())
    (RESULTS_DIR / f"{name}.json").write_text(kept.model_dump_json(indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(artifact.path / "figures" / "scatter.svg", RESULTS_DIR / f"{name}-scatter.svg")


def main() -> None:
    match sys.argv[1:]:
        case []:
            pass
        case ["keep", report, name]:
            keep(Path(report), name)
        case _:
            sys.exit(__doc__)
    for page in pages():
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
