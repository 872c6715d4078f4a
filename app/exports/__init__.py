"""What can be taken away from the pages, by name; each page has a module with its own."""

from __future__ import annotations

from app.exports import (
    artifacts,
    attribution,
    compare,
    overview,
    sample,
)
from app.exports.export import Export

__all__ = ["EXPORTS", "Export"]

#: Name, as in ``/export/<name>.pdf``, to what it is.
EXPORTS: dict[str, Export] = {
    **overview.EXPORTS,
    **artifacts.EXPORTS,
    **attribution.EXPORTS,
    **sample.EXPORTS,
    **compare.EXPORTS,
}
