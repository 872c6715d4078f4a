"""Commands for features and images: separability, embeddings, artifacts, unit responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probe import report
from probe.cli.options import (
    COUNT,
    DETECTOR,
    DEVICE,
    DRAWN,
    FOLDER,
    SEED,
    TABLES,
    WORKERS,
    Output,
    detector_of,
    write_table,
)
from probe.errors import ProbeError, UnknownNameError
from probe.report.findings import artifacts as print_artifacts
from probe.report.findings import responses as print_responses
from probe.run import slug
from probe.schema import SPLITS

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from probe.artifacts import ResponseReport
    from probe.store import ActivationStore

__all__ = ["COMMANDS", "require_layers"]

STORE = click.Path(path_type=Path, file_okay=False)
OUT = click.option(
    "--out",
    type=Output("table format", TABLES),
    help="Table to write (.csv .parquet .tex .md; .zarr for all arrays).",
)
FIGURES = click.option("--figures", type=FOLDER, help="Folder to write figures to (PDF, PNG).")
SEEDED = click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
LAYERS = click.option(
    "--layer", "-l", "layers", multiple=True, help="Recorded layer; repeatable.  [default: all]"
)


@click.command()
@click.argument("stores", nargs=-1, required=True, type=STORE)
@LAYERS
@click.option(
    "--memory",
    default="4G",
    show_default=True,
    help="Maximum memory (800M, 4G); samples are subsampled to fit.",
)
@click.option(
    "--folds",
    "n_folds",
    default=5,
    show_default=True,
    help="Number of cross-validation folds, grouped by identity.",
)
@click.option(
    "--controls",
    "n_controls",
    default=199,
    show_default=True,
    help="Number of control tasks (labels permuted over identities).",
)
@SEEDED
@OUT
@FIGURES
def separability(
    stores: tuple[Path, ...],
    layers: tuple[str, ...],
    memory: str,
    n_folds: int,
    n_controls: int,
    seed: int,
    out: Path | None,
    figures: Path | None,
) -> None:
    """Measure how separable real and fake are in features.

    STORES are written by `probe record`. Probes also classify forgery methods and datasets. For
    several stores of the same samples, the similarity (CKA) of layers is measured too.
    """
    from probe.plots import save_figure
    from probe.plots import separability as drawing
    from probe.separability import compare_features, measure_separability
    from probe.store import ActivationStore

    opened = [ActivationStore.open(place) for place in stores]
    require_layers(layers, opened)
    for place in opened:
        found = measure_separability(
            place, layers or None, memory=memory, n_folds=n_folds, n_controls=n_controls, seed=seed
        )
        label = found.detector
        report.separability(found)
        end = f"-{slug(label)}" if len(stores) > 1 else ""
        write_table(found, out, end)
        for name, figure in drawing.figures_of(found).items() if figures else ():
            for suffix in (".pdf", ".png"):
                save_figure(figure, Path(figures or ".") / f"{name}{end}{suffix}")
    if len(stores) > 1:
        alike = compare_features(opened, layers or None, seed=seed)
        report.similarity(alike)
        write_table(alike, out, "-similarity")
    if figures:
        report.written(figures)


@click.command()
@click.argument("store", type=STORE)
@LAYERS
@click.option(
    "--method",
    "-m",
    "methods",
    multiple=True,
    help="Embedding method: pca, umap or tsne; repeatable.  [default: all]",
)
@click.option(
    "--max-samples",
    default=5000,
    show_default=True,
    help="Maximum number of samples to fit on; the others are projected.",
)
@SEEDED
@OUT
@FIGURES
def embed(
    store: Path,
    layers: tuple[str, ...],
    methods: tuple[str, ...],
    max_samples: int,
    seed: int,
    out: Path | None,
    figures: Path | None,
) -> None:
    """Embed recorded features in two dimensions.

    Prints the trustworthiness and neighborhood preservation of each embedding.
    """
    from probe.plots import embedding as drawing
    from probe.plots import save_figure
    from probe.separability import embed_layers
    from probe.store import ActivationStore

    opened = ActivationStore.open(store)
    require_layers(layers, [opened])
    found = embed_layers(
        opened, layers or None, methods or None, max_samples=max_samples, seed=seed
    )
    report.embeddings(found)
    write_table(found, out)
    if figures:
        for name, figure in drawing.figures_of(found, opened.samples).items():
            for suffix in (".pdf", ".png"):
                save_figure(figure, figures / f"{name}{suffix}")
        report.written(figures)


def require_layers(layers: Sequence[str], stores: Sequence[ActivationStore]) -> None:
    """Raise `UnknownNameError` for a layer that one of the stores lacks."""
    for store in stores:
        for layer in layers:
            _ = store[layer]


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="test",
    show_default=True,
    help="Split to measure.",
)
@click.option(
    "--caliper",
    type=click.FloatRange(0, min_open=True),
    default=0.2,
    show_default=True,
    help="Matching caliper, in standard deviations of a covariate.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@WORKERS
@click.option("--figures", type=FOLDER, help="Folder to write figures to (PDF, PNG).")
@click.option(
    "--out",
    type=Output("table format", TABLES),
    help="Table to write (.csv .parquet .tex .md .zarr).",
)
def artifacts(
    datasets: tuple[str, ...],
    split: str,
    caliper: float,
    seed: int,
    n_workers: int | None,
    figures: Path | None,
    out: Path | None,
) -> None:
    """Measure synthesis artifacts on images, with controls.

    Compares fakes with real images. --out NAME.csv also writes the measurements of every image to
    NAME-images.csv.
    """
    from probe.artifacts import artifact_report, measure_artifacts
    from probe.datasets import open_datasets, parts_of
    from probe.plots.artifacts import draw_report

    opened = open_datasets(datasets, split=split)
    parts = [part for data in opened for part in parts_of(data)]
    measured = measure_artifacts(parts, n_workers=n_workers)
    found = artifact_report(measured, caliper=caliper, seed=seed)
    print_artifacts(found)
    if out:
        write_table(found, out)
        write_table(measured, out, "-images")
    for path in draw_report(found, figures) if figures else []:
        report.written(path)


PLACE = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("store", type=PLACE)
@click.option("--layer", "-l", required=True, help="Recorded layer.")
@click.option(
    "--measurements",
    "-m",
    type=PLACE,
    help="Image measurements written by `probe artifacts` (.zarr).",
)
@click.option(
    "--datasets", multiple=True, help="Or measure the images of this dataset; repeatable."
)
@click.option(
    "--covariate", "covariates", multiple=True, help="Covariate to control for; repeatable."
)
@click.option(
    "--detector",
    "-d",
    "name",
    metavar=DETECTOR,
    help="Detector to measure dose responses of, on lab images.",
)
@click.option(
    "--others",
    type=click.Choice(["none", "own"]),
    default="none",
    show_default=True,
    help="Dose of the other artifacts: none (0), or the video's own.",
)
@click.option(
    "--videos",
    default=12,
    show_default=True,
    help="Number of lab videos per dataset for dose responses (test: at most 25).",
)
@click.option(
    "--universal", "-u", type=int, multiple=True, help="Unit to mark as universal; repeatable."
)
@click.option(
    "--n-permutations",
    type=COUNT,
    default=1999,
    show_default=True,
    help="Number of permutations of the correlation tests.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="test",
    show_default=True,
    help="Split of --datasets and of the lab videos.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option(
    "--figure",
    type=Output("figure format", DRAWN),
    help="Base name of the figures to write (.pdf .png .svg).",
)
@click.option(
    "--out",
    type=Output("table format", TABLES),
    help="Table to write (.csv .parquet .tex .md .zarr).",
)
@DEVICE
def responses(
    store: Path,
    layer: str,
    measurements: Path | None,
    datasets: tuple[str, ...],
    covariates: tuple[str, ...],
    name: str | None,
    others: str,
    videos: int,
    universal: tuple[int, ...],
    n_permutations: int,
    split: str,
    seed: int,
    figure: Path | None,
    out: Path | None,
    device: str,
) -> None:
    """Measure what each unit of a layer responds to.

    Correlates recorded activations with image measurements; with --detector, also measures dose
    responses to artifacts rendered on lab images.
    """
    from probe.artifacts import dose_response, relate, render_doses
    from probe.artifacts.controls import COVARIATES
    from probe.artifacts.doses import check_videos
    from probe.hooks import trace
    from probe.store import ActivationStore

    if bool(measurements) == bool(datasets) and (measurements or not name):
        raise click.UsageError(
            "Give --measurements or --datasets, or --detector for dose responses alone."
        )
    recorded = ActivationStore.open(store)
    _require(recorded, layer, universal)
    if datasets:
        for one in covariates:
            if one not in COVARIATES:
                raise UnknownNameError("covariate", one, COVARIATES)
    detector = detector_of(name, device) if name else None
    full = recorded.attrs["layers"].get(layer, layer)
    if detector is not None:
        check_videos(split, videos)
        trace(detector).resolve(full)
    parts = []
    if measurements or datasets:
        data = _measured(measurements, datasets, split)
        parts.append(
            relate(
                recorded,
                data,
                layer,
                covariates=covariates,
                universal=universal,
                n_permutations=n_permutations,
                seed=seed,
            )
        )
    if detector is not None:
        images = render_doses(others=others, split=split, videos=videos)
        reducer = recorded.attrs["reducer"]
        parts.append(
            dose_response(detector, images, full, reducer=reducer, universal=universal, seed=seed)
        )
    found = parts[0] if len(parts) == 1 else parts[0].joined(parts[1])
    print_responses(found)
    if out:
        write_table(found, out)
    if figure:
        _draw(found, figure)


COMMANDS = (separability, embed, artifacts, responses)


def _require(store: ActivationStore, layer: str, universal: tuple[int, ...]) -> None:
    """Raise for a missing layer or unit before anything is measured or rendered."""
    require_layers([layer], [store])
    units = store[layer].sizes["unit"]
    if any(not 0 <= unit < units for unit in universal):
        raise ProbeError(
            f"universal={list(universal)} was given; {layer!r} has units 0 to {units - 1}."
        )


def _measured(measurements: Path | None, datasets: tuple[str, ...], split: str) -> xr.Dataset:
    """Read measurements from a file, or measure datasets."""
    from probe.artifacts import ArtifactMeasurements, measure_artifacts
    from probe.datasets import open_datasets

    if measurements:
        return ArtifactMeasurements.open(measurements).data
    parts = open_datasets(datasets, split=split)
    return measure_artifacts(parts, n_workers=None).data


def _draw(found: ResponseReport, path: Path) -> None:
    """Draw the available parts; the part's name is appended to the stem of the file name."""
    from probe import plots

    figures: dict[str, Callable[[ResponseReport], Figure]] = {}
    if found.has_doses:
        figures |= {"doses": plots.plot_doses, "units": plots.plot_dose_effects}
    if found.has_correlations:
        figures |= {"correlations": plots.plot_correlations}
    for name, draw in figures.items():
        file = path.with_name(f"{path.stem}-{name}{path.suffix}")
        report.written(plots.save_figure(draw(found), file))
