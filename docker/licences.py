"""Hold the licences of an environment's SBOM against docker/licences.toml; write them as a table.

python docker/licences.py SBOM TABLE: exits with 1, and names them, if components are under others.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from license_expression import get_spdx_licensing

RULES = Path(__file__).with_name("licences.toml")
SPDX = get_spdx_licensing()


def find_licences(component: dict[str, Any], rules: dict[str, Any]) -> list[str]:
    """Return the SPDX expressions that hold for a component, all of them; none if it names none."""
    stated = rules["stated"].get(component["name"].lower())
    if stated is not None and not component.get("licenses"):
        return [stated]
    entries = component.get("licenses", [])
    named = [one.get("expression") or one["license"].get("id") or one["license"]["name"] for one in entries]
    return [rules["classifiers"].get(name, name) for name in named]


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Say whether an SPDX expression leaves a choice of allowed licences only. Text that is none is not allowed."""
    try:
        parsed = SPDX.parse(expression, validate=True)
    except Exception:  # noqa: BLE001  (the library raises several kinds)
        return False
    return _holds(parsed, allowed)


def _holds(parsed: Any, allowed: set[str]) -> bool:
    if not hasattr(parsed, "operator"):
        return str(parsed) in allowed
    held = [_holds(one, allowed) for one in parsed.args]
    return all(held) if parsed.operator.strip() == "AND" else any(held)


def check(sbom: dict[str, Any], rules: dict[str, Any]) -> tuple[list[list[str]], list[str]]:
    """Return rows of name, version and licences, and a complaint for every component that may not be there."""
    allowed, rows, complaints = set(rules["allowed"]), [], []
    for component in sorted(sbom["components"], key=lambda one: one["name"].lower()):
        found = find_licences(component, rules)
        rows.append([component["name"], component["version"], "; ".join(found)])
        if not found or not all(is_allowed(one, allowed) for one in found):
            named = "; ".join(found) or "no licence that its metadata names"
            complaints.append(f"{component['name']} {component['version']}: {named}")
    return rows, complaints


def main() -> None:
    sbom_path, table_path = map(Path, sys.argv[1:])
    rules = tomllib.loads(RULES.read_text(encoding="utf-8"))
    rows, complaints = check(json.loads(sbom_path.read_text(encoding="utf-8")), rules)
    lines = ["| component | version | licences |", "|---|---|---|", *("| " + " | ".join(row) + " |" for row in rows)]
    table_path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if complaints:
        print(f"error: expected licences that {RULES.name} allows, found others; decide, then add them there:")
        print("\n".join(f"  {one}" for one in complaints))
        sys.exit(1)


if __name__ == "__main__":
    main()
