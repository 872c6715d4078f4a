"""Neurons: causal sweeps, importance, universality, ablation, and matching across detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from probe.neurons.matching import Match, compare_neurons, match_units, reappearing
from probe.neurons.table import Ablation, NeuronTable, ranks, strength
from probe.neurons.universality import CORRECTIONS, Universality, universal_neurons

if TYPE_CHECKING:
    from probe.neurons.ablation import ablate, ablate_universal
    from probe.neurons.calibration import RULES, Calibration, Draw, Verdict, calibrate
    from probe.neurons.importance import default_layer, neuron_importance, one_class
    from probe.neurons.measures import MEASURES, Measure
    from probe.neurons.screening import TopUnits, top_units
    from probe.neurons.sweep import ABLATIONS, GRIDS, MODES, OUTPUTS, Mode
    from probe.neurons.transfer import HEADS, Examples, HeadTable, leave_one_out, universal_head

__all__ = [
    "ABLATIONS",
    "CORRECTIONS",
    "GRIDS",
    "HEADS",
    "MEASURES",
    "MODES",
    "OUTPUTS",
    "RULES",
    "Ablation",
    "Calibration",
    "Draw",
    "Examples",
    "HeadTable",
    "Match",
    "Measure",
    "Mode",
    "NeuronTable",
    "TopUnits",
    "Universality",
    "Verdict",
    "ablate",
    "ablate_universal",
    "calibrate",
    "compare_neurons",
    "default_layer",
    "leave_one_out",
    "match_units",
    "neuron_importance",
    "one_class",
    "ranks",
    "reappearing",
    "strength",
    "top_units",
    "universal_head",
    "universal_neurons",
]

# Tables are read without what makes them: torch.
__getattr__, *_ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ablation": ["ablate", "ablate_universal"],
        "calibration": ["Calibration", "Draw", "RULES", "Verdict", "calibrate"],
        "importance": ["default_layer", "neuron_importance", "one_class"],
        "measures": ["MEASURES", "Measure"],
        "screening": ["TopUnits", "top_units"],
        "sweep": ["ABLATIONS", "GRIDS", "MODES", "Mode", "OUTPUTS"],
        "transfer": ["Examples", "HEADS", "HeadTable", "leave_one_out", "universal_head"],
    },
)
