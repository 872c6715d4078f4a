"""An interpretability workbench for deepfake detectors.

Samples flow through an instrumented detector into a labelled store; every finding is a small
labelled table computed from the store. Heavy packages are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.attribution import AttributionMap, attribute
    from probe.datasets import Dataset, Samples, ingest, open_dataset
    from probe.datasets.audit import AuditReport, audit
    from probe.detectors import Detector, load_detector
    from probe.detectors.evaluation import ZeroShotMatrix, evaluate, predict
    from probe.detectors.variants import plan_base, plan_tuned, train_base, train_tuned
    from probe.errors import ProbeError
    from probe.hooks import capture, trace
    from probe.importance import neuron_importance
    from probe.neurons import NeuronTable, Universality, universal_neurons
    from probe.recording import record
    from probe.store import ActivationStore

__version__ = "0.2.0"

_HOMES = {
    "ActivationStore": "probe.store",
    "AttributionMap": "probe.attribution",
    "AuditReport": "probe.datasets.audit",
    "Dataset": "probe.datasets",
    "Detector": "probe.detectors",
    "NeuronTable": "probe.neurons",
    "ProbeError": "probe.errors",
    "Samples": "probe.datasets",
    "Universality": "probe.neurons",
    "ZeroShotMatrix": "probe.detectors.evaluation",
    "attribute": "probe.attribution",
    "audit": "probe.datasets.audit",
    "capture": "probe.hooks",
    "evaluate": "probe.detectors.evaluation",
    "ingest": "probe.datasets",
    "load_detector": "probe.detectors",
    "neuron_importance": "probe.importance",
    "open_dataset": "probe.datasets",
    "plan_base": "probe.detectors.variants",
    "plan_tuned": "probe.detectors.variants",
    "predict": "probe.detectors.evaluation",
    "record": "probe.recording",
    "trace": "probe.hooks",
    "train_base": "probe.detectors.variants",
    "train_tuned": "probe.detectors.variants",
    "universal_neurons": "probe.neurons",
}

__all__ = [
    "ActivationStore",
    "AttributionMap",
    "AuditReport",
    "Dataset",
    "Detector",
    "NeuronTable",
    "ProbeError",
    "Samples",
    "Universality",
    "ZeroShotMatrix",
    "attribute",
    "audit",
    "capture",
    "evaluate",
    "ingest",
    "load_detector",
    "neuron_importance",
    "open_dataset",
    "plan_base",
    "plan_tuned",
    "predict",
    "record",
    "trace",
    "train_base",
    "train_tuned",
    "universal_neurons",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'probe' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    # Afterwards the name is a plain attribute; submodules of one name ("record") yield to it.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
