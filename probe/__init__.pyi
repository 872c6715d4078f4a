from . import plots as plots
from .artifacts import (
    ArtifactMeasurements,
    ArtifactReport,
    ResponseReport,
    artifact_report,
    dose_response,
    measure_artifacts,
    relate,
    render_doses,
)
from .attribution import AttributionMap, attribute
from .attribution.findings import MapSimilarity, RegionAttention
from .attribution.regions import attention_by_region
from .attribution.similarity import map_similarity
from .attribution.trust import TrustReport, trust_report
from .claims import Claim, judge_claims
from .datasets import Dataset, Samples, ingest, open_dataset
from .datasets.audit import AuditReport, audit
from .datasets.subset import shuffle_labels
from .detectors import Detector, load_detector
from .detectors.planted import planted_detector
from .detectors.variants import plan_base, plan_tuned, train_base, train_tuned
from .errors import ProbeError
from .evaluation.matrix import ZeroShotMatrix, evaluate, predict
from .hooks import capture, trace
from .joint import joint_tables
from .neurons import (
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
from .neurons.ablation import ablate, ablate_universal
from .reader import Run, open_run
from .recording import record
from .report.output import write_report
from .reproduction.run import reproduce
from .reproduction.table import Reproduction
from .results import Result, open_result
from .separability import (
    Embeddings,
    SeparabilityReport,
    Similarity,
    compare_features,
    embed_layers,
    measure_separability,
)
from .store import ActivationStore

__version__: str

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
    "Reproduction",
    "ResponseReport",
    "Result",
    "Run",
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
    "open_run",
    "plan_base",
    "plan_tuned",
    "planted_detector",
    "predict",
    "reappearing",
    "record",
    "relate",
    "render_doses",
    "reproduce",
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
