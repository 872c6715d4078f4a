"""The command about artifacts."""

from __future__ import annotations

from pathlib import Path

import click

from probe import report
from probe.cli.naming import COUNT, SEED
from probe.cli.writing import FOLDER, TABLES, Output, write_table
from probe.report.artifacts import artifacts as print_artifacts
from probe.schema import SPLITS

__all__ = ["COMMANDS"]


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option(
    "--caliper",
    type=click.FloatRange(0, min_open=True),
    default=0.2,
    show_default=True,
    help="Of matching, in SDs.",
)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--n-workers", type=COUNT, help="Processes; all cores by default.")
@click.option("--figures", type=FOLDER, help="Also draw spectra, effects and methods there.")
@click.option("--out", type=Output("table format", TABLES), help=".csv .parquet .tex .md .zarr")
def artifacts(
    datasets: tuple[str, ...],
    split: str,
    caliper: float,
    seed: int,
    n_workers: int | None,
    figures: Path | None,
    out: Path | None,
) -> None:
    """Measure artifacts of synthesis on images, real against fake, with controls.

    --out NAME.csv also writes what was measured on every image to NAME-images.csv.
    """
    from probe.artifacts import artifact_report, measure_artifacts
    from probe.artifacts.drawing import draw_report
    from probe.datasets import open_dataset, parts_of

    parts = [part for name in datasets for part in parts_of(open_dataset(name, split=split))]
    measured = measure_artifacts(parts, n_workers=n_workers)
    found = artifact_report(measured, caliper=caliper, seed=seed)
    print_artifacts(found)
    if out:
        write_table(found, out)
        write_table(measured, out, "-images")
    for path in draw_report(found, figures) if figures else []:
        report.written(path)


COMMANDS = (artifacts,)
