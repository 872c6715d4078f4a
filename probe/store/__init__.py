"""Recorded activations on disk: one labeled array a tap, written in batches, read lazily."""

from probe.store.layout import DTYPES
from probe.store.reading import ActivationStore
from probe.store.writing import StoreWriter

__all__ = ["DTYPES", "ActivationStore", "StoreWriter"]
