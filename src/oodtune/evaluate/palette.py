"""How a row of the table looks in every picture: one colour, marker shape and dash, on light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass

from oodtune.evaluate.scores import Score

GLYPHS = {"o": "●", "s": "■", "^": "▲", "v": "▼", "D": "◆", "*": "★", "P": "✚", "X": "✖"}
"""matplotlib marker -> the same shape as text."""


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

    @property
    def glyph(self) -> str:
        return GLYPHS[self.marker]


INKS = {
    "light": {"ground": "#ffffff", "ink": "#1c2024", "soft": "#5b6570", "grid": "#e6e9ec"},
    "dark": {"ground": "#171b20", "ink": "#eceff2", "soft": "#a2adb8", "grid": "#2b3138"},
}
"""Theme -> colours of what is no data."""

_STYLES = {
    "trial": (
        RowStyle("#0072b2", "#56b4e9", "o"),
        RowStyle("#d55e00", "#ff9b57", "s", "7 3"),
        RowStyle("#7a5195", "#c3a1e0", "^", "2 3"),
        RowStyle("#8c6d00", "#e6c34a", "v", "9 3 2 3"),
    ),
    "soup": (RowStyle("#00805e", "#3fc9a0", "D"), RowStyle("#00805e", "#3fc9a0", "P")),
    "ensemble": (RowStyle("#b3477d", "#f08bbd", "*"), RowStyle("#b3477d", "#f08bbd", "X")),
}


def row_styles(scores: Sequence[Score]) -> dict[str, RowStyle]:
    """Return row -> style, in the order of the table: trials, then what is made of several."""
    kinds = {score.model.row: score.model.kind for score in sorted(scores, key=lambda s: s.model.kind != "trial")}
    used = dict.fromkeys(_STYLES, 0)
    styles = {}
    for row, kind in kinds.items():
        choices = _STYLES[kind]
        styles[row] = choices[used[kind] % len(choices)]
        used[kind] += 1
    return styles
