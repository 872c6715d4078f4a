"""Layers in two dimensions, each picture with how far it can be believed."""

from probe.embed.embedding import Projector, embed_layers, preservation, projector
from probe.embed.methods import METHODS
from probe.embed.table import Embeddings

__all__ = ["METHODS", "Embeddings", "Projector", "embed_layers", "preservation", "projector"]
