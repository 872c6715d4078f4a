"""Command that searches why a figure is not the published one."""

from __future__ import annotations

from pathlib import Path

import click

from probe import report
from probe.cli.options import (
    COUNT,
    DETECTOR,
    DEVICE,
    FOLDER,
    SEED,
    TABLES,
    WORKERS,
    Output,
    detector_of,
    write_table,
)
from probe.report.findings import reproduction as print_reproduction
from probe.schema import SPLITS
from probe.stats import METRICS

__all__ = ["COMMANDS"]

ALL = "all"


@click.command()
@click.argument("data")
@click.option("--detector", "-d", required=True, metavar=DETECTOR, help="Detector, as it was run.")
@click.option(
    "--published",
    multiple=True,
    metavar="[DATASET:][METRIC:][LEVEL]=VALUE",
    help="Published figure (.779, 77.9%, celebdf:ap=.81); repeatable, or comma-separated.",
)
@click.option(
    "--metric",
    type=click.Choice(list(METRICS)),
    default="auroc",
    show_default=True,
    help="Metric of figures that do not name theirs.",
)
@click.option(
    "--level",
    type=click.Choice(["frame", "video"]),
    default="frame",
    show_default=True,
    help="Level of figures that do not name theirs.",
)
@click.option(
    "--scores",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The authors' scores per image or video (.csv .parquet): they tell most.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the videos that DATA was cropped from, to crop them again.",
)
@click.option(
    "--shared",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of DATA's images that the figures were published on; 1: the very same images.",
)
@click.option(
    "--split",
    type=click.Choice([*SPLITS, ALL]),
    default="test",
    show_default=True,
    help="Split, as it was run.",
)
@click.option(
    "--max-changes",
    type=click.IntRange(1, 2),
    default=2,
    show_default=True,
    help="Largest number of changes at a time.",
)
@click.option(
    "--max-samples",
    type=COUNT,
    default=512,
    show_default=True,
    help="Images of the subset on which settings are tried first.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option(
    "--out",
    type=Output("table format", TABLES),
    help="Table to write (.csv .parquet .tex .md; .zarr for all arrays).",
)
@click.option("--figures", type=FOLDER, help="Folder to write figures to (PDF, PNG).")
@DEVICE
@WORKERS
def reproduce(
    data: str,
    detector: str,
    published: tuple[str, ...],
    metric: str,
    level: str,
    scores: Path | None,
    source: Path | None,
    shared: float,
    split: str,
    max_changes: int,
    max_samples: int,
    seed: int,
    out: Path | None,
    figures: Path | None,
    device: str,
    n_workers: int | None,
) -> None:
    """Search why a figure is not the published one.

    Varies what such gaps come from on DATA (crops, resizing, normalization, channels, polarity,
    weights, frames, level and more), one at a time and in pairs, and names the smallest set of
    changes that gives the published figures, or says that none does.
    """
    from probe.datasets import open_dataset
    from probe.plots import save_figure
    from probe.reproduction.run import reproduce as search

    found = search(
        detector_of(detector, device),
        open_dataset(data),
        ",".join(published) or None,
        metric=metric,
        level=level,
        split=None if split == ALL else split,
        scores=scores,
        source=source,
        shared=shared,
        max_changes=max_changes,
        max_samples=max_samples,
        seed=seed,
        n_workers=n_workers,
    )
    print_reproduction(found)
    write_table(found, out)
    if figures:
        for suffix in (".pdf", ".png"):
            save_figure(found.plot(), figures / f"reproduction{suffix}")
        report.written(figures)


COMMANDS = (reproduce,)
