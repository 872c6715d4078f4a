"""Neuron importance: causal sweeps over units, dataset by dataset, as a `NeuronTable`."""

from probe.importance.measures import MEASURES, Measure
from probe.importance.racing import TopUnits, top_units
from probe.importance.sweeping import ABLATIONS, GRIDS, MODES, OUTPUTS, Mode
from probe.importance.table import default_layer, neuron_importance, one_class

__all__ = [
    "ABLATIONS",
    "GRIDS",
    "MEASURES",
    "MODES",
    "OUTPUTS",
    "Measure",
    "Mode",
    "TopUnits",
    "default_layer",
    "neuron_importance",
    "one_class",
    "top_units",
]
