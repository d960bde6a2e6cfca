"""The layout `<domain>/<class>/<image>` that sources of the user's own images share."""

import re

from pydantic import TypeAdapter, ValidationError

from oodtune.config import Name
from oodtune.errors import DataError

LAYOUT = "lay images out as <domain>/<class>/<image>"
_JUNK = frozenset(("thumbs.db", "desktop.ini"))


def is_visible(name: str) -> bool:
    """Return whether a file or folder is the user's: not hidden, not left behind by an operating system."""
    return not name.startswith(".") and name.lower() not in _JUNK


def check_domain_name(place: str, name: str) -> None:
    """Raise DataError, naming `place`, if `name` cannot be a domain's name."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        better = re.sub(r"[^A-Za-z0-9_]", "_", name).lstrip("_") or "domain_1"
        raise DataError(
            f"{place}: expected a domain name of letters, digits and underscores that does not begin "
            f"with an underscore, found {name!r}; rename it, for example to {better!r}"
        ) from None
