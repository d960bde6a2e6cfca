"""The picture of the package in docs/architecture.md, drawn from its imports and from the layers of pyproject.toml.

    python -m docs.site.diagram

An arrow is an import that no chain of other imports implies. The lowest layers have none: most parts import them.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import grimp

PROJECT_DIR = Path(__file__).parents[2]
OUT = Path(__file__).with_name("layers.svg")
PACKAGE = "oodtune"

WIDTH, ROW, HEIGHT = 960, 92, 36
"""Pixels: of the picture, from row to row, and of a box."""
MARGIN = 24
GROUND_LAYERS = 3
"""So many of the lowest layers are what everything stands on."""

STYLE = """
svg { --ground: #ffffff; --box: #e4f2ef; --edge: #0b6e5b; --ink: #1c2024; --line: #8a96a1; }
@media (prefers-color-scheme: dark) { svg {
  --ground: #171b20; --box: #1d3631; --edge: #5fd0b5; --ink: #eceff2; --line: #6f7c88; } }
text { fill: var(--ink); font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; text-anchor: middle; }
.box { fill: var(--box); stroke: var(--edge); stroke-width: 1.25; }
.ground { fill: none; stroke: var(--line); stroke-width: 1.25; stroke-dasharray: 4 3; }
.import { fill: none; stroke: var(--line); stroke-width: 1.25; }
.paper { fill: var(--ground); }
.tip { fill: var(--line); }
"""

Imports = Mapping[str, frozenset[str]]
"""Part of the package -> the parts that it imports directly."""


def read_layers() -> list[list[str]]:
    """Return the layers that import-linter enforces, the highest first, each with its parts from left to right."""
    settings = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (one for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    return [[name.strip().removeprefix(f"{PACKAGE}.") for name in layer.split("|")] for layer in contract["layers"]]


def read_imports(parts: Sequence[str]) -> Imports:
    """Return what each part imports, type-checking imports apart. Parts are `oodtune.<part>`, with all below."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    imports: dict[str, set[str]] = {part: set() for part in parts}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            start, end = part_of(module), part_of(imported)
            if start != end and start in imports and end in imports:
                imports[start].add(end)
    return {part: frozenset(found) for part, found in imports.items()}


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def reduce(imports: Imports) -> Imports:
    """Return the imports that are not implied by others: with a -> b -> c, a -> c is left out."""
    reached: dict[str, frozenset[str]] = {}

    def reach(part: str) -> frozenset[str]:
        if part not in reached:
            reached[part] = imports[part].union(*(reach(one) for one in imports[part]))
        return reached[part]

    return {
        part: frozenset(one for one in found if not any(one in reach(other) for other in found))
        for part, found in imports.items()
    }


def place(layers: Sequence[Sequence[str]]) -> dict[str, tuple[float, float]]:
    """Return the centre of every part's box."""
    return {
        part: (WIDTH * (column + 0.5) / len(layer), MARGIN + HEIGHT / 2 + ROW * row)
        for row, layer in enumerate(layers)
        for column, part in enumerate(layer)
    }


def draw() -> str:
    """Return the picture as SVG, on a ground of its own, light or dark as the reader's machine is."""
    layers = read_layers()
    imports = read_imports([part for layer in layers for part in layer])
    centres = place(layers)
    height = 2 * MARGIN + HEIGHT + ROW * (len(layers) - 1)
    ground = {part for layer in layers[-GROUND_LAYERS:] for part in layer}
    arrows = [
        draw_arrow(centres[part], centres[one])
        for part, found in sorted(reduce(imports).items())
        for one in sorted(found - ground)
    ]
    kinds = {part: "ground" if part in ground else "box" for part in centres}
    boxes = [draw_box(part, kinds[part], centres[part], imports[part]) for part in centres]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>The parts of oodtune, in layers; arrows are imports and point down</title>",
            f"<style>{STYLE}</style>",
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path class="tip" d="M0,0L8,4L0,8Z"/></marker>',
            f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>',
            *arrows,
            *boxes,
            "</svg>\n",
        ]
    )


def draw_arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = start, end
    y, to_y = y + HEIGHT / 2, to_y - HEIGHT / 2
    bend = ROW / 2.5
    path = f"M{x:.0f},{y:.0f}C{x:.0f},{y + bend:.0f} {to_x:.0f},{to_y - bend:.0f} {to_x:.0f},{to_y - 1:.0f}"
    return f'<path class="import" d="{path}" marker-end="url(#tip)"/>'


def draw_box(part: str, kind: str, centre: tuple[float, float], imported: frozenset[str]) -> str:
    x, y = centre
    width = 8 * len(part) + 28
    told = f"{part} imports {', '.join(sorted(imported)) or 'none of the others'}"
    return (
        f'<g><title>{told}</title><rect class="{kind}" x="{x - width / 2:.0f}" y="{y - HEIGHT / 2:.0f}" '
        f'width="{width}" height="{HEIGHT}" rx="5"/><text x="{x:.0f}" y="{y + 4.5:.0f}">{part}</text></g>'
    )


if __name__ == "__main__":
    OUT.write_text(draw(), encoding="utf-8")
