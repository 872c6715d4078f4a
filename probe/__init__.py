"""An interpretability workbench for deepfake detectors.

Samples flow through an instrumented detector into a labeled store; every finding is a small
labeled table computed from the store. Heavy packages are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.artifacts import (
        ArtifactMeasurements,
        ArtifactReport,
        artifact_report,
        measure_artifacts,
    )
    from probe.attribution import AttributionMap, attribute
    from probe.attribution.findings import MapSimilarity, RegionAttention
    from probe.attribution.regions import attention_by_region
    from probe.attribution.similarity import map_similarity
    from probe.attribution.trust import TrustReport, trust_report
    from probe.claims import Claim, judge_claims
    from probe.datasets import Dataset, Samples, ingest, open_dataset
    from probe.datasets.audit import AuditReport, audit
    from probe.datasets.subset import shuffle_labels
    from probe.detectors import Detector, load_detector
    from probe.detectors.planted import planted_detector
    from probe.detectors.variants import plan_base, plan_tuned, train_base, train_tuned
    from probe.embed import Embeddings, embed_layers
    from probe.errors import ProbeError
    from probe.evaluation.matrix import ZeroShotMatrix, evaluate, predict
    from probe.hooks import capture, trace
    from probe.joint import joint_tables
    from probe.neurons import (
        Ablation,
        Calibration,
        HeadTable,
        NeuronTable,
        Universality,
        calibrate,
        compare_neurons,
        leave_one_out,
        match_units,
        neuron_importance,
        reappearing,
        top_units,
        universal_head,
        universal_neurons,
    )
    from probe.neurons.ablation import ablate, ablate_universal
    from probe.recording import record
    from probe.report.writing import write_report
    from probe.responses import ResponseReport, dose_response, relate, render_doses
    from probe.results import Result, open_result
    from probe.separability import (
        SeparabilityReport,
        Similarity,
        compare_features,
        measure_separability,
    )
    from probe.store import ActivationStore

__version__ = "0.2.0"

_HOMES = {
    "Ablation": "probe.neurons",
    "ActivationStore": "probe.store",
    "ArtifactMeasurements": "probe.artifacts",
    "ArtifactReport": "probe.artifacts",
    "AttributionMap": "probe.attribution",
    "AuditReport": "probe.datasets.audit",
    "Calibration": "probe.neurons",
    "Claim": "probe.claims",
    "Dataset": "probe.datasets",
    "Detector": "probe.detectors",
    "Embeddings": "probe.embed",
    "HeadTable": "probe.neurons",
    "MapSimilarity": "probe.attribution.findings",
    "NeuronTable": "probe.neurons",
    "ProbeError": "probe.errors",
    "RegionAttention": "probe.attribution.findings",
    "ResponseReport": "probe.responses",
    "Result": "probe.results",
    "Samples": "probe.datasets",
    "SeparabilityReport": "probe.separability",
    "Similarity": "probe.separability",
    "TrustReport": "probe.attribution.trust",
    "Universality": "probe.neurons",
    "ZeroShotMatrix": "probe.evaluation.matrix",
    "ablate": "probe.neurons.ablation",
    "ablate_universal": "probe.neurons.ablation",
    "artifact_report": "probe.artifacts",
    "attention_by_region": "probe.attribution.regions",
    "attribute": "probe.attribution",
    "audit": "probe.datasets.audit",
    "calibrate": "probe.neurons",
    "capture": "probe.hooks",
    "compare_features": "probe.separability",
    "compare_neurons": "probe.neurons",
    "dose_response": "probe.responses",
    "embed_layers": "probe.embed",
    "evaluate": "probe.evaluation.matrix",
    "ingest": "probe.datasets",
    "joint_tables": "probe.joint",
    "judge_claims": "probe.claims",
    "leave_one_out": "probe.neurons",
    "load_detector": "probe.detectors",
    "map_similarity": "probe.attribution.similarity",
    "match_units": "probe.neurons",
    "measure_artifacts": "probe.artifacts",
    "measure_separability": "probe.separability",
    "neuron_importance": "probe.neurons",
    "open_dataset": "probe.datasets",
    "open_result": "probe.results",
    "plan_base": "probe.detectors.variants",
    "plan_tuned": "probe.detectors.variants",
    "planted_detector": "probe.detectors.planted",
    "predict": "probe.evaluation.matrix",
    "reappearing": "probe.neurons",
    "record": "probe.recording",
    "relate": "probe.responses",
    "render_doses": "probe.responses",
    "shuffle_labels": "probe.datasets.subset",
    "top_units": "probe.neurons",
    "trace": "probe.hooks",
    "train_base": "probe.detectors.variants",
    "train_tuned": "probe.detectors.variants",
    "trust_report": "probe.attribution.trust",
    "universal_head": "probe.neurons",
    "universal_neurons": "probe.neurons",
    "write_report": "probe.report.writing",
}

__all__ = [
    "Ablation",
    "ActivationStore",
    "ArtifactMeasurements",
    "ArtifactReport",
    "AttributionMap",
    "AuditReport",
    "Calibration",
    "Claim",
    "Dataset",
    "Detector",
    "Embeddings",
    "HeadTable",
    "MapSimilarity",
    "NeuronTable",
    "ProbeError",
    "RegionAttention",
    "ResponseReport",
    "Result",
    "Samples",
    "SeparabilityReport",
    "Similarity",
    "TrustReport",
    "Universality",
    "ZeroShotMatrix",
    "ablate",
    "ablate_universal",
    "artifact_report",
    "attention_by_region",
    "attribute",
    "audit",
    "calibrate",
    "capture",
    "compare_features",
    "compare_neurons",
    "dose_response",
    "embed_layers",
    "evaluate",
    "ingest",
    "joint_tables",
    "judge_claims",
    "leave_one_out",
    "load_detector",
    "map_similarity",
    "match_units",
    "measure_artifacts",
    "measure_separability",
    "neuron_importance",
    "open_dataset",
    "open_result",
    "plan_base",
    "plan_tuned",
    "planted_detector",
    "predict",
    "reappearing",
    "record",
    "relate",
    "render_doses",
    "shuffle_labels",
    "top_units",
    "trace",
    "train_base",
    "train_tuned",
    "trust_report",
    "universal_head",
    "universal_neurons",
    "write_report",
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
