"""Separability: how well features tell fakes from reals, methods and datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from probe.separability.probes import probe_differences
from probe.separability.report import Embeddings, SeparabilityReport, Similarity

if TYPE_CHECKING:
    from probe.separability.embedding import (
        METHODS,
        Projector,
        embed_layers,
        preservation,
        projector,
    )
    from probe.separability.measure import measure_separability
    from probe.separability.realfake import MEASURES
    from probe.separability.selection import compare_selection
    from probe.separability.similarity import compare_features

__all__ = [
    "METHODS",
    "Embeddings",
    "Projector",
    "embed_layers",
    "preservation",
    "projector",
    "MEASURES",
    "SeparabilityReport",
    "Similarity",
    "compare_features",
    "compare_selection",
    "measure_separability",
    "probe_differences",
]

# Reports are read without what computes them: scikit-learn.
__getattr__, *_ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "embedding": ["METHODS", "Projector", "embed_layers", "preservation", "projector"],
        "measure": ["measure_separability"],
        "realfake": ["MEASURES"],
        "selection": ["compare_selection"],
        "similarity": ["compare_features"],
    },
)
