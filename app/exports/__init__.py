"""What can be taken away from the pages, by name; each page has a module with its own."""

from __future__ import annotations

from app.exports import (
    pictures,
    selected,
    separability,
)
from app.exports.export import Export

__all__ = ["EXPORTS", "Export"]

#: Name, as in ``/export/<name>.pdf``, to what it is.
EXPORTS: dict[str, Export] = {
    **separability.EXPORTS,
    **pictures.EXPORTS,
    **selected.EXPORTS,
}
