"""How a row of the table looks in every picture: one colour, shape and dash, on light and dark."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from oodtune.evaluate.scores import Score

Theme = Literal["light", "dark"]

GLYPHS = {"o": "●", "s": "■", "^": "▲", "v": "▼", "D": "◆", "*": "★", "P": "✚", "X": "✖", "h": "⬢", "p": "⬟"}
"""matplotlib marker -> the same shape as text."""

PATHS = {
    "o": "M-1,0a1,1 0 1,0 2,0a1,1 0 1,0 -2,0Z",
    "s": "M-.9,-.9H.9V.9H-.9Z",
    "^": "M0,-1.15L1.1,.85H-1.1Z",
    "v": "M0,1.15L1.1,-.85H-1.1Z",
    "D": "M0,-1.25L1.25,0L0,1.25L-1.25,0Z",
    "*": "M0,-1.6L.38,-.52L1.52,-.49L.61,.2L.94,1.29L0,.64L-.94,1.29L-.61,.2L-1.52,-.49L-.38,-.52Z",
    "P": "M-.4,-1.15H.4V-.4H1.15V.4H.4V1.15H-.4V.4H-1.15V-.4H-.4Z",
    "X": "M-1.1,-.55L-.55,-1.1L0,-.55L.55,-1.1L1.1,-.55L.55,0L1.1,.55L.55,1.1L0,.55L-.55,1.1L-1.1,.55L-.55,0Z",
    "h": "M0,-1.2L1.04,-.6V.6L0,1.2L-1.04,.6V-.6Z",
    "p": "M0,-1.2L1.14,-.37L.7,.97H-.7L-1.14,-.37Z",
}
"""matplotlib marker -> the same shape as an SVG path about one unit around the origin."""


@dataclass(frozen=True)
class RowStyle:
    """Shape and dash tell rows apart without colour."""

    light: str
    """Colour on a light ground; the hues are Okabe and Ito's, safe for colour-blind readers."""
    dark: str
    """Colour on a dark ground."""
    marker: str
    dash: str = ""
    """SVG stroke-dasharray; empty is a solid line."""
    css: str = ""
    """Class of what is drawn in this style."""
    is_hollow: bool = False

    @property
    def glyph(self) -> str:
        return GLYPHS[self.marker]

    @property
    def path(self) -> str:
        return PATHS[self.marker]


INKS: dict[Theme, dict[str, str]] = {
    "light": {"ground": "#ffffff", "ink": "#1c2024", "soft": "#5b6570", "grid": "#e6e9ec"},
    "dark": {"ground": "#171b20", "ink": "#eceff2", "soft": "#a2adb8", "grid": "#2b3138"},
}
"""Theme -> colours of what is no data."""

KNOWN = RowStyle("#5b6570", "#a2adb8", "s", "5 4", css="known")
"""Of what is measured on source domains, and of what was before."""
UNSEEN = RowStyle("#0b6e5b", "#5fd0b5", "o", css="unseen")
"""Of what is measured on the target domain, and of what came after."""

_TOGETHER = ("#00805e", "#3fc9a0")
"""Of what is made of all methods' trials."""
_METHODS = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9b57"),
    ("#7a5195", "#c3a1e0"),
    ("#8c6d00", "#e6c34a"),
    ("#b3477d", "#f08bbd"),
    ("#4d6473", "#9fb8c8"),
)
_MARKERS = {"trial": "os^vhp", "soup": "DPhs", "ensemble": "*X^v"}
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2 1 2")


def row_styles(scores: Sequence[Score]) -> dict[str, RowStyle]:
    """Return row -> style, in the order of the table: trials, soups, ensembles.

    A method, its soups and its ensembles share a colour; the shape says what a row is made of.
    """
    kinds = {
        score.model.row: score.model.kind
        for score in sorted(scores, key=lambda score: list(_MARKERS).index(score.model.kind))
    }
    methods = [row for row, kind in kinds.items() if kind == "trial"]
    colours = {method: _METHODS[place % len(_METHODS)] for place, method in enumerate(methods)}
    places: dict[tuple[str, str], dict[str, int]] = {}
    styles: dict[str, RowStyle] = {}
    for row, kind in kinds.items():
        method = None if kind == "trial" else method_of(row, methods)
        form = row if method is None else row.removeprefix(f"{method}_")
        forms = places.setdefault((kind, "together" if method is None else "of a method"), {})
        place = forms.setdefault(form, len(forms))
        markers = _MARKERS[kind]
        styles[row] = RowStyle(
            *(colours.get(method or row, _TOGETHER)),
            marker=markers[place % len(markers)],
            dash=_DASHES[place % len(_DASHES)] if kind == "trial" else "",
            css=f"r{len(styles)}",
            is_hollow=place >= len(markers),
        )
    return styles


def method_of(row: str, methods: Iterable[str]) -> str | None:
    """Return the method whose trials alone a row is made of, by its name; None if there is none."""
    named = [
        method
        for method in methods
        if row == method or (row.startswith(f"{method}_") and not row.startswith(f"{method}_to_"))
    ]
    return max(named, key=len, default=None)
