"""`production.json`: which version is in production, and every promotion and rollback that led there."""

import json
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oodtune.config import describe_validation_error
from oodtune.errors import RegistryError
from oodtune.registry.ledger import choose_version, list_finished
from oodtune.registry.objects import Objects

POINTER: Final = "production.json"


class Move(BaseModel):
    """One promotion or rollback."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: int
    """1 for the first move of the model, then 2 and so on."""
    action: Literal["promote", "rollback"]
    version: str
    """In production after the move."""


class Production(BaseModel):
    """The version in production, and how it came to be there."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    version: str | None = None
    """None before the first promotion."""
    history: tuple[Move, ...] = ()
    """Oldest first; nothing is ever taken out."""

    @property
    def line(self) -> list[str]:
        """The versions that rollbacks lead back through, the current one last."""
        line: list[str] = []
        for move in self.history:
            if move.action == "promote":
                line.append(move.version)
            else:
                line.pop()
        return line

    def move(self, action: Literal["promote", "rollback"], version: str) -> "Production":
        """Return what follows when `version` takes the place of the current one."""
        moved = Move(sequence=len(self.history) + 1, action=action, version=version)
        return Production(version=version, history=(*self.history, moved))


def read_production(objects: Objects) -> Production:
    """Return what is in production. Raises RegistryError if the service cannot be used."""
    stored = objects.read(POINTER)
    return _parse(objects, stored.data if stored is not None else None)


def promote(objects: Objects, wanted: str) -> str:
    """Put a finished version into production, and return its name; nothing changes if it is there already.

    Of two promoters at once, both are in the history. Raises RegistryError if there is no such version.
    """
    version = choose_version(objects, wanted, list(list_finished(objects)))
    objects.require_conditions()

    def change(data: bytes | None) -> bytes:
        now = _parse(objects, data)
        return data if data is not None and now.version == version else _render(now.move("promote", version))

    objects.update(POINTER, change)
    return version


def rollback(objects: Objects) -> str:
    """Put the version before the current one back into production, and return its name.

    Two of them at once go back once: both saw the same version fail. Raises RegistryError if there is none
    before, or if another version was promoted meanwhile.
    """
    seen = read_production(objects)
    earlier = _version_before(objects, seen.line)
    objects.require_conditions()

    def change(data: bytes | None) -> bytes:
        now = _parse(objects, data)
        if now.history != seen.history:
            raise RegistryError(
                f"{objects.place.address()}: expected {seen.version} in production still, found {now.version}, put "
                "there meanwhile; look at it, then roll back again if it is at fault too"
            )
        return _render(now.move("rollback", earlier))

    objects.update(POINTER, change)
    return earlier


def _version_before(objects: Objects, line: Sequence[str]) -> str:
    if len(line) < 2:
        found = f"only {line[0]}" if line else "none in production"
        raise RegistryError(
            f"{objects.place.address()}: expected a version before the current one to go back to, found {found}; "
            "promote the version that you want"
        )
    return line[-2]


def _parse(objects: Objects, data: bytes | None) -> Production:
    if data is None:
        return Production()
    try:
        return Production.model_validate_json(data)
    except ValidationError as error:
        raise RegistryError(
            f"{objects.place.address(POINTER)}: expected what is in production ({describe_validation_error(error)}); "
            "restore the object"
        ) from None


def _render(production: Production) -> bytes:
    return (json.dumps(production.model_dump(mode="json", by_alias=True), indent=1) + "\n").encode()
