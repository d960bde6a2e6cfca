"""Who drew a domain's images, and under which licence they may be used."""

from oodtune.config import Name, Section


class Origin(Section):
    """Where one domain comes from. What is not known is the empty string."""

    domain: Name
    title: str
    source: str
    """Where the images were taken from, for example `npm @iconify-json/noto`; never an absolute path."""
    version: str = ""
    licence: str = ""
    """SPDX identifier."""
    author: str = ""
    url: str = ""
    integrity: str | None = None
    """Subresource-integrity hash of what was downloaded; None if nothing was."""
