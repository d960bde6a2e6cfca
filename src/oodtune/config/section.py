"""What every group of settings is built from."""

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]
HeldOut = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*(\+[A-Za-z0-9][A-Za-z0-9_]*)?$")]
"""A domain that is not trained on; or two of them, as in `ink+oil`."""


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def canonical_json(value: object) -> str:
    """Return `value` as JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def describe_validation_error(error: ValidationError) -> str:
    """Return every problem pydantic found in one line, each with the name of its key."""
    return "; ".join(_describe_problem(problem) for problem in error.errors(include_url=False))


def _describe_problem(problem: object) -> str:
    assert isinstance(problem, dict)
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}; check its spelling against the documented sections"
    if problem["type"] == "missing":
        return f"missing key {key!r}; add it"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if not key or problem["type"] == "value_error":
        return message
    return f"{key}: {message}, found {problem['input']!r}"
