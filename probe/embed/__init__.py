"""Two-dimensional embeddings of layers, with measures of how faithful each one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from probe.embed.table import Embeddings

if TYPE_CHECKING:
    from probe.embed.embedding import METHODS, Projector, embed_layers, preservation, projector

__all__ = ["METHODS", "Embeddings", "Projector", "embed_layers", "preservation", "projector"]

# Pictures are read without what draws them: scikit-learn, UMAP and t-SNE.
__getattr__, *_ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "embedding": ["METHODS", "Projector", "embed_layers", "preservation", "projector"],
    },
)
