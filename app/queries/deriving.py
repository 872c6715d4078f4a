"""What is worked out from opened tables, kept as long as they stay the same."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

__all__ = ["derived", "shared"]

T = TypeVar("T")
P = ParamSpec("P")

#: Results that stay in memory. What is large holds its tables' columns and few copies of them.
MOST = 256

_FOUND: OrderedDict[tuple[Hashable, ...], _Entry] = OrderedDict()
_LOCK = threading.Lock()


class _Entry:
    """A result with what it came from, whose identity stands for its content while it lives."""

    def __init__(self, sources: tuple[Any, ...]) -> None:
        self.sources = sources
        self.lock = threading.Lock()
        self.result: list[Any] = []


def shared(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep results by arguments as `functools.lru_cache` does, and work each out only once.

    Visitors who ask for the same at the same time wait for the first; otherwise each would take
    the time and the memory.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        kept: Any = lru_cache(maxsize=maxsize)(function)
        locks = lru_cache(maxsize=4 * maxsize)(lambda *given: threading.RLock())

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with _LOCK:
                lock = locks(*args, *kwargs.items())
            with lock:
                found: T = kept(*args, **kwargs)
            return found

        call.__dict__["cache_clear"] = kept.cache_clear
        return call

    return decorate


def derived(make: Callable[..., T], sources: tuple[Any, ...], *settings: Hashable) -> T:
    """Return ``make(*sources, *settings)``, worked out once for these very objects.

    `Run` gives the same object for a table until its file changes, so that a result is renewed
    just when its tables are. Users who ask at the same time wait for one of them.

    Parameters
    ----------
    make : callable
        Its result is shared and must not be changed. Errors are not kept.
    sources : tuple
        Objects of which the result is made.
    *settings : hashable
        Further arguments.
    """
    key = (make, *map(id, sources), *settings)
    with _LOCK:
        entry = _FOUND.setdefault(key, _Entry(sources))
        _FOUND.move_to_end(key)
        while len(_FOUND) > MOST:
            _FOUND.popitem(last=False)
    with entry.lock:
        if not entry.result:
            entry.result.append(make(*sources, *settings))
        found: T = entry.result[0]
    return found
