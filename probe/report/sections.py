"""Sections of a run's report, made from its tables alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probe.claims import VERDICTS, Claim
from probe.datasets.dataset import SAMPLES_FILE
from probe.errors import StoreError
from probe.evaluation.table import trained_on
from probe.joint import JOINT
from probe.neurons.table import MEAN
from probe.report.document import (
    Block,
    Facts,
    Items,
    Section,
    Table,
    Text,
    Verdict,
    drawn,
    spanned,
    stored,
)
from probe.report.published import beside_published, why_none
from probe.run import RunFolder, read_json, slug
from probe.schema import SPLITS
from probe.tables import open_table, parsed

if TYPE_CHECKING:
    from probe.datasets.audit import AuditReport

__all__ = ["QUESTION", "Material", "head_of", "sections_of"]

QUESTION = (
    "How far do deepfake detectors generalize to datasets that they were not trained on, what do "
    "they learn instead, and do some of their neurons contribute on every dataset?"
)

#: Training epochs in the study (arXiv:2308.04177) of base and of tuned variants.
STUDY_EPOCHS = {"base": 100, "tuned": 50}

#: Maximum number of listed audit findings.
MOST = 30

ALPHA = 0.05


@dataclass(frozen=True)
class Material:
    """Everything that a report is made from: a run, its joint tables, and the claims.

    Attributes
    ----------
    folder : RunFolder
        Folder of the run.
    tables : mapping
        Joint tables by name, as returned by `probe.joint.joint_tables`.
    claims : tuple of Claim
        Judged claims, as returned by `probe.claims.judge_tables`.
    """

    folder: RunFolder
    tables: Mapping[str, pd.DataFrame]
    claims: tuple[Claim, ...]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The run's manifest."""
        return self.folder.read_manifest()

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """The run's provenance; empty where there is none."""
        return self.folder.read_provenance()

    @property
    def detectors(self) -> list[str]:
        """Labels of all detectors."""
        return [str(label) for label in self.manifest.get("detectors", [])]

    @property
    def datasets(self) -> list[str]:
        """Names of all datasets."""
        return [str(name) for name in self.manifest.get("datasets", [])]

    @property
    def architectures(self) -> list[str]:
        """Names of all architectures."""
        return list(dict.fromkeys(label.rpartition("/")[0] or label for label in self.detectors))

    @cached_property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the zero-shot matrix; empty where there is none."""
        if not self.folder.path("evaluation").is_dir():
            return {}
        found = open_table(self.folder.path("evaluation")).attrs
        return {str(key): parsed(value) for key, value in found.items()}

    @cached_property
    def samples(self) -> pd.DataFrame | None:
        """The columns of the sample table that the report counts; None if there is no table."""
        file = self.folder.data / SAMPLES_FILE
        columns = ["dataset", "split", "label", "method", "video", "identity"]
        return pd.read_parquet(file, columns=columns) if file.is_file() else None

    @cached_property
    def cards(self) -> dict[str, dict[str, Any]]:
        """Cards of the detectors trained in the run, by label."""
        found = {
            label: read_json(self.folder.detector(label) / "card.json") for label in self.detectors
        }
        return {label: card for label, card in found.items() if card}

    @property
    def audit(self) -> AuditReport | None:
        """The audit of the data; None if there is none."""
        from probe.datasets.audit import AuditReport

        found = read_json(self.folder.root / "audit.json")
        try:
            return AuditReport.from_dict(found) if found else None
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                "The run's audit.json is damaged. Remove it and rerun the command of the run."
            ) from error

    def spec(self, label: str) -> dict[str, Any]:
        """Return the spec of a detector, as stored with the zero-shot matrix."""
        specs = self.attrs.get("specs", {})
        found = specs.get(label, {}) if isinstance(specs, dict) else {}
        return found if isinstance(found, dict) else {}


def head_of(run: Material) -> list[Block]:
    """Return the head of the report: question, run, warnings, and the verdict on each claim."""
    manifest = run.manifest
    made = str(manifest.get("created", ""))[:10]
    several = f"{len(run.detectors)} detectors on {len(run.datasets)} datasets"
    blocks: list[Block] = [
        Text(QUESTION),
        Text(f"A run of probe: {several}, made {made or 'at an unknown date'}.", "small"),
    ]
    if manifest.get("simulated"):
        blocks.append(
            Text(
                "Simulated data: the images are rendered by the embedded lab. Nothing here is a "
                "finding about real forgeries or about published detectors.",
                "note",
            )
        )
    if not manifest.get("complete"):
        left = ", ".join(_unfinished(manifest)) or "its last step"
        blocks.append(
            Text(
                f"This run is not finished (remaining: {left}). The report covers what has been "
                "computed; rerun the command to resume the run.",
                "missing",
            )
        )
    rows = [(f"{i}. {claim.title}.", _worded(claim)) for i, claim in enumerate(run.claims, 1)]
    return [*blocks, Items(rows)]


def _worded(claim: Claim) -> str:
    """Return a claim's summary after its verdict, in the form that the page shows as a badge."""
    return f"{claim.verdict}: {claim.summary().partition('. ')[2]}"


def _unfinished(manifest: Mapping[str, Any]) -> list[str]:
    done = {stage["name"] for stage in manifest.get("stages", []) if stage.get("done")}
    return [str(name) for name in manifest.get("planned", []) if name not in done]


def sections_of(run: Material) -> list[Section]:
    """Return all sections; each states what the run lacks."""
    makers = (
        _run,
        _generalization,
        _artifacts_claim,
        _neurons,
        _separability,
        _artifacts,
        _heatmaps,
        _audit,
        _limits,
        _provenance,
    )
    return [make(run) for make in makers]


def _lacking(what: str) -> Text:
    return Text(f"{what} not in this run.", "missing")


# --- What was run ------------------------------------------------------------------------------


def _run(run: Material) -> Section:
    blocks: list[Block] = [_data_table(run), *_caps(run), _detector_table(run), *_times(run)]
    return Section("run", "What was run", blocks)


def _data_table(run: Material) -> Block:
    table = run.samples
    if table is None:
        return _lacking("The sample table is")
    splits = [name for name in SPLITS if name in set(table["split"])]
    rows = []
    for name, part in table.groupby("dataset", sort=False):
        cells = []
        for split in splits:
            own = part[part["split"] == split]
            fakes = int(own["label"].sum())
            cells += [f"{len(own) - fakes:,} + {fakes:,}", _people(own)] if len(own) else ["–", "–"]
        source = " (source)" if name == run.manifest.get("source") else ""
        rows.append([f"{name}{source}", *cells])
    head = [word for split in splits for word in (split, "videos (identities)")]
    caption = "Datasets: images used in each split, real + fake."
    return Table(caption, ["dataset", *head], rows)


def _people(rows: pd.DataFrame) -> str:
    """Format the number of videos, and of identities if they are known."""
    people = rows["identity"][rows["identity"] != ""].nunique()
    videos = len(rows[["method", "video", "label"]].drop_duplicates())
    return f"{videos:,} ({people:,})" if people else f"{videos:,} (unknown)"


def _caps(run: Material) -> list[Block]:
    study = run.provenance.get("study", {})
    if not isinstance(study, dict) or not study:
        return []
    whole = (study.get("budget") or {}).get("images")
    own = {
        str(
            entry.get("name") or entry.get("part") or entry.get("open") or entry.get("layout")
        ): entry["images"]
        for entry in study.get("datasets", [])
        if isinstance(entry, dict) and entry.get("images")
    }
    said = [f"at most {whole} per dataset and split"] if whole else []
    said += [f"of {name}, at most {_cap(cap)}" for name, cap in own.items()]
    text = "; ".join(said) if said else "all"
    return [Text(f"Images used: {text}.", "small")]


def _cap(cap: Any) -> str:
    if isinstance(cap, dict):
        return ", ".join(f"{number} ({split})" for split, number in cap.items())
    return f"{cap} per split"


def _detector_table(run: Material) -> Block:
    rows = []
    for label in run.detectors:
        card, spec = run.cards.get(label, {}), run.spec(label)
        plan = (card.get("training") or {}).get("plan") or {}
        metrics = card.get("metrics") or {}
        seen = ", ".join(trained_on({label: spec or card.get("spec", {})}, label)) or "unknown"
        steps = plan.get("steps")
        length = f"{plan['epochs']}" + (f" × {steps} steps" if steps else "") if plan else ""
        length = length or ("pretrained" if spec.get("origin", "trained") != "trained" else "–")
        best = metrics.get("best_epoch")
        rows.append(
            [
                label,
                seen,
                length,
                "–" if best is None else str(int(best) + 1),
                spanned(metrics.get("val_auroc", np.nan)),
                str(plan.get("seed", "–")),
            ]
        )
    head = ["detector", "trained on", "epochs", "best epoch", "val AUROC", "seed"]
    return Table(
        "Detectors. The checkpoint with the best validation AUROC is kept.", head, rows, texts=2
    )


def _times(run: Material) -> list[Block]:
    found = run.provenance
    stages = found.get("stages") or {}
    if not stages:
        return []
    memory, disk = found.get("peak_memory") or {}, found.get("disk") or {}
    noted = [("peak memory", memory), ("disk", disk)]
    noted = [(name, those) for name, those in noted if any(those.values())]
    rows = [
        [str(name), f"{float(seconds):,.0f}", *(_bytes(those.get(name)) for _, those in noted)]
        for name, seconds in sorted(stages.items(), key=lambda pair: _place(run, pair[0]))
    ]
    rows.append(["total", f"{sum(map(float, stages.values())):,.0f}", *([""] * len(noted))])
    head = ["stage", "seconds", *(name for name, _ in noted)]
    compute = (found.get("study") or {}).get("compute") or {}
    used = found.get("device") or compute.get("device")
    text = f"Devices: {', '.join(map(str, found.get('devices', []))) or 'not recorded'}"
    text += f"; requested: {used}." if used else "."
    return [Table("Time and resources by stage.", head, rows), Text(text, "small")]


def _place(run: Material, name: str) -> int:
    planned = list(run.manifest.get("planned", []))
    return planned.index(name) if name in planned else len(planned)


def _bytes(value: Any) -> str:
    if not isinstance(value, int | float) or not value:
        return "–"
    return f"{value / 1e9:.2f} GB" if abs(value) >= 1e8 else f"{value / 1e6:.1f} MB"


# --- The claims --------------------------------------------------------------------------------


def _sentences(claim: Claim, extra: Sequence[tuple[str, str]] = ()) -> Items:
    rows = []
    for label, word in claim.verdicts.items():
        said = " ".join(_capital(one.sentence) for one in claim.of(label))
        rows.append((label, f"{word}: {said}"))
    return Items([*rows, *extra], "By detector, with 95% intervals (bootstrap over identities):")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _figure(run: Material, name: str, alt: str, caption: str) -> list[Block]:
    """Draw a figure of a joint table; nothing if the table has no values to show."""
    from probe.plots.joint import FIGURES

    table, draw = FIGURES[name]
    figure = draw(run.tables[table])
    return [] if figure is None else [drawn(figure, alt, caption)]


def _generalization(run: Material) -> Section:
    claim, frame = run.claims[0], run.tables["generalization"]
    blocks: list[Block] = [Verdict(claim)]
    blocks += _matrix(run)
    blocks += _figure(
        run,
        "generalization",
        "AUROC of each detector at home, on each dataset away, and their mean, with intervals. The "
        "table below has the numbers.",
        "Frame AUROC at home (mean over the datasets that a detector was trained on) and away. "
        "Intervals: identities are resampled jointly for all datasets.",
    )
    rows = []
    for label, word in claim.verdicts.items():
        own = frame[frame["detector"] == label]
        mean = own[own["dataset"] == MEAN]
        if not len(mean):
            rows.append([label, word, *["–"] * 5])
            continue
        row = mean.iloc[0]
        each = own[(own["dataset"] != MEAN) & own["value"].notna()].sort_values("value")
        worst = each.iloc[0] if len(each) else None
        rows.append(
            [
                label,
                word,
                spanned(row["home"], row["home_low"], row["home_high"]),
                spanned(row["value"], row["low"], row["high"]),
                spanned(row["lost"], row["lost_low"], row["lost_high"]),
                _p(row["p"]),
                "–" if worst is None else f"{worst['value']:.2f} ({worst['dataset']})",
            ]
        )
    head = ["detector", "verdict", "home", "mean away", "lost", "p", "lowest away"]
    blocks.append(
        Table("AUROC at home and away, and the loss (null: 0). Chance: .50.", head, rows, texts=2)
    )
    blocks.append(_sentences(claim))
    return Section(claim.key, f"Claim 1: {_lower(claim.title)}", blocks, [_published(run)])


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _p(value: Any) -> str:
    return f"{value:.2g}" if np.isfinite(value) else "–"


def _matrix(run: Material) -> list[Block]:
    from probe.evaluation.table import ZeroShotMatrix
    from probe.plots import plot_matrix

    if not run.folder.path("evaluation").is_dir():
        return [_lacking("The zero-shot matrix is")]
    found = ZeroShotMatrix.open(run.folder.path("evaluation"))
    data = found.data
    return [
        drawn(
            plot_matrix(found),
            f"Zero-shot matrix: AUROC of {data.sizes['detector']} detectors on "
            f"{data.sizes['dataset']} datasets, each with its interval.",
            "Zero-shot matrix. Framed: the detector was trained on that dataset. Small: 95% "
            "interval (bootstrap over identities).",
        )
    ]


def _published(run: Material) -> Section:
    cards = run.attrs.get("cards") or {}
    specs = {label: run.spec(label) for label in run.detectors}
    found = beside_published(run.tables["evaluation"], specs, cards)
    if not len(found):
        why = why_none(run.detectors, specs, run.datasets, cards)
        blocks: list[Block] = [
            Text(
                "DeepfakeBench publishes frame AUROCs of detectors trained on FaceForensics++ c23. "
                f"None is comparable with this run: {why}.",
                "small",
            )
        ]
    else:
        rows = [
            [
                row["detector"],
                row["dataset"],
                str(row["published_as"]),
                f"{row['published']:.3f}",
                spanned(row["value"], row["low"], row["high"], ".3f"),
            ]
            for row in found.to_dict("records")
        ]
        head = ["detector", "dataset", "published as", "DeepfakeBench", "this run"]
        blocks = [
            Table("Frame AUROC of DeepfakeBench and of this run.", head, rows, texts=3),
            Text("Same architecture and data; frames, crops and decoders may differ.", "small"),
        ]
    return Section("published", "Comparison with published results", blocks)


def _artifacts_claim(run: Material) -> Section:
    claim = run.claims[1]
    blocks: list[Block] = [Verdict(claim)]
    blocks += _figure(
        run,
        "specific",
        "Share of the difference between fakes and reals that is specific to single methods, by "
        "detector and layer.",
        "Method-specific share: 0 if all methods differ from real images in the same way, 1 if no "
        "two methods have anything in common. Line: half.",
    )
    rows = []
    for label, word in claim.verdicts.items():
        by = {one.part: one for one in claim.of(label)}
        specific, telling = by["specific to the method"], by["discriminative"]
        rows.append(
            [
                label,
                word,
                spanned(specific.value, specific.low, specific.high),
                spanned(telling.value, telling.low, telling.high),
                spanned(telling.null),
                spanned(_head_away(run, label)),
            ]
        )
    head = ["detector", "verdict", "specific share", "probe away", "control tasks", "head away"]
    caption = "Share that is specific to single methods, and mean AUROC on datasets away from home."
    blocks.append(Table(caption, head, rows, texts=2))
    blocks += _figure(
        run,
        "map-similarity",
        "Mean SSIM of Grad-CAM of variants on the same image and on different images, by "
        "architecture, mode and dataset.",
        "Heatmaps of variants: SSIM on the same image, beside that on different images. Mode "
        "`authors` follows the study's released code; mode `corrected` fixes its errors (see the "
        "documentation).",
    )
    blocks.append(_similarity_table(run))
    extra = [
        (one.of, f"{one.verdict}: {one.sentence}")
        for one in claim.judgments
        if one.part == "maps of variants"
    ]
    blocks.append(_sentences(claim, extra))
    return Section(claim.key, f"Claim 2: {_lower(claim.title)}", blocks)


def _head_away(run: Material, label: str) -> float:
    frame = run.tables["generalization"]
    rows = frame[(frame["detector"] == label) & (frame["dataset"] == MEAN)]
    return float(rows["value"].iloc[0]) if len(rows) else np.nan


def _similarity_table(run: Material) -> Block:
    frame = run.tables["similarity"]
    known = frame[frame["mean"].notna()]
    if not len(known):
        return _lacking("SSIM of heatmaps of variants is")
    rows = []
    for (name, mode), part in known.groupby(["architecture", "mode"], sort=False):
        row = part.iloc[-1]
        rows.append(
            [
                str(name),
                str(mode),
                spanned(row["mean"], row["low"], row["high"]),
                spanned(row["null_mean"]),
                spanned(row["over_null"], row["over_null_low"], row["over_null_high"], "+.2f"),
                _p(row["over_null_p"]),
                spanned(row["retrained_mean"]),
                *(str(int(row[f"count_{name}"])) for name in ("<.7", ".7-.9", ">=.9")),
                f"{int(row['n_samples'])} ({int(row['n_clusters'])})",
            ]
        )
    head = [
        "architecture",
        "mode",
        "SSIM",
        "other images",
        "excess over that",
        "p",
        "other seeds",
        "< .7",
        ".7–.9",
        "≥ .9",
        "fakes (identities)",
    ]
    return Table(
        "SSIM of Grad-CAM of variants, all datasets; number of fakes in the study's bins.",
        head,
        rows,
        texts=2,
    )


def _neurons(run: Material) -> Section:
    claim = run.claims[2]
    blocks: list[Block] = [Verdict(claim)]
    blocks += _figure(
        run,
        "universal-units",
        "Share of units in all top lists, beside null distributions, and share found by the test, "
        "by detector.",
        "Universal units. Counted: in the top list of every dataset, as the study counts. Found by "
        "test: contribute to detection in every dataset. Marks: expected counts under the nulls.",
    )
    blocks += _figure(
        run,
        "ablation",
        "AUROC drop by ablation of universal units beyond matched random sets, with intervals.",
        "AUROC drop when the units are ablated, beyond random sets matched in size and weight, on "
        "identities not used to select the units.",
    )
    blocks.append(_neuron_table(run, claim))
    blocks += _counts(run)
    blocks.append(_sentences(claim))
    return Section(claim.key, f"Claim 3: {_lower(claim.title)}", blocks)


def _neuron_table(run: Material, claim: Claim) -> Block:
    frame, nulls = run.tables["universality"], ("independence", "untrained", "random_head")
    taken = run.tables["ablation"]
    rows = []
    for label, word in claim.verdicts.items():
        own = frame[frame["detector"] == label]
        known = own[own["counted"].notna()]
        if not len(known):
            rows.append([label, word, *["–"] * 7])
            continue
        row, expected = known.iloc[0], known.set_index("null")["expected"]
        out = taken[
            (taken["detector"] == label)
            & (taken["set"] == "universal")
            & (taken["dataset"] == MEAN)
            & (taken["metric"] == "auroc")
        ]
        loss = (
            [
                spanned(
                    out["excess"].iloc[0],
                    out["excess_low"].iloc[0],
                    out["excess_high"].iloc[0],
                    "+.3f",
                ),
                _p(out["p"].iloc[0]),
            ]
            if len(out)
            else ["–", "–"]
        )
        rows.append(
            [
                label,
                word,
                f"{row['n_units']:.0f}",
                f"{row['universal']:.0f}" if np.isfinite(row["universal"]) else "–",
                f"{row['counted']:.0f}",
                *(spanned(expected.get(n, np.nan), form=".1f") for n in nulls),
                *loss,
            ]
        )
    head = [
        "detector",
        "verdict",
        "units",
        "by test",
        "counted",
        "independent",
        "untrained",
        "random heads",
        "lost beyond random",
        "p",
    ]
    return Table(
        "Universal units, expected counts under the nulls, and AUROC drop by ablation of the "
        "units found by the test.",
        head,
        rows,
        texts=2,
    )


def _counts(run: Material) -> list[Block]:
    from probe.neurons import Universality
    from probe.plots import plot_counts

    found = {
        label: Universality.open(place)
        for label in run.detectors
        if (place := run.folder.path("universality", label)).is_dir()
    }
    if not found:
        return [_lacking("The counts of universal units are")]
    return [
        drawn(
            plot_counts(found),
            "Number of units in the top lists of 0 to all datasets, beside independent lists and "
            "untrained networks, a panel for each detector.",
            "The study's count by detector, beside independent lists and untrained networks.",
        )
    ]


# --- Explanations ------------------------------------------------------------------------------


def _separability(run: Material) -> Section:
    from probe.plots import plot_layer_information_grid, plot_transfer_grid
    from probe.separability import SeparabilityReport

    found = {
        label: SeparabilityReport.open(place)
        for label in run.detectors
        if (place := run.folder.path("separability", label)).is_dir()
    }
    if not found:
        return Section("separability", "Separability", [_lacking("Probes of layers are")])
    blocks: list[Block] = [
        Text(
            "Linear probes test whether a layer separates fakes from reals on held-out "
            "identities; control tasks do the same with labels permuted over identities."
        ),
        drawn(
            plot_layer_information_grid(found),
            "AUROC of probes of each layer beside control tasks and the detector's own head, by "
            "dataset, a panel for each detector.",
            "Probes of recorded layers, beside control tasks (gray) and the detector's own head.",
        ),
        _best_table(run),
        drawn(
            plot_transfer_grid(found, run.manifest.get("layers", {})),
            "AUROC of probes fitted on one dataset and scored on another, a panel for each "
            "detector.",
            "Transfer: probes fitted on one dataset (rows) and scored on another (columns); the "
            "diagonal is cross-validated.",
        ),
    ]
    return Section("separability", "Separability", blocks)


def _best_table(run: Material) -> Table:
    frame = run.tables["best_layers"]
    names = list(dict.fromkeys(frame["dataset"].dropna()))
    rows = []
    for label, part in frame.groupby("detector", sort=False):
        by = part.set_index("dataset")
        cells = [
            f"{by.loc[name, 'probe']:.2f} ({by.loc[name, 'layer']})"
            if name in by.index and np.isfinite(by.loc[name, "probe"])
            else "–"
            for name in names
        ]
        rows.append([str(label), *cells])
    caption = (
        "The layer with the best probe, and its AUROC. The layer is selected on the images that "
        "it is measured on, so the value is slightly optimistic."
    )
    return Table(caption, ["detector", *names], rows)


def _artifacts(run: Material) -> Section:
    from probe.artifacts import ArtifactReport
    from probe.plots import plot_artifact_effects, plot_spectra

    place, title = run.folder.path("artifacts"), "Artifacts of forgeries in images"
    if not place.is_dir():
        return Section("images", title, [_lacking("Measurements of images are")])
    found = ArtifactReport.open(place)
    blocks: list[Block] = [
        Text(
            "Each image is measured, and fakes are compared with reals in standard deviations of "
            "real images: uncontrolled, with covariates partialled out, and matched."
        ),
        drawn(
            plot_artifact_effects(found),
            "Effects of forgeries on each measurement, by dataset, with and without controls.",
            "Effects: fake minus real, with each control.",
        ),
        drawn(
            plot_spectra(found),
            "Power spectra of real and fake images by dataset.",
            "Spectra of real and fake images.",
        ),
        Items([("", sentence) for sentence in found.summary().split("\n")]),
    ]
    return Section("images", title, blocks)


def _heatmaps(run: Material) -> Section:
    blocks: list[Block] = []
    for name in run.architectures:
        file = run.folder.figures / f"heatmaps-{slug(name)}.png"
        found = (
            stored(
                file,
                f"Fakes of each dataset, the real images beside them, and Grad-CAM of the "
                f"variants of {name}.",
                f"Grad-CAM of {name}, towards fake and towards real; bars mark the maps that "
                "share a color scale.",
            )
            if file.is_file()
            else None
        )
        if found is not None:
            blocks.append(found)
    if not blocks:
        blocks.append(_lacking("Figures of heatmaps are"))
    blocks += [*_trust(run), *_attention(run)]
    return Section("heatmaps", "Heatmaps and their reliability", blocks)


def _trust(run: Material) -> list[Block]:
    frame = run.tables["trust"]
    if not len(frame):
        return [_lacking("Checks of heatmaps are")]
    checks = list(dict.fromkeys(frame["check"]))
    rows = []
    for (label, method), part in frame.groupby(["detector", "method"], sort=False):
        if part["value"].notna().any():
            by = part.set_index("check")
            rows.append([str(label), str(method), *(_checked(by.loc[name]) for name in checks)])
    text = (
        "Better than a random map *, than image edges +, than the shifted map ° (q ≤ .05). Rows "
        "random and edges are references. A map that is not better than these is no evidence of "
        "what drives the decision."
    )
    caption = "Checks of heatmaps, all datasets together, for the base detectors."
    return [Table(caption, ["detector", "method", *checks], rows, texts=2), Text(text, "small")]


def _checked(row: Any) -> str:
    if not np.isfinite(row["value"]):
        return "–"
    marks = (("*", "q_random"), ("+", "q_edges"), ("°", "q_shifted"))
    return f"{row['value']:.2f}" + "".join(sign for sign, q in marks if row[q] <= ALPHA)


def _attention(run: Material) -> list[Block]:
    from probe.attribution.findings import RegionAttention

    blocks = _figure(
        run,
        "attention",
        "Concentration of Grad-CAM's mass by region of the face and dataset, a panel for each "
        "detector.",
        "Region attention on fakes: 0 is uniform attention, +1 twice as much.",
    )
    if not blocks:
        return [_lacking("Region attention is")]
    rows = []
    for label in run.detectors:
        place = run.folder.path("attention", label)
        if place.is_dir():
            said = RegionAttention.open(place).summary().split("\n")
            # The figure has the rest.
            rows += [(label, one) for one in said if "changed" in one or one.startswith("No face")]
    if not rows:
        none = "In no dataset does it change between fakes and their real images (q ≤ .05)."
        return [*blocks, Text(none, "small")]
    title = "Changes from the fakes' real images, or differences from other datasets (q ≤ .05):"
    return [*blocks, Items(rows, title)]


# --- Audit, limits, provenance ----------------------------------------------------------------


def _audit(run: Material) -> Section:
    found = run.audit
    if found is None:
        return Section("audit", "Audit of the data", [_lacking("The audit is")])
    order = {"error": 0, "warning": 1, "note": 2}
    those = sorted(found.findings, key=lambda one: order.get(one.severity, 3))
    rows = [(f"{one.severity}, {one.check}, {one.dataset}:", one.message) for one in those[:MOST]]
    blocks: list[Block] = [Text(found.summary().split("\n")[0])]
    if rows:
        blocks.append(Items(rows))
    if len(those) > MOST:
        blocks.append(Text(f"{len(those) - MOST} more are in audit.json.", "small"))
    return Section("audit", "Audit of the data", blocks)


def _limits(run: Material) -> Section:
    rows = [row for rule in LIMITS for row in rule(run)]
    if not rows:
        return Section(
            "limits",
            "What this run cannot say",
            [Text("No limits were recorded.")],
        )
    return Section("limits", "What this run cannot say", [Items(rows)])


Limit = Iterator[tuple[str, str]]


def _simulated(run: Material) -> Limit:
    if run.manifest.get("simulated"):
        yield "Simulated.", "The images are rendered; real forgeries may differ in every respect."


def _stages(run: Material) -> Limit:
    left = [] if run.manifest.get("complete") else _unfinished(run.manifest)
    if left:
        yield "Not finished.", f"Remaining stages: {', '.join(left)}."


def _left_out(run: Material) -> Limit:
    """Yield what the run's manifest lists as left out; earlier versions listed it by kind."""
    found = run.manifest.get("left_out")
    if found is None:
        found = [
            {"stage": kind.removeprefix("no_"), "detector": name, "why": why}
            for kind, notes in run.provenance.items()
            if kind.startswith("no_") and isinstance(notes, Mapping)
            for name, why in notes.items()
        ]
    by: dict[tuple[str, str, str], list[str]] = {}
    for one in found if isinstance(found, list) else []:
        if isinstance(one, Mapping):
            detector, why = str(one.get("detector", "")), str(one.get("why", ""))
            # Detectors with the same reason share one line.
            key = str(one.get("stage", "")), str(one.get("dataset", ""))
            said = why.replace(detector, "this detector") if detector else why
            by.setdefault((*key, said), []).append(detector)
    for (stage, dataset, why), names in by.items():
        of = ", ".join(part for part in (stage, dataset, ", ".join(filter(None, names))) if part)
        yield f"Left out: {of or 'all'}.", _sentence(why)
    if said := str(run.provenance.get("dominating") or ""):
        yield "Unbalanced data.", said


def _sentence(text: str) -> str:
    return f"{_capital(text.rstrip('.'))}."


def _few(run: Material) -> Limit:
    frame = run.tables["evaluation"]
    bare = frame[
        (frame["level"] == "frame") & (frame["metric"] == "auroc") & (frame["reason"] != "")
    ]
    for reason, part in bare.groupby("reason", sort=False):
        names = ", ".join(dict.fromkeys(part["dataset"].astype(str)))
        yield f"{names}:", f"{reason}."


def _short(run: Material) -> Limit:
    lengths = {
        label: int(card["training"]["plan"]["epochs"])
        for label, card in run.cards.items()
        if (card.get("training") or {}).get("plan")
    }
    said = []
    for kind, whole in STUDY_EPOCHS.items():
        own = [n for label, n in lengths.items() if (_variant(label) == "base") == (kind == "base")]
        if own and max(own) < whole:
            span = f"{min(own)}" if min(own) == max(own) else f"{min(own)} to {max(own)}"
            said.append(f"{kind} detectors for {span} epochs, the study's for {whole}")
    if said:
        yield (
            "Short training.",
            f"{_capital('; '.join(said))}. Longer training may change the results.",
        )


def _variant(label: str) -> str:
    return label.rpartition("/")[2].partition("-seed")[0]


def _seeds(run: Material) -> Limit:
    if run.cards and not any("-seed" in label for label in run.detectors):
        yield (
            "One seed.",
            "Every detector was trained once; the variation over seeds is unknown.",
        )


def _unidentified(run: Material) -> Limit:
    table = run.samples
    if table is None:
        return
    unknown = [
        str(name)
        for name, rows in table.groupby("dataset", sort=False)
        if (rows["identity"] == "").all()
    ]
    if unknown:
        yield (
            "Identities are unknown.",
            f"In {', '.join(unknown)}, videos serve as clusters instead of identities: intervals "
            "are too narrow if a person appears in several videos.",
        )


def _missing_tables(run: Material) -> Limit:
    for name in JOINT:
        frame = run.tables[name]
        bare = frame[frame["reason"] == "not computed in this run"]
        if len(bare) and "detector" in bare:
            those = list(dict.fromkeys(bare["detector"].astype(str)))
            listed = "any detector" if len(those) == len(run.detectors) else ", ".join(those)
            yield f"No {name.replace('_', ' ')}", f"for {listed}: not computed in this run."


def _open_claims(run: Material) -> Limit:
    for claim in run.claims:
        if claim.verdict == VERDICTS[-1]:
            yield f"{claim.title}:", "cannot be said for any detector; see the section for reasons."


LIMITS = (
    _simulated,
    _stages,
    _left_out,
    _few,
    _short,
    _seeds,
    _unidentified,
    _missing_tables,
    _open_claims,
)


def _provenance(run: Material) -> Section:
    manifest, found = run.manifest, run.provenance
    versions = {**(manifest.get("versions") or {}), **(found.get("versions") or {})}
    rows = [
        ("Command", str(manifest.get("command") or found.get("command") or "not recorded")),
        ("Created", str(manifest.get("created", "")).replace("T", " ") or "not recorded"),
        ("Study", str(found.get("study_fingerprint") or manifest.get("study") or "not recorded")),
        ("Seeds", ", ".join(map(str, found.get("seeds", [manifest.get("seed", "not recorded")])))),
        ("Platform", str(found.get("platform", "not recorded"))),
        ("Python", str(found.get("python", "not recorded"))),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("Layers", _layers(manifest.get("layers") or {})),
        *(("Crops", text) for text in _crops(run)),
    ]
    prints = [
        [str(name), kind, str(value)]
        for kind, key in (("data", "data"), ("weights", "weights"))
        for name, value in (found.get(key) or {}).items()
    ]
    blocks: list[Block] = [Facts(rows)]
    if prints:
        blocks.append(
            Table("Fingerprints of data and weights.", ["name", "kind", "hash"], prints, texts=3)
        )
    return Section("provenance", "Provenance", blocks)


def _layers(layers: Mapping[str, Any]) -> str:
    by: dict[str, list[str]] = {}
    for label, layer in layers.items():
        by.setdefault(str(layer), []).append(str(label))
    if len(by) == 1:
        return f"{next(iter(by))} (all detectors)"
    return "; ".join(f"{layer}: {', '.join(those)}" for layer, those in by.items()) or "unknown"


def _crops(run: Material) -> list[str]:
    """Return each crop rule once, with the datasets that it applies to."""
    rules: dict[str, list[str]] = {}
    for name, card in (run.attrs.get("cards") or {}).items():
        own = (card.get("parts") or {}).get(name, card) if isinstance(card, Mapping) else {}
        crop = own.get("crop")
        text = "; ".join(f"{k} {v}" for k, v in crop.items()) if isinstance(crop, Mapping) else crop
        rules.setdefault(str(text or "not stated"), []).append(str(name))
    return [f"{', '.join(names)}: {text}" for text, names in rules.items()]
