"""A generic registry for detectors, dataset layouts, attribution methods and measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from probe.errors import UnknownNameError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """A mapping from names to entries, filled by a decorator; contract tests cover all entries.

    Parameters
    ----------
    kind : str
        Kind of the entries, for error messages ("detector", "layout").
    remedy : str, default ""
        Advice for unknown names ("List them with `probe detectors`.").
    """

    def __init__(self, kind: str, remedy: str = "") -> None:
        self.kind = kind
        self.remedy = remedy
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its argument under `name`.

        Raises
        ------
        ValueError
            If `name` is registered already; entries cannot be overridden.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """Return the entry of a name, or raise `UnknownNameError` with the closest names."""
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries, remedy=self.remedy) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
