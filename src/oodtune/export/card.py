"""The model card: what a stranger should know before using a bundle, in Markdown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from oodtune.bundle import Outputs
from oodtune.config import PreprocessConfig
from oodtune.domain_scores import DomainScores

TEMPLATE: Final = "card.md.j2"
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#|~])")
_KINDS: Final = {"trial": "one network", "soup": "one network, the average of {} trained ones"}


@dataclass(frozen=True)
class Card:
    """What a bundle says of itself, file by file."""

    classes: Sequence[str]
    preprocess: PreprocessConfig
    temperature: float
    domains: DomainScores
    lineage: Mapping[str, Any]
    parity: Mapping[str, Any]
    variants: Mapping[str, Any]
    """`variants.json`; empty if none was asked for."""


def render_card(card: Card) -> str:
    """Return the model card; equal facts give equal text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701  Markdown, not HTML: `md` escapes what others wrote
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(md=_escape, percent=_percent)
    origins = card.lineage.get("dataset", {}).get("origins", [])
    return environment.get_template(TEMPLATE).render(
        card=card,
        lineage=card.lineage,
        kind=_kind(card.lineage["winner"]),
        detection=card.domains.detection,
        outputs=Outputs._fields,
        origins=[{key: one.get(key) or "" for key in _ORIGIN} for one in origins],
        variants=card.variants,
    )


_ORIGIN: Final = ("domain", "title", "source", "version", "author", "licence")


def _kind(winner: Mapping[str, Any]) -> str:
    kind, count = winner.get("kind", ""), len(winner.get("members", ()))
    if kind == "ensemble":
        return f"{count} networks in one graph, the mean of their {winner['averages']}s"
    return _KINDS.get(kind, "").format(count)


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}"


def _escape(text: object) -> str:
    """Return text that Markdown shows as it is, on one line, also in a table."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))
