"""Two-dimensional embeddings of layers, with measures of how faithful each one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.embed.table import Embeddings
from probe.lazy import lazily

if TYPE_CHECKING:
    from probe.embed.embedding import METHODS, Projector, embed_layers, preservation, projector

__all__ = ["METHODS", "Embeddings", "Projector", "embed_layers", "preservation", "projector"]

# A stored table must be readable without scikit-learn, UMAP and t-SNE.
__getattr__ = lazily(
    __name__,
    {
        "METHODS": "probe.embed.embedding",
        "Projector": "probe.embed.embedding",
        "embed_layers": "probe.embed.embedding",
        "preservation": "probe.embed.embedding",
        "projector": "probe.embed.embedding",
    },
)
