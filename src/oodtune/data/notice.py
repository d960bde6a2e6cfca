"""Who made the images, and what their licences ask for."""

from collections.abc import Sequence

from oodtune.data.origin import Origin


def render_notice(origins: Sequence[Origin]) -> str:
    """Return a NOTICE in Markdown: one entry per domain."""
    lines = ["# Where these images come from", ""]
    for origin in origins:
        lines += [
            f"## {origin.domain}: {origin.title}",
            "",
            f"- Source: {origin.source} {origin.version}".rstrip(),
            f"- Author: {origin.author or 'not stated'}",
            f"- Licence: {origin.licence or 'not stated'}",
            f"- Address: {origin.url or 'not stated'}",
            "",
        ]
    return "\n".join(lines)
