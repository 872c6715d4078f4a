"""The command that draws attribution maps for a paper."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from probe import report
from probe.cli.writing import Output
from probe.errors import ProbeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.attribution.maps import AttributionMap
    from probe.datasets import Dataset

__all__ = ["COMMANDS", "typed"]

KINDS = ("map", "overlay", "mean", "difference", "single")


@click.command()
@click.argument("maps", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out",
    type=Output(),
    required=True,
    metavar="NAME|FILE",
    help="Name of the files without a suffix, or one file.",
)
@click.option("--kind", default="map", show_default=True, type=click.Choice(KINDS))
@click.option(
    "--data",
    "datasets",
    multiple=True,
    metavar="DATASET",
    help="Where images and masks are, as given to `probe attribute`.",
)
@click.option(
    "--style",
    metavar="NAME",
    help="ieee-column, ieee-page, acm, nature or slides.  [default: as fits]",
)
@click.option(
    "--scale",
    metavar="figure|row|column|cell",
    help="Maps that share a scale of colors.  [default: those of one unit]",
)
@click.option(
    "--format",
    "formats",
    metavar="A,B",
    help="Of pdf, png, svg.  [default: pdf,png, or that of --out]",
)
@click.option("--dpi", default=300, show_default=True, type=click.IntRange(min=30))
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    help="How many samples.  [default: 6; mean: all; difference: 4; single: 1]",
)
@click.option("--sample", "samples", multiple=True, metavar="ID", help="These samples instead.")
@click.pass_context
def figures(
    context: click.Context,
    maps: tuple[Path, ...],
    out: Path,
    kind: str,
    datasets: tuple[str, ...],
    style: str | None,
    scale: str | None,
    formats: str | None,
    dpi: int,
    rows: int | None,
    samples: tuple[str, ...],
) -> None:
    """Draw attribution MAPS for a paper, with a caption draft and all that they were made of.

    MAPS are what `probe attribute` wrote; several, of the same samples, become columns. Written
    are NAME.pdf, NAME.png, NAME.json (command, fingerprints, versions; also inside the files) and
    NAME.tex, to be included.
    """
    from probe.attribution.maps import AttributionMap
    from probe.figures import caption_draft, draw_attributions, provenance_of, write_figure
    from probe.figures.drawing import scale_of, titles_of

    opened = [AttributionMap.open(place) for place in maps]
    chosen = _chosen(opened, kind, rows, samples)
    those = titles_of([one.take(chosen) for one in opened], [place.stem for place in maps])
    ids = [str(name) for name in opened[0].data["sample"].values[chosen]]
    images, masks = _pictures(datasets, ids, opened[0])
    drawn = draw_attributions(those, images, masks, kind=kind, scale=scale, style=style)
    rule = scale_of(those, kind, scale)
    outlined = kind != "mean" and any(mask is not None for mask in masks or ())
    written = write_figure(
        drawn,
        out,
        _formats(out, formats),
        dpi=dpi,
        provenance=provenance_of(those, typed(context), figure=kind, scale=rule, samples=ids),
        caption=caption_draft(those, rule, kind, masks=outlined),
    )
    for place in written:
        report.written(place)
    if all(place.suffix != ".tex" for place in written):
        report.note("The .tex file there has been edited, and was left as it is.")


def typed(context: click.Context) -> str:
    """Return the command as it was given, defaults left out."""
    words = context.command_path.split()
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        for one in value if isinstance(value, tuple) else (value,):
            option = isinstance(parameter, click.Option)
            words += [parameter.opts[0], str(one)] if option else [str(one)]
    return shlex.join(words)


def _formats(out: Path, formats: str | None) -> list[str]:
    from probe.figures import FORMATS

    if formats is not None:
        return [f".{one.strip().lstrip('.')}" for one in formats.split(",") if one.strip()]
    return [out.suffix] if out.suffix in FORMATS else [".pdf", ".png"]


def _chosen(
    opened: Sequence[AttributionMap], kind: str, rows: int | None, samples: Sequence[str]
) -> list[int]:
    """Return the positions of the samples that are drawn; the same in all maps."""
    from probe.errors import UnknownNameError
    from probe.figures.attributions import drawn_samples, same_samples
    from probe.figures.drawing import FIGURES

    same_samples({str(i): one for i, one in enumerate(opened, start=1)})
    known = {str(name): i for i, name in enumerate(opened[0].data["sample"].values)}
    for name in samples:
        if name not in known:
            raise UnknownNameError("sample", name, known, where="the maps")
    if samples:
        return [known[name] for name in samples]
    return drawn_samples(opened[0], rows or FIGURES[kind] or len(known))


def _pictures(
    datasets: Sequence[str], ids: Sequence[str], maps: AttributionMap
) -> tuple[list[NDArray[Any]] | None, list[NDArray[Any] | None] | None]:
    """Read the images and masks of samples, as the detector saw them: resized to a square."""
    from probe.datasets import open_dataset
    from probe.datasets.dataset import resize

    if not datasets:
        return None, None
    places: dict[str, tuple[Dataset, int]] = {}
    for name in datasets:
        data = open_dataset(name)
        table = enumerate(data.samples.table["sample"])
        places = {str(sample): (data, i) for i, sample in table} | places
    missing = [name for name in ids if name not in places]
    if missing:
        raise ProbeError(
            f"{len(missing)} of {len(ids)} samples, such as {missing[0]!r}, are not in "
            f"{', '.join(datasets)}. The maps were made of {maps.data.attrs.get('data')!r}: give "
            "that as --data."
        )
    # Small maps must not make a coarse print of their images.
    side = max(256, *maps.values.shape[1:])
    images, masks = [], list[Any]()
    for data, i in (places[name] for name in ids):
        image = data.image(i)
        square = image.shape[0] == image.shape[1] <= side
        images.append(image if square else resize(image, side))
        masks.append(data.mask(i))
    return images, masks


COMMANDS = (figures,)
