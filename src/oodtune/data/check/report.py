"""What a look at every image found; written as JSON, shown as text and as a page."""

from typing import Literal

from oodtune.config import Policy, Section

Kind = Literal[
    "unreadable",
    "missing_classes",
    "small_cells",
    "label_conflicts",
    "duplicates_across_domains",
    "duplicates",
    "near_duplicates",
    "near_duplicates_across_domains",
    "undivided_cells",
    "groups_across_domains",
    "extreme_aspect",
    "greyscale",
    "transparency",
    "cmyk",
    "deep",
    "rotated",
]
"""The names of policies in `data.checks`."""


Unit = Literal["images", "cells", "groups"]
"""A cell is one class of one domain; a group, images that belong together."""


class Finding(Section):
    """One kind of thing that was looked for; what was not found is in the report too, with count 0."""

    kind: Kind
    title: str
    """A plain sentence: what was looked for."""
    policy: Policy
    unit: Unit
    """What `count` counts."""
    count: int
    items: tuple[str, ...] = ()
    """One line for each of them: an id with what is wrong, the ids of copies, a cell with its size."""
    dropped: tuple[str, ...] = ()
    """Ids of the images that are left out because of it."""
    consequence: str = ""
    """What became of what was kept: `kept on one side of the split`, `converted to RGB`."""

    @property
    def refuses(self) -> bool:
        """Whether the data cannot be used because of it."""
        return self.policy == "error" and self.count > 0


class CheckReport(Section):
    """What `oodtune data check` says."""

    num_images: int
    """Looked at."""
    num_kept: int
    domains: tuple[str, ...]
    """Of the images that are kept, as all of the following."""
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    """Domain -> class -> number of images; a cell without images is missing."""
    formats: dict[str, int]
    """Format as Pillow names it -> number of images."""
    widths: tuple[int, int, int]
    """Smallest, median and largest width in pixels."""
    heights: tuple[int, int, int]
    findings: tuple[Finding, ...]

    @property
    def refusals(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.refuses)
