"""Neuron tables, universality, and how units compare across detectors."""

from probe.neurons.ablated import Ablation
from probe.neurons.comparing import Match, compare_neurons, match_units, reappearing
from probe.neurons.table import NeuronTable, ranks, strength
from probe.neurons.universality import CORRECTIONS, Universality, universal_neurons

__all__ = [
    "CORRECTIONS",
    "Ablation",
    "Match",
    "NeuronTable",
    "Universality",
    "compare_neurons",
    "match_units",
    "ranks",
    "reappearing",
    "strength",
    "universal_neurons",
]
