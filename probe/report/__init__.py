"""Output of the commands: rich tables on stdout, errors and notes on stderr."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from probe.report.findings import (
    ablation,
    ablation_sentence,
    calibration,
    embeddings,
    heads,
    one_dataset,
    separability,
    similarity,
    universality,
)
from probe.report.output import out, plain
from probe.stats import MIN_CLUSTERS, sigmoid

if TYPE_CHECKING:
    from probe.claims import Claim
    from probe.datasets.audit import AuditReport
    from probe.datasets.dataset import Dataset
    from probe.datasets.layouts import Layout
    from probe.detectors.architectures import Architecture
    from probe.detectors.detector import Detector
    from probe.evaluation.matrix import ZeroShotMatrix
    from probe.study.costs import StageCost, StudySize
    from probe.study.run import Outcome
    from probe.study.stages import StageState

__all__ = [
    "ablation",
    "ablation_sentence",
    "audit",
    "audited",
    "calibration",
    "claims",
    "dataset",
    "detectors",
    "doctor",
    "embeddings",
    "error",
    "forecast",
    "heads",
    "ingest",
    "layers",
    "layouts",
    "matrix",
    "note",
    "one_dataset",
    "outcome",
    "polarity",
    "separability",
    "similarity",
    "stages",
    "trained",
    "universality",
    "videos",
    "written",
]


def error(text: str) -> None:
    """Print an error as one paragraph on stderr."""
    Console(stderr=True, soft_wrap=True).print(f"[red]Error:[/red] {plain(text)}", highlight=False)


def note(text: str) -> None:
    """Print a note on stderr."""
    Console(stderr=True, soft_wrap=True).print(plain(text), highlight=False)


def written(path: Path) -> None:
    """Print the path of a written file or folder."""
    out().print(f"Written: {plain(str(path))}", highlight=False)


def dataset(data: Dataset) -> None:
    """Print the sample counts and the card of a dataset."""
    table = Table("dataset", "split", "real", "fake", "videos", "clusters", title=data.name)
    frame = data.samples.table.assign(cluster=data.samples.clusters)
    for (name, split), rows in frame.groupby(["dataset", "split"], sort=False):
        fakes = int(rows["label"].sum())
        videos = rows.groupby(["method", "video"]).ngroups
        counts = (len(rows) - fakes, fakes, videos, rows["cluster"].nunique())
        table.add_row(str(name), str(split), *map(str, counts))
    out().print(table)
    for key in ("label_convention", "crop", "license", "simulated"):
        if key in data.card:
            out().print(f"{key}: {plain(str(data.card[key]))}", highlight=False)
    out().print(f"root: {plain(str(data.root))}", highlight=False)


def audit(found: AuditReport) -> None:
    """Print the findings of an audit."""
    console = out()
    colors = {"error": "red", "warning": "yellow", "note": "cyan"}
    for one in found.findings:
        head = f"[{colors[one.severity]}]{one.severity}[/] {one.check} in {plain(one.dataset)}"
        console.print(f"{head}: {plain(one.message)}", highlight=False)
        for example in one.examples:
            console.print(f"    {plain(example)}", highlight=False)
    told = [one for one in found.measures if one.name == "metadata auroc" and one.low is not None]
    for measure in told:
        console.print(
            f"{plain(measure.dataset)}: file metadata predicts the labels with AUROC "
            rf"{measure.value:.2f} \[{measure.low:.2f}, {measure.high:.2f}]",
            highlight=False,
        )
    console.print(plain(found.summary().split("\n")[0]), highlight=False)


def audited(found: AuditReport, names: Sequence[str]) -> None:
    """Print a short summary of an audit on stderr, for commands that audit their data first."""
    grave = [one for one in found.findings if one.severity != "note"]
    for one in grave[:5]:
        note(f"Audit {one.severity}, {one.check} in {one.dataset}: {one.message}")
    if grave:
        more = f"{len(grave) - 5} more findings; " if len(grave) > 5 else ""
        note(f"({more}`probe audit {shlex.join(names)}` lists all.)")


def polarity(suspects: Sequence[str]) -> None:
    """Warn on stderr about detectors that score fakes below reals."""
    for text in suspects:
        note(f"[polarity] {text}")


def layouts(those: Sequence[Layout]) -> None:
    """Print the registered layouts."""
    table = Table("layout", "dataset", "folder contents", "options")
    for one in those:
        table.add_row(one.name, one.title, plain(one.shape), ", ".join(sorted(one.takes)))
    out().print(table)


def detectors(those: Sequence[Architecture]) -> None:
    """Print the registered architectures."""
    table = Table("detector", "input", "loss", "learning rate", "unit layer", "last convolution")
    for one in those:
        row = (one.name, str(one.input_size), one.recipe.loss, f"{one.recipe.rate:g}")
        table.add_row(*row, one.units, one.last_conv)
    out().print(table)
    out().print("Every timm model is available, too, as timm:<model>.", highlight=False)


def layers(traced: Any) -> None:
    """Print the layers of a traced detector, and a note on modules that could not be traced."""
    for name in traced.layers:
        out().print(plain(name), highlight=False)
    note(str(traced.report))


def trained(detector: Detector, folder: Path) -> None:
    """Print the trained detector, its fingerprint and its folder."""
    out().print(f"{detector.name}, fingerprint {detector.fingerprint}", highlight=False)
    written(folder)


def ingest(done: Any) -> None:
    """Print the summary of an ingest."""
    out().print(plain(done.summary()), highlight=False)


def matrix(found: ZeroShotMatrix, metric: str = "auroc", level: str = "frame") -> None:
    """Print one metric of the zero-shot matrix with its confidence intervals."""
    part = found.data.sel(metric=metric, level=level)
    names = [str(name) for name in part["dataset"].values]
    table = Table("detector", *names, title=f"{metric.upper()} per {level}, 95% CI")
    for detector in part["detector"].values:
        row = part.sel(detector=detector)
        cells = [_cell(row.sel(dataset=name)) for name in names]
        table.add_row(str(detector), *cells)
    out().print(table)
    _say_why_not(part)
    _say_crop(found.data.attrs.get("cards", {}))


def _say_crop(cards: Mapping[str, Any]) -> None:
    """Print each crop rule of the images once, since results depend on it."""
    rules: dict[str, list[str]] = {}
    for name, card in cards.items():
        crop = card.get("crop")
        if isinstance(crop, Mapping):
            short = ", ".join(f"{key} {value}" for key, value in crop.items() if key != "rule")
            rules.setdefault(short, []).append(name)
    for short, names in rules.items():
        note(f"Crop of {', '.join(names)}: {short}.")


def _cell(point: Any) -> str:
    value, low, high = (float(point[key]) for key in ("value", "low", "high"))
    if not np.isfinite(value):
        return "–"
    return f"{value:.3f}" + (f"\n{low:.2f}–{high:.2f}" if np.isfinite(low) else "")


def _say_why_not(part: Any) -> None:
    """Print the datasets whose metric or interval is missing, with the reason."""
    least = part["n_clusters"].min("detector")
    few = [
        f"{d} ({int(n)})"
        for d, n in zip(least["dataset"].values, least.values, strict=True)
        if n < MIN_CLUSTERS
    ]
    if few:
        note(
            f"No interval for fewer than {MIN_CLUSTERS} clusters (identities, else videos): "
            f"{', '.join(few)}."
        )
    single = [
        str(d) for d in part["dataset"].values if np.isnan(part["value"].sel(dataset=d)).all()
    ]
    if single:
        note(f"No value for datasets of one class only: {', '.join(single)}.")


def videos(found: ZeroShotMatrix) -> None:
    """Print mean P(fake) of every video."""
    frame = found.scores.assign(score=sigmoid(found.scores["logit"]))
    # Real videos shared by several datasets are shown once.
    frame["video"] = [text.split("|")[-1] for text in frame["video"]]
    frame = frame.drop_duplicates(["detector", "method", "video", "frame"])
    key = ["method", "video"]
    means = frame.pivot_table(index=key, columns="detector", values="score", sort=False)
    counts = frame.groupby([*key, "detector"], sort=False).size().groupby(key, sort=False).max()
    columns = [str(name).replace("/", "\n") for name in means.columns]
    table = Table("method", "video", "frames", *columns, title="mean P(fake)")
    for (method, video), row in zip(means.index, means.to_numpy(), strict=True):
        count = str(counts[method, video])
        table.add_row(str(method), str(video), count, *(f"{value:.2f}" for value in row))
    out().print(table)


def outcome(found: Outcome) -> None:
    """Print the findings of a study and the path of every result."""
    from probe.evaluation.matrix import suspect_polarity

    matrix(found.matrix)
    polarity(suspect_polarity(found.matrix))
    for label, counts in found.universality.items():
        out().print(f"{label}: {plain(counts.summary())}", highlight=False)
        out().print(plain(ablation_sentence(found.ablation.get(label))), highlight=False)
    claims(found.claims)
    for one in found.left_out:
        note(f"Left out: {one}.".replace("..", "."))
    if found.audit.errors:
        out().print(f"[red]The audit found {len(found.audit.errors)} errors[/], see audit.json")
    places = Table("result", "path", title="results")
    for what, where in found.places.items():
        places.add_row(what, plain(str(where)))
    out().print(places)


def claims(those: Sequence[Claim]) -> None:
    """Print the verdict on each claim of the study."""
    for i, one in enumerate(those, 1):
        out().print(
            f"Claim {i}, {plain(_lower(one.title))}: {plain(one.summary())}", highlight=False
        )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def stages(those: Sequence[StageState]) -> None:
    """Print the stages of a study and how much of each is done."""
    table = Table("stage", "output", "done", title="stages")
    for one in those:
        there = "not requested" if not one.total else f"{one.done} of {one.total}"
        table.add_row(one.name, plain(one.makes), there)
    out().print(table)


def forecast(those: Sequence[StageState], size: StudySize, costs: Sequence[StageCost]) -> None:
    """Print the stages of a study, how much of each is done, and the forecast of its cost."""
    table = Table("stage", "output", "done", title="stages")
    for name in ("time", "disk", "memory"):
        table.add_column(name, justify="right")
    by_stage = {one.stage: one for one in costs}
    for one in those:
        there = "not requested" if not one.total else f"{one.done} of {one.total}"
        taken = by_stage[one.name]
        said = _cost(taken.seconds, taken.disk, taken.memory)
        table.add_row(one.name, plain(one.makes), there, *said)
    table.add_section()
    seconds, disk = sum(one.seconds for one in costs), sum(one.disk for one in costs)
    table.add_row("total", "", "", *_cost(seconds, disk, max(one.memory for one in costs)))
    out().print(table)
    n = size.images["dataset"].nunique()
    held = (
        f"{int(size.images['videos'].sum()):,} videos, {int(size.images['images'].sum()):,} images"
    )
    made = f"; {size.made_videos:,} videos to crop or render into {size.made_images:,} images"
    out().print(f"{n} datasets, {held}{made if size.made_videos else ''}.", highlight=False)
    for cost in costs:
        out().print(f"{cost.stage}: {cost.counts}.", highlight=False)
    out().print(
        "Forecast of a run from scratch, extrapolated from a calibration on this machine. It is "
        "rough: it has not been validated against complete runs.",
        highlight=False,
    )


def _cost(seconds: float, disk: int, memory: int) -> tuple[str, str, str]:
    return _duration(seconds), _bytes(disk), _bytes(memory)


def _duration(seconds: float) -> str:
    """Format a duration in days, hours, minutes or seconds."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def _bytes(size: float) -> str:
    """Format a number of bytes in GB, MB or kB."""
    for unit, length in (("GB", 1e9), ("MB", 1e6)):
        if size >= length:
            return f"{size / length:,.1f} {unit}"
    return f"{size / 1e3:,.0f} kB"


def doctor(found: Mapping[str, Mapping[str, str]]) -> None:
    """Print the result of `probe doctor`."""
    for part, rows in found.items():
        table = Table(part, "")
        for name, value in rows.items():
            table.add_row(name, plain(value))
        out().print(table)
