"""`run_study`: run the stages of a study, and reuse existing results."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pandas import DataFrame

from probe.artifacts import ArtifactReport, ResponseReport
from probe.claims import Claim, write_claims
from probe.compute import FLOAT32, check_precision, resolve_device
from probe.datasets import Dataset
from probe.datasets.audit import AuditReport, audit
from probe.datasets.loader import decoding_by
from probe.detectors import Detector, load_detector
from probe.detectors.training import OtherTrainingError
from probe.detectors.variants import plan_base, plan_tuned, train_base, train_tuned
from probe.errors import DatasetError, ProbeError, StoreError
from probe.evaluation.matrix import ZeroShotMatrix, evaluate
from probe.hooks import trace
from probe.images import roots_note, roots_of
from probe.joint import write_joint
from probe.neurons import Ablation, NeuronTable, Universality, neuron_importance, universal_neurons
from probe.neurons.ablation import NoSetsError, ablate_universal
from probe.progress import note
from probe.recording import record
from probe.report.output import write_document
from probe.run import RunFolder
from probe.schema import VARIANTS
from probe.separability import SeparabilityReport
from probe.study.analyses import Explanations, explain, measure, respond, separate
from probe.study.data import (
    LeftOut,
    check_needs,
    divisible,
    dominating,
    open_data,
    sources_of,
    swept,
)
from probe.study.figures import (
    draw_analyses,
    draw_explanations,
    draw_figures,
    draw_joint,
    keep_thumbnails,
)
from probe.study.plan import Study, layer_of, variant_of
from probe.study.provenance import Provenance, measured
from probe.study.stages import (
    AUDIT_FILE,
    accept,
    clear,
    exported,
    holds,
    in_order,
    kept,
    places_of,
    prune,
    require_layers,
    stages_of,
)

__all__ = ["Outcome", "run_study"]


@dataclass(frozen=True)
class Outcome:
    """Results of a study.

    Attributes
    ----------
    matrix : ZeroShotMatrix
        Evaluation of all detectors on all datasets.
    universality : dict
        Detector label to its tests and counts of universal units.
    ablation : dict
        Detector label to the effect of ablating its universal units; detectors without such units
        are missing.
    audit : AuditReport
        Findings of the data audit.
    places : dict
        Result to its path.
    separability, artifacts, responses
        Separability of features by detector, image measurements, and unit responses by detector.
        Empty or None if not requested.
    attribution : Explanations
        Reliability of heatmaps, region attention, and similarity of variants.
    claims : tuple of Claim
        Verdicts on the study's three claims.
    left_out : tuple of LeftOut
        What could not be measured, and the reasons.
    """

    matrix: ZeroShotMatrix
    universality: dict[str, Universality]
    ablation: dict[str, Ablation]
    audit: AuditReport
    places: dict[str, Path]
    separability: dict[str, SeparabilityReport]
    artifacts: ArtifactReport | None
    responses: dict[str, ResponseReport]
    attribution: Explanations
    claims: tuple[Claim, ...]
    left_out: tuple[LeftOut, ...]


def run_study(study: Study, command: str = "") -> Outcome:
    """Run all stages of a study; finished results of an earlier run are reused.

    A run can be interrupted at any moment. Rerun, it resumes, and ends with the same tables.

    Parameters
    ----------
    study : Study
        Study to run.
    command : str, optional
        Command line that repeats the run, for the provenance.

    Returns
    -------
    Outcome
        Results and their paths.

    Raises
    ------
    ProbeError
        If a requirement is missing or does not fit, before anything is trained. Results that the
        data do not allow, such as universality over one dataset, are left out and reported.
    """
    device = resolve_device(study.compute.device)
    check_precision(study.compute.precision, device)
    with decoding_by(study.compute.n_workers):
        return _run_study(study, command, device)


def _run_study(study: Study, command: str, device: torch.device) -> Outcome:
    require_layers(study)
    run = _Run(study, command, device)
    data = run.stage("data", run.open_data)
    found = run.stage("audit", lambda: run.audit(data))
    detectors = run.stage("detectors", lambda: run.detectors(data))
    test = data.select(split=study.evaluation.split)
    matrix = run.stage("evaluation", lambda: run.evaluate(detectors, test))
    run.stage("activations", lambda: run.record(detectors, test))
    universality = run.stage("neurons", lambda: run.count(detectors, test))
    ablated = run.stage("ablation", lambda: run.ablate(detectors, test))
    told = run.stage("separability", lambda: run.separate(detectors, test))
    measured = run.stage("artifacts", lambda: measure(study, run.folder, test))
    asked = run.stage("responses", lambda: run.respond(detectors, universality, measured))
    explained = run.stage("attribution", lambda: run.explain(detectors, test))

    def draw() -> tuple[dict[str, DataFrame], tuple[Claim, ...]]:
        tables = write_joint(run.folder)
        claims = write_claims(run.folder, tables)
        draw_figures(study, run.folder, detectors, test, matrix, universality)
        draw_analyses(study, run.folder, told, measured, asked)
        draw_explanations(study, run.folder, explained)
        draw_joint(study, run.folder, tables)
        keep_thumbnails(study, run.folder, study.labels, test)
        return tables, claims

    tables, claims = run.stage("figures", draw)
    run.finish()
    write_document(run.folder, tables, claims, run.folder.report)
    reports = told, measured[1] if measured else None, asked, explained
    places, missing = places_of(run.folder), tuple(run.left_out)
    return Outcome(matrix, universality, ablated, found, places, *reports, claims, missing)


class _Run:
    """Stages of a run, with the manifest that the dashboard reads, and the provenance."""

    def __init__(self, study: Study, command: str, device: torch.device) -> None:
        self.study, self.command, self.device = study, command, device
        self.folder = RunFolder(study.out)
        self.seed = study.seeds[0]
        self.stages: list[dict[str, Any]] = []
        self.planned = [stage.name for stage in stages_of(study)]
        self.datasets: list[str] = []
        self.images: dict[str, Any] = {"images": study.images}
        self.left_out: list[LeftOut] = []
        self.earlier = _earlier_seconds(self.folder)
        self.created = datetime.now(UTC).isoformat(timespec="seconds")
        self._require_folder()
        said, again = accept(study)
        if said:
            note(said)
        # Durations of stages with other settings do not apply.
        self.earlier = {name: s for name, s in self.earlier.items() if name not in again}
        self.provenance = Provenance.begin(
            study.out, command, study.model_dump(mode="json"), study.fingerprint
        )
        self.provenance.content["device"] = str(device)
        self._write(complete=False)

    def _require_folder(self) -> None:
        """Create the run folder; raise `ProbeError` if that is impossible."""
        try:
            self.study.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProbeError(
                f"The run folder {str(self.study.out)!r} cannot be created ({error.strerror}). "
                "Give another with --out."
            ) from error

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        """Run one stage and record its resources, also if it is interrupted."""
        self.stages.append({"name": name, "done": False, "seconds": 0.0})
        self._write(complete=False)
        try:
            with measured(self.folder.root) as usage:
                result = work()
        finally:
            self.provenance.add_usage(name, usage)
            self.provenance.write()
        # A reused stage shows the time of its computation.
        shown = max(usage.seconds, self.earlier.get(name, 0.0))
        self.stages[-1] = {"name": name, "done": True, "seconds": shown}
        self._write(complete=False)
        return result

    def finish(self) -> None:
        """Mark the run as complete, and remove results of detectors that it no longer has."""
        prune(self.study)
        self._write(complete=True)

    def open_data(self) -> Dataset:
        data = open_data(self.study, self.folder.root)
        self.left_out = check_needs(self.study, data)
        self.datasets = list(data.select(split=self.study.evaluation.split).by_dataset())
        self.images = roots_note(roots_of(data, sources_of(self.study)), self.study.images)
        if said := dominating(data, self.study.evaluation.split):
            note(said)
        self.provenance.content["dominating"] = said
        self.provenance.content["data"] = {
            f"{name}/{split}": part.select(split=split).fingerprint
            for name, part in data.by_dataset().items()
            for split in dict.fromkeys(part.samples.table["split"])
        }
        return data

    def audit(self, data: Dataset) -> AuditReport:
        found = audit(data, n_workers=self.study.compute.n_workers)
        found.save(self.folder.root / AUDIT_FILE)
        return found

    def detectors(self, data: Dataset) -> list[Detector]:
        plan = self.study.detectors
        out = [one for seed in self.study.seeds for one in self._trained(data, seed)]
        out += [
            _called(
                load_detector(
                    one.name, weights=one.file, input_size=plan.input_size, device=self.device
                ),
                one.variant,
            )
            for one in plan.weights
        ]
        self.provenance.content["weights"] = {one.name: one.fingerprint for one in out}
        return out

    def _trained(self, data: Dataset, seed: int) -> Iterator[Detector]:
        plan = self.study.detectors
        for name in plan.names:
            source = data.select(dataset=plan.source)
            base_plan = plan_base(
                name,
                seed=seed,
                **_given(
                    epochs=plan.base.epochs_of(name),
                    batch_size=plan.base.batch_size,
                    max_validation=plan.base.validation,
                ),
            )
            base = self._once(
                train_base,
                self._place(name, VARIANTS[0], seed),
                name,
                source,
                input_size=plan.input_size,
                plan=base_plan,
                device=self.device,
            )
            for variant in plan.variants:
                if variant == VARIANTS[0]:
                    yield self._labeled(base, variant, seed)
                    continue
                tuned_plan = plan_tuned(
                    name,
                    variant,
                    seed=seed,
                    freeze_batchnorm=plan.tuned.freeze_batchnorm,
                    **_given(
                        epochs=plan.tuned.epochs_of(name),
                        steps=plan.tuned.steps,
                        batch_size=plan.tuned.batch_size,
                        max_validation=plan.tuned.validation,
                    ),
                )
                target = data.select(dataset=list(plan.target))
                tuned = self._once(
                    train_tuned,
                    self._place(name, variant, seed),
                    base,
                    source,
                    target,
                    variant=variant,
                    plan=tuned_plan,
                )
                yield self._labeled(tuned, variant, seed)

    def _once(
        self, train: Callable[..., Detector], place: Path, *given: Any, **options: Any
    ) -> Detector:
        """Train a detector; an existing one of another plan or other data is replaced."""
        try:
            return train(*given, out=place, **options)
        except OtherTrainingError as why:
            note(f"{str(why).split('. ')[0]}: it is retrained.")
            shutil.rmtree(place)
            return train(*given, out=place, **options)

    def _place(self, name: str, variant: str, seed: int) -> Path:
        return self.folder.detector(f"{name}/{variant_of(variant, seed, self.study.seeds)}")

    def _labeled(self, detector: Detector, variant: str, seed: int) -> Detector:
        return _called(detector, variant_of(variant, seed, self.study.seeds))

    def evaluate(self, detectors: list[Detector], test: Dataset) -> ZeroShotMatrix:
        plan, place = self.study.evaluation, self.folder.path("evaluation")
        wanted = {
            "detectors": {one.name: one.fingerprint for one in detectors},
            "data": {name: part.fingerprint for name, part in test.by_dataset().items()},
            "ci": plan.ci,
            "seed": self.seed,
            **self._reduced(),
        }
        if holds(place, wanted):
            return exported(ZeroShotMatrix.open(place), place)
        matrix = evaluate(
            detectors,
            test,
            n_resamples=plan.resamples,
            ci=plan.ci,
            seed=self.seed,
            precision=self.study.compute.precision,
        )
        return kept(matrix, place)

    def _reduced(self) -> dict[str, str]:
        """Return the attributes of tables computed in a lower precision."""
        precision = self.study.compute.precision
        return {} if precision == FLOAT32 else {"precision": precision}

    def record(self, detectors: list[Detector], test: Dataset) -> None:
        plan = self.study.record
        for one in detectors if plan.layers else ():
            layers = in_order(one, [_layer(one, name) for name in plan.layers])
            place = self.folder.store(one.name)
            options: dict[str, Any] = {
                "dtype": plan.dtype,
                "precision": self.study.compute.precision,
            }
            try:
                record(one, test, place, layers=layers, **options)
            except StoreError:
                # The existing store belongs to other weights or images.
                shutil.rmtree(place, ignore_errors=True)
                record(one, test, place, layers=layers, **options)

    def count(self, detectors: list[Detector], test: Dataset) -> dict[str, Universality]:
        out: dict[str, Universality] = {}
        nulls: dict[str, NeuronTable] = {}
        parts = swept(self.study, test)
        for one in detectors:
            table = self._neuron_table(one, parts, nulls.get(one.spec.name)) if parts else None
            if table is not None:
                nulls[one.spec.name] = table
            place = self.folder.path("universality", one.name)
            if table is None or table.data.sizes["dataset"] < 2:
                clear(place)
                continue
            out[one.name] = kept(self._universality(table), place)
        return out

    def _universality(self, table: NeuronTable) -> Universality:
        plan = self.study.neurons
        return universal_neurons(
            table, plan.top, alpha=plan.alpha, correction=plan.correction, seed=self.seed
        )

    def ablate(self, detectors: list[Detector], test: Dataset) -> dict[str, Ablation]:
        """Ablate units found on one half of the identities, and measure on the other half."""
        plan, out = self.study.neurons, dict[str, Ablation]()
        notes = self.provenance.content["no_ablation"] = dict[str, str]()
        parts = divisible(self.study, test) if plan.ablate else []
        for one in detectors if len(parts) > 1 else ():
            place, layer = self.folder.path("ablation", one.name), _layer(one, plan.layer)
            wanted = {
                "detectors": {one.name: one.fingerprint},
                "layer": trace(one).resolve(layer),
                "seed": self.seed,
                "data": {part.name: part.fingerprint for part in parts},
                "n_random": plan.random,
            }
            if holds(place, wanted):
                out[one.name] = exported(Ablation.open(place), place)
                continue
            try:
                found = ablate_universal(
                    one,
                    parts,
                    layer,
                    top=plan.top,
                    alpha=plan.alpha,
                    correction=plan.correction,
                    seed=self.seed,
                    n_random=plan.random,
                    ci=self.study.evaluation.ci,
                )
            except (NoSetsError, DatasetError) as why:
                # There is nothing to ablate; a table of an earlier run does not apply.
                notes[one.name] = str(why)
                clear(place)
                continue
            out[one.name] = kept(found, place)
        self._leave_out("ablation", notes)
        return out

    def separate(self, detectors: list[Detector], test: Dataset) -> dict[str, SeparabilityReport]:
        notes = dict[str, str]()
        out = separate(self.study, self.folder, detectors, test, notes)
        self._leave_out("separability", notes)
        return out

    def respond(
        self, detectors: list[Detector], universality: dict[str, Universality], measured: Any
    ) -> dict[str, ResponseReport]:
        notes = self.provenance.content["no_correlations"] = dict[str, str]()
        images = measured[0] if measured else None
        out = respond(self.study, self.folder, detectors, universality, images, notes)
        self._leave_out("responses", notes)
        return out

    def explain(self, detectors: list[Detector], test: Dataset) -> Explanations:
        notes = self.provenance.content["no_attribution"] = dict[str, str]()
        out = explain(self.study, self.folder, detectors, test, notes)
        self._leave_out("attribution", notes)
        return out

    def _leave_out(self, stage: str, notes: Mapping[str, str]) -> None:
        """Record what a stage left out; keys of notes are a detector, optionally with a part."""
        for key, why in notes.items():
            those = [one for one in self.study.labels if f"{key} ".startswith(f"{one} ")]
            label = max(those, key=len, default="")
            what = key.removeprefix(label).strip()
            self.left_out.append(LeftOut(stage, "", label, f"{what}: {why}" if what else why))

    def _neuron_table(
        self, detector: Detector, parts: list[Dataset], null_of: NeuronTable | None
    ) -> NeuronTable:
        plan, place = self.study.neurons, self.folder.path("neurons", detector.name)
        wanted = {
            "detectors": {detector.name: detector.fingerprint},
            "data": {part.name: part.fingerprint for part in parts},
            "layer": _layer(detector, plan.layer),
            "mode": plan.mode,
            "order": plan.order,
            "seed": self.seed,
            "measure": plan.measure,
            "result_version": NeuronTable.VERSION,
            **self._reduced(),
        }
        if holds(place, wanted):
            return exported(NeuronTable.open(place), place)
        table = neuron_importance(
            detector,
            parts,
            _layer(detector, plan.layer),
            measure=plan.measure,
            n_values=plan.values,
            mode=plan.mode,
            order=plan.order,
            n_untrained=plan.untrained,
            null_of=null_of,
            seed=self.seed,
            precision=self.study.compute.precision,
        )
        return kept(table, place)

    def _write(self, complete: bool) -> None:
        names = ("deepfake-probe", "torch", "timm", "captum", "numpy", "xarray", "zarr")
        versions = self.provenance.content["versions"]
        self.provenance.content["left_out"] = [asdict(one) for one in self.left_out]
        labels, layer = self.study.labels, self.study.neurons.layer
        self.folder.write_manifest(
            {
                "title": self.study.title,
                "command": self.command,
                "created": self.created,
                "complete": complete,
                "simulated": all(entry.is_lab for entry in self.study.datasets),
                "source": self.study.detectors.source or "",
                "seed": self.seed,
                "study": self.study.fingerprint,
                "stages": self.stages,
                "planned": self.planned,
                "left_out": [asdict(one) for one in self.left_out],
                "detectors": labels,
                "datasets": self.datasets or self.study.known_names,
                "layers": {one: layer_of(one.split("/")[0], layer) for one in labels},
                "versions": {name: versions[name] for name in names},
                **self.images,
            }
        )


def _called(detector: Detector, variant: str) -> Detector:
    return Detector(detector.module, replace(detector.spec, variant=variant))


def _given(**values: int | None) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _layer(detector: Detector, name: str) -> str:
    return layer_of(detector.spec.name, name)


def _earlier_seconds(folder: RunFolder) -> dict[str, float]:
    """Return the seconds of each stage that an earlier run in the same folder finished."""
    try:
        stages = folder.read_manifest()["stages"]
    except (StoreError, KeyError):
        return {}
    return {stage["name"]: stage["seconds"] for stage in stages if stage["done"]}
