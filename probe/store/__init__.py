"""Recorded activations on disk: one labeled array per tap, written in batches and read lazily."""

from probe.store.reader import DTYPES, ActivationStore
from probe.store.writer import StoreWriter

__all__ = ["DTYPES", "ActivationStore", "StoreWriter"]
