"""What the tables of a study file have in common: their base, and ranges of values."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from probe.errors import did_you_mean

__all__ = ["Part", "Positive", "Seed", "known"]

Positive = Annotated[int, Field(ge=1)]
#: Generators take no negative seeds, and training multiplies them.
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def known(value: str, allowed: Any) -> str:
    """Return a name that is allowed; `ValueError` with the nearest ones for another."""
    names = list(allowed)
    if value not in names:
        raise ValueError(f"{value!r} is not known. {did_you_mean(value, names)}")
    return value


class Part(BaseModel):
    """A table of a study file: no unknown keys, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)
