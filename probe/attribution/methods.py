"""All attribution methods; importing this module registers them."""

from __future__ import annotations

from probe.attribution import cams, gradients, perturbation, relevance
from probe.attribution.problem import METHODS, Method, Refusal

__all__ = ["FAMILIES", "METHODS", "Method", "Refusal"]

#: Modules of methods by family, for lists of methods.
FAMILIES = {
    "maps of a layer": cams,
    "gradients": gradients,
    "parts taken away": perturbation,
    "relevance and attention": relevance,
}
