"""Commands about features: separability, similarity and pictures of layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probe import report
from probe.cli.naming import SEED
from probe.cli.writing import FOLDER, TABLES, Output, write_table
from probe.run import slug

if TYPE_CHECKING:
    from probe.store import ActivationStore

__all__ = ["COMMANDS", "require_layers"]

STORE = click.Path(path_type=Path, file_okay=False)
OUT = click.option(
    "--out",
    type=Output("table format", TABLES),
    help=".csv .parquet .tex .md; .zarr for all arrays.",
)
FIGURES = click.option("--figures", type=FOLDER, help="Folder for PDF and PNG.")
SEEDED = click.option("--seed", type=SEED, default=0, show_default=True)
LAYERS = click.option(
    "--layer", "-l", "layers", multiple=True, help="Of the store; all by default."
)


@click.command()
@click.argument("stores", nargs=-1, required=True, type=STORE)
@LAYERS
@click.option("--memory", default="4G", show_default=True, help="What may be used.")
@click.option("--folds", "n_folds", default=5, show_default=True, help="Folds of people.")
@click.option("--controls", "n_controls", default=199, show_default=True, help="Control tasks.")
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
    """Measure how well recorded features tell fakes, methods and datasets.

    STORES are what `probe record` wrote. Of several stores of the same samples the similarity of
    layers is measured too.
    """
    from probe.figures import save_figure
    from probe.separability import compare_features, drawing, measure_separability
    from probe.store import ActivationStore

    opened = [ActivationStore.open(place) for place in stores]
    require_layers(layers, opened)
    for place in opened:
        found = measure_separability(
            place, layers or None, memory=memory, n_folds=n_folds, n_controls=n_controls, seed=seed
        )
        label = str(found.data.attrs["label"])
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
@click.option("--method", "-m", "methods", multiple=True, help="pca, umap, tsne; all by default.")
@click.option(
    "--max-samples", default=5000, show_default=True, help="Samples that pictures are fitted on."
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
    """Place the samples of a store in two dimensions, and say how far to believe it."""
    from probe.embed import drawing, embed_layers
    from probe.figures import save_figure
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


COMMANDS = (separability, embed)


def require_layers(layers: Sequence[str], stores: Sequence[ActivationStore]) -> None:
    """Raise `UnknownNameError` for a layer that one of the stores lacks."""
    for store in stores:
        for layer in layers:
            _ = store[layer]
