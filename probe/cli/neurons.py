"""Commands for neurons: importance, ablation, heads and calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from probe import report
from probe.cli.options import (
    COUNT,
    DETECTOR,
    DEVICE,
    DRAWN,
    FRAMES,
    PRECISION,
    SEED,
    SHARE,
    Output,
    detector_of,
    say_deviation,
    taken,
)
from probe.schema import SPLITS

__all__ = ["COMMANDS"]

SPLIT = click.option(
    "--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Split to use."
)
OUT = click.option(
    "--out",
    type=Output("table format", FRAMES),
    help="Table to write (.csv .parquet .tex .md).",
)
LAYER = click.option(
    "--layer", "-l", help="Layer to measure.  [default: the detector's unit layer]"
)
ONE = click.option(
    "--detector", "-d", "name", required=True, metavar=DETECTOR, help="Detector to measure."
)


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@ONE
@LAYER
@click.option(
    "--measure",
    default="ace",
    show_default=True,
    help="Importance measure: ace, slope, delta_logit, delta_auroc, delta_logloss, "
    "delta_accuracy, gradient, conductance, auroc, dprime or weight_range.",
)
@click.option(
    "--mode",
    type=click.Choice(["default", "authors"]),
    default="default",
    show_default=True,
    help="authors: follow the released code of the study.",
)
@click.option(
    "--order",
    type=click.Choice(["drawn", "first"]),
    default="drawn",
    show_default=True,
    help="Images of --mode authors: drawn over classes and videos, or the first rows.",
)
@click.option(
    "--positions", is_flag=True, help="Treat every position of an activation map as a unit."
)
@click.option(
    "--top",
    type=SHARE,
    default=0.5,
    show_default=True,
    help="Fraction of units in the top list of each dataset.",
)
@click.option(
    "--alpha",
    type=SHARE,
    default=0.05,
    show_default=True,
    help="False discovery rate of the test.",
)
@click.option(
    "--correction",
    type=click.Choice(["bh", "by"]),
    default="bh",
    show_default=True,
    help="Benjamini-Hochberg or Benjamini-Yekutieli.",
)
@click.option(
    "--ablate/--no-ablate",
    "ablated",
    default=True,
    show_default=True,
    help="Also ablate the units found, on identities not used to select them.",
)
@SPLIT
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@OUT
@DEVICE
@PRECISION
def neurons(
    datasets: tuple[str, ...],
    name: str,
    layer: str | None,
    measure: str,
    mode: str,
    order: str,
    positions: bool,
    top: float,
    alpha: float,
    correction: str,
    ablated: bool,
    split: str,
    seed: int,
    out: Path | None,
    device: str,
    precision: str,
) -> None:
    """Find units that contribute to detection in every dataset.

    Prints a test with a controlled error rate, the study's count beside null distributions, and an
    ablation of the units found.
    """
    from probe.datasets.subset import undivided
    from probe.hooks import trace
    from probe.neurons import (
        MEASURES,
        default_layer,
        neuron_importance,
        one_class,
        universal_neurons,
    )
    from probe.neurons.ablation import NoSetsError, ablate_universal

    labels = MEASURES[measure].labels
    detector = detector_of(name, device)
    trace(detector).resolve(layer or default_layer(detector))
    parts = _parts(datasets, split)
    alone = one_class(parts, mode, order, seed)
    used = [part for part in parts if not labels or part.name not in alone] or parts
    halves = [part for part in parts if not undivided(part, seed)] if ablated else []
    _say_left_out(parts, used, halves, alone, ablated and not positions, seed)
    table = neuron_importance(
        detector,
        used,
        layer,
        measure=measure,
        mode=mode,
        order=order,
        positions=positions,
        seed=seed,
        precision=precision,
    )
    say_deviation(table.data.attrs)
    if out:
        report.written(table.export(out))
    if len(used) < 2:
        report.one_dataset(table, alpha)
        return
    found = universal_neurons(table, top, alpha=alpha, correction=correction)
    report.universality(found)
    if out:
        report.written(found.export(out.with_name(f"{out.stem}-universality{out.suffix}")))
    if len(halves) > 1 and not positions:
        try:
            without = ablate_universal(
                detector, halves, layer, top=top, alpha=alpha, correction=correction, seed=seed
            )
        except NoSetsError as error:
            report.note(str(error))
            return
        report.ablation(without)
        if out:
            report.written(without.export(out.with_name(f"{out.stem}-ablation{out.suffix}")))


def _say_left_out(
    parts: list[Any],
    used: list[Any],
    halves: list[Any],
    alone: dict[str, str],
    ablated: bool,
    seed: int,
) -> None:
    """Print, before the computation starts, what these datasets do not allow to measure and why."""
    from probe.datasets.subset import undivided
    from probe.stats import MIN_CLUSTERS

    for part in parts:
        count = len(set(part.samples.clusters.tolist()))
        if count < MIN_CLUSTERS:
            report.note(
                f"Left out: {part.name}: it has {count} clusters (identities, else videos); "
                f"intervals need {MIN_CLUSTERS}."
            )
        if part.name in alone:
            report.note(f"Left out: {part.name}: {alone[part.name]}; no contributions, no test.")
        elif ablated and part not in halves:
            report.note(f"Left out: ablation, {part.name}: {undivided(part, seed)}.")
    if len(used) < 2:
        report.note("Left out: universality: it needs at least two datasets.")
    elif ablated and len(halves) < 2:
        report.note("Left out: ablation: fewer than two datasets can be split by identity.")


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@ONE
@LAYER
@click.option(
    "--units",
    "-u",
    "sets",
    multiple=True,
    required=True,
    metavar="[NAME=]1,4,7-12",
    help="Set of units to ablate; repeatable.",
)
@click.option(
    "--values",
    type=click.Choice(["mean", "zero"]),
    default="mean",
    show_default=True,
    help="Value that ablated units are set to.",
)
@click.option(
    "--random",
    "n_random",
    type=COUNT,
    default=100,
    show_default=True,
    help="Number of matched random sets per set.",
)
@SPLIT
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@OUT
@DEVICE
def ablate(
    datasets: tuple[str, ...],
    name: str,
    layer: str | None,
    sets: tuple[str, ...],
    values: str,
    n_random: int,
    split: str,
    seed: int,
    out: Path | None,
    device: str,
) -> None:
    """Ablate sets of units, against matched random sets."""
    from probe.neurons.ablation import ablate as take_out
    from probe.neurons.ablation import require_units

    units = dict(_set(text) for text in sets)
    detector = detector_of(name, device)
    require_units(detector, units, layer)
    found = take_out(
        detector,
        _parts(datasets, split),
        layer,
        units=units,
        values=values,
        n_random=n_random,
        seed=seed,
    )
    report.ablation(found)
    if out:
        report.written(found.export(out))


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@ONE
@LAYER
@click.option("--held-out", help="Dataset to test on.  [default: each in turn]")
@click.option(
    "--at-least",
    type=int,
    help="Minimum number of datasets in which a unit contributes.  [default: all]",
)
@click.option(
    "--random",
    "n_random",
    type=COUNT,
    default=100,
    show_default=True,
    help="Number of random sets of units.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@OUT
@DEVICE
def heads(
    datasets: tuple[str, ...],
    name: str,
    layer: str | None,
    held_out: str | None,
    at_least: int | None,
    n_random: int,
    seed: int,
    out: Path | None,
    device: str,
) -> None:
    """Refit heads on universal units; test on a held-out dataset.

    The units are universal over the other datasets.
    """
    from probe.errors import UnknownNameError
    from probe.neurons import leave_one_out, universal_head

    detector = detector_of(name, device)
    parts = {part.name: part for part in _parts(datasets, None)}
    options: dict[str, Any] = {"at_least": at_least, "n_random": n_random, "seed": seed}
    if held_out is None:
        found = leave_one_out(detector, list(parts.values()), layer, **options)
    else:
        if held_out not in parts:
            raise UnknownNameError("dataset", held_out, parts)
        rest = [part for other, part in parts.items() if other != held_out]
        found = universal_head(detector, rest, layer, held_out=parts[held_out], **options)
    report.heads(found)
    if out:
        report.written(found.export(out))


@click.command()
@click.argument("dataset", default="lab")
@click.option(
    "--draws",
    default=20,
    show_default=True,
    help="Number of planted detectors per setting.",
)
@click.option(
    "--units",
    type=int,
    multiple=True,
    help="Number of units; repeatable; crossed with --effect.",
)
@click.option(
    "--effect",
    type=float,
    multiple=True,
    help="Effect size, in standard deviations over clusters; repeatable; crossed with --units.",
)
@click.option(
    "--clusters", default=25, show_default=True, help="Number of clusters (identities) per dataset."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option(
    "--figure",
    type=Output("figure format", DRAWN),
    help="Figure to write (.pdf .png .svg).",
)
@OUT
@DEVICE
def calibrate(
    dataset: str,
    draws: int,
    units: tuple[int, ...],
    effect: tuple[float, ...],
    clusters: int,
    seed: int,
    figure: Path | None,
    out: Path | None,
    device: str,
) -> None:
    """Calibrate universality rules on planted detectors.

    Measures power and error rates of each rule on detectors whose universal units are known.
    """
    from probe.datasets import open_dataset
    from probe.neurons import calibrate as run
    from probe.neurons.calibration import SETTINGS
    from probe.plots import save_figure
    from probe.plots.calibration import plot_calibration

    settings = [(u, e) for u in units or (256,) for e in effect or (1.0,)]
    found = run(
        open_dataset(dataset),
        draws=draws,
        clusters=clusters,
        seed=seed,
        settings=settings if units or effect else SETTINGS,
        device=taken(device),
    )
    report.calibration(found)
    if out:
        report.written(found.export(out))
    if figure:
        save_figure(plot_calibration(found), figure)
        report.written(figure)


COMMANDS = (neurons, ablate, heads, calibrate)


def _parts(names: tuple[str, ...], split: str | None) -> list[Any]:
    from probe.datasets import open_datasets, parts_of

    return [part for data in open_datasets(names, split=split) for part in parts_of(data)]


def _set(text: str) -> tuple[str, list[int]]:
    """Read ``name=1,4,7-12``."""
    name, _, numbers = text.rpartition("=")
    units: list[int] = []
    for part in numbers.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise click.BadParameter(
                f"{text!r} is not a set of units; give numbers and ranges such as "
                "universal=1,4,7-12."
            )
        units += range(int(first), int(last or first) + 1)
    return name or "units", units
