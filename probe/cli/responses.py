"""The command about what units respond to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probe import report
from probe.cli.naming import COUNT, DETECTOR, DEVICE, SEED, detector_of
from probe.cli.separability import require_layers
from probe.cli.writing import DRAWN, TABLES, Output, write_table
from probe.errors import ProbeError, UnknownNameError
from probe.report.responses import responses as print_responses
from probe.schema import SPLITS

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from probe.responses import ResponseReport
    from probe.store import ActivationStore

__all__ = ["COMMANDS"]

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("store", type=FOLDER)
@click.option("--layer", "-l", required=True, help="A recorded layer.")
@click.option("--measurements", "-m", type=FOLDER, help="What `probe artifacts` kept (.zarr).")
@click.option("--datasets", multiple=True, help="Or measure these, such as lab; may be repeated.")
@click.option("--covariate", "covariates", multiple=True, help="Held constant; may be repeated.")
@click.option("--detector", "-d", "name", metavar=DETECTOR, help="Also turn up artifacts (lab).")
@click.option(
    "--others",
    type=click.Choice(["none", "own"]),
    default="none",
    show_default=True,
    help="All other artifacts at nought, or at the video's own doses.",
)
@click.option("--videos", default=12, show_default=True, help="Lab videos a dataset, to 25.")
@click.option("--universal", "-u", type=int, multiple=True, help="Units to mark; may be repeated.")
@click.option("--permutations", type=COUNT, default=1999, show_default=True)
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--figure", type=Output("figure format", DRAWN), help="Also draw it: .pdf .png .svg")
@click.option("--out", type=Output("table format", TABLES), help=".csv .parquet .tex .md .zarr")
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
    permutations: int,
    split: str,
    seed: int,
    figure: Path | None,
    out: Path | None,
    device: str,
) -> None:
    """Say what each unit of a recorded layer responds to."""
    from probe.artifacts.controls import COVARIATES
    from probe.hooks import trace
    from probe.responses import dose_response, relate, render_doses
    from probe.responses.doses import check_videos
    from probe.store import ActivationStore

    if bool(measurements) == bool(datasets) and (measurements or not name):
        raise click.UsageError("Give --measurements or --datasets, or --detector for doses alone.")
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
                recorded, layer, data, covariates, universal, n_permutations=permutations, seed=seed
            )
        )
    if detector is not None:
        images = render_doses(others=others, split=split, videos=videos)
        reducer = recorded.attrs["reducer"]
        parts.append(
            dose_response(detector, full, images, reducer=reducer, universal=universal, seed=seed)
        )
    found = parts[0] if len(parts) == 1 else parts[0].joined(parts[1])
    print_responses(found)
    if out:
        write_table(found, out)
    if figure:
        _draw(found, figure)


COMMANDS = (responses,)


def _require(store: ActivationStore, layer: str, universal: tuple[int, ...]) -> None:
    """Raise for a layer or units that are not there, before anything is measured or rendered."""
    require_layers([layer], [store])
    units = store[layer].sizes["unit"]
    if any(not 0 <= unit < units for unit in universal):
        raise ProbeError(
            f"universal={list(universal)} was given; {layer!r} has units 0 to {units - 1}."
        )


def _measured(measurements: Path | None, datasets: tuple[str, ...], split: str) -> xr.Dataset:
    """Read measurements, or take them."""
    from probe.artifacts import ArtifactMeasurements, measure_artifacts
    from probe.datasets import open_dataset

    if measurements:
        return ArtifactMeasurements.open(measurements).data
    parts = [open_dataset(one, split=split) for one in datasets]
    return measure_artifacts(parts, n_workers=None).data


def _draw(found: ResponseReport, path: Path) -> None:
    """Draw the parts that there are; their names are added to the file's."""
    from probe.figures import save_figure
    from probe.responses import drawing

    figures: dict[str, Callable[[ResponseReport], Figure]] = {}
    if found.has_doses:
        figures |= {"doses": drawing.dose_figure, "units": drawing.unit_figure}
    if found.has_correlations:
        figures |= {"correlations": drawing.correlation_figure}
    for name, draw in figures.items():
        file = path.with_name(f"{path.stem}-{name}{path.suffix}")
        report.written(save_figure(draw(found), file))
