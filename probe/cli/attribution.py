"""Commands for attribution: maps, reliability checks, and figures for a paper."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from probe import report
from probe.cli.options import (
    COUNT,
    DETECTOR,
    DEVICE,
    FOLDER,
    SEED,
    TABLES,
    Output,
    detectors_of,
    write_table,
)
from probe.errors import ProbeError
from probe.schema import SPLITS

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
    help="Base name of the files to write, without suffix, or one file.",
)
@click.option(
    "--kind",
    default="map",
    show_default=True,
    type=click.Choice(KINDS),
    help="map: maps beside images; overlay: maps over images; mean: means by dataset and label; "
    "difference: of two maps of one method; single: one sample.",
)
@click.option(
    "--data",
    "datasets",
    multiple=True,
    metavar="DATASET",
    help="Dataset that holds the images and masks, as given to `probe attribute`; repeatable.",
)
@click.option(
    "--style",
    metavar="NAME",
    help="Figure style: ieee-column, ieee-page, acm, nature or slides.  [default: by size]",
)
@click.option(
    "--scale",
    metavar="figure|row|column|cell",
    help="Maps that share one color scale.  [default: maps with the same unit of measurement]",
)
@click.option(
    "--format",
    "formats",
    metavar="A,B",
    help="File formats: pdf, png, svg.  [default: pdf,png, or the suffix of --out]",
)
@click.option(
    "--dpi",
    default=300,
    show_default=True,
    type=click.IntRange(min=30),
    help="Resolution of PNG files in dots per inch.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    help="Number of samples to draw.  [default: 6; mean: all; difference: 4; single: 1]",
)
@click.option(
    "--sample",
    "samples",
    multiple=True,
    metavar="ID",
    help="Sample to draw, instead of --rows; repeatable.",
)
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
    """Draw attribution maps as figures for a paper.

    MAPS are written by `probe attribute`; several maps of the same samples become columns. The
    command writes NAME.pdf, NAME.png, NAME.json (provenance: command, fingerprints, versions; also
    embedded in the files) and NAME.tex (figure environment with a draft of the caption).
    """
    from probe.attribution.maps import AttributionMap
    from probe.plots import caption_draft, draw_attributions, provenance_of, write_figure
    from probe.plots.map_summaries import scale_of, titles_of

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
        report.note("The existing .tex file was edited by hand and is kept unchanged.")


def typed(context: click.Context) -> str:
    """Return the command line as given, without defaults."""
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
    from probe.plots import FORMATS

    if formats is not None:
        return [f".{one.strip().lstrip('.')}" for one in formats.split(",") if one.strip()]
    return [out.suffix] if out.suffix in FORMATS else [".pdf", ".png"]


def _chosen(
    opened: Sequence[AttributionMap], kind: str, rows: int | None, samples: Sequence[str]
) -> list[int]:
    """Return the positions of the samples to draw, which are the same in all maps."""
    from probe.errors import UnknownNameError
    from probe.plots.attribution_maps import drawn_samples, same_samples
    from probe.plots.map_summaries import FIGURES

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
    """Read the images and masks of samples, resized to a square as for the detector."""
    from probe.datasets import open_datasets
    from probe.datasets.dataset import resize

    if not datasets:
        return None, None
    places: dict[str, tuple[Dataset, int]] = {}
    for data in open_datasets(datasets):
        table = enumerate(data.samples.table["sample"])
        places = {str(sample): (data, i) for i, sample in table} | places
    missing = [name for name in ids if name not in places]
    if missing:
        raise ProbeError(
            f"{len(missing)} of {len(ids)} samples, such as {missing[0]!r}, are not in "
            f"{', '.join(datasets)}. The maps were made of "
            f"{', '.join(maps.provenance.data) or 'images given in Python'}: give that as --data."
        )
    # Images keep a resolution fit for print where maps are small.
    side = max(256, *maps.values.shape[1:])
    images, masks = [], list[Any]()
    for data, i in (places[name] for name in ids):
        image = data.image(i)
        square = image.shape[0] == image.shape[1] <= side
        images.append(image if square else resize(image, side))
        masks.append(data.mask(i))
    return images, masks


BESIDE = (
    " Originals: the real image that a fake was made from, else the nearest frame of the same "
    "person."
)
RUN = click.Path(path_type=Path, file_okay=False)


def _list_methods(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from probe.attribution.methods import FAMILIES, METHODS
        from probe.report.attribution import print_methods

        print_methods(METHODS, FAMILIES)
        context.exit()


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option(
    "--detector",
    "-d",
    "names",
    multiple=True,
    required=True,
    metavar=DETECTOR,
    help="Detector to explain; repeatable.",
)
@click.option(
    "--method",
    "-m",
    "methods",
    multiple=True,
    metavar="A,B|all",
    help="Attribution methods, comma-separated; see --methods.  [default: gradcam]",
)
@click.option(
    "--methods",
    "listed",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_methods,
    help="List the attribution methods and exit.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="test",
    show_default=True,
    help="Split to explain.",
)
@click.option(
    "--label",
    type=click.Choice(["real", "fake"]),
    help="Only images of this class.  [default: both]",
)
@click.option(
    "--max-samples",
    type=COUNT,
    help="Maximum number of images per dataset, spread over identities.  [default: all]",
)
@click.option(
    "--target",
    default="logit",
    show_default=True,
    metavar="logit|LAYER:UNIT[,UNIT]",
    help="Output to explain: the fake logit, or units of a layer.",
)
@click.option(
    "--universal",
    type=RUN,
    help="Explain the universal units of this universality table, instead of --target.",
)
@click.option(
    "--layer",
    "-l",
    help="Layer of methods that weight activation maps.  [default: last convolution]",
)
@click.option(
    "--baseline",
    metavar="black|blur|mean|pair",
    help="Baseline image; pair: the real image of a fake.  [default: the method's]",
)
@click.option(
    "--option",
    "-O",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of a method, such as steps=50; repeatable.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option(
    "--memory", default="2G", show_default=True, help="Maximum memory of a batch (800M, 2G)."
)
@click.option(
    "--out",
    type=FOLDER,
    help="Folder to write maps to, or NAME.zarr for a single map file; resumable.",
)
@click.option(
    "--figure",
    type=Output(),
    help="Also draw the maps to this file (.pdf, .svg, .png) or base name.",
)
@click.option("--style", help="Style of the figure; see `probe figures --help`.")
@click.option("--check", is_flag=True, help="Run reliability checks of the maps.")
@click.option("--checks", metavar="A,B", help="Reliability checks to run.  [default: all]")
@click.option("--compare", is_flag=True, help="Compare the maps of several detectors by SSIM.")
@click.option(
    "--mode",
    type=click.Choice(["corrected", "authors"]),
    default="corrected",
    show_default=True,
    help="Rule of --compare: corrected, or as released by the authors of the study.",
)
@click.option("--regions", is_flag=True, help="Measure region attention: maps by face region.")
@click.option(
    "--table",
    type=Output("table format", TABLES),
    help="Table of the results to write (.csv .parquet .tex .md .zarr).",
)
@DEVICE
def attribute(datasets: tuple[str, ...], **options: Any) -> None:
    """Compute attribution maps and check their reliability.

    \b
    probe attribute lab:deepfakes -d runs/demo/detectors/meso4-base --label fake --figure maps
    probe attribute lab -d FOLDER -m gradcam,integrated_gradients --out maps --check
    """  # noqa: D301
    from probe.attribution.several import attribute_all, method_names, parse_options, require
    from probe.report.attribution import print_maps

    names = method_names(options["methods"] or ["gradcam"])
    settings = {
        "target": _target(options),
        "layer": options["layer"],
        "baseline": options["baseline"],
        "seed": options["seed"],
        "memory": options["memory"],
        "options": parse_options(options["options"]),
    }
    _require(options)
    those = detectors_of(options["names"], options["device"])
    require(those, names, out=options["out"], **settings)
    everything, data = _images(datasets, options)
    settings["pairs"] = everything
    found = attribute_all(those, data, names, out=options["out"], **settings)
    print_maps(found)
    for place in found.places.values():
        report.written(place)
    _draw(found, data, everything, options)
    _analyse(found, those, data, settings, options)


def _require(options: Any) -> None:
    """Validate the options of later steps before the maps are computed."""
    from probe.attribution.trust.checks import chosen_checks
    from probe.budget import parse_memory
    from probe.plots import STYLES

    if options["style"]:
        _ = STYLES[options["style"]]
    chosen_checks(_checks(options))
    parse_memory(options["memory"])
    if options["compare"] and len(set(options["names"])) < 2:
        raise ProbeError("--compare compares detectors; give two or more with --detector.")


def _images(datasets: tuple[str, ...], options: Any) -> tuple[Any, Any]:
    """Return all images of the split, and the selected ones."""
    from probe.datasets import open_datasets
    from probe.datasets.dataset import concatenate
    from probe.datasets.subset import draw
    from probe.schema import FAKE, REAL

    opened = open_datasets(datasets, split=options["split"])
    everything = opened[0] if len(opened) == 1 else concatenate(opened, "+".join(datasets))
    chosen = everything
    if options["label"]:
        chosen = chosen.select(label=FAKE if options["label"] == "fake" else REAL)
    return everything, draw(chosen, options["max_samples"], options["seed"])


def _target(options: Any) -> Any:
    from probe.attribution.several import parse_target

    if not options["universal"]:
        return parse_target(options["target"])
    from probe.neurons import Universality

    if options["target"] != "logit":
        raise ProbeError("--target and --universal were given; give one of them.")
    table = Universality.open(options["universal"])
    units = table.universal.tolist()
    if not units:
        raise ProbeError(
            f"{str(options['universal'])!r} holds no universal unit: none passed the test. Give "
            "units with --target LAYER:UNIT,UNIT instead."
        )
    return str(table.data.attrs["layer"]), units


def _draw(found: Any, data: Any, everything: Any, options: Any) -> None:
    """Draw six samples, spread over datasets and classes: originals, images and maps."""
    if not options["figure"]:
        return
    from probe.datasets.subset import draw_rows, original_positions
    from probe.plots import FORMATS, attribution_figure, caption_draft, provenance_of
    from probe.plots import write_figure as write
    from probe.plots.map_summaries import scale_of

    rows = draw_rows(data.samples.table, 6, options["seed"], turns=("dataset", "label")).tolist()
    maps = {title: one.take(rows) for title, one in found.titled.items()}
    images, masks = ([take(i) for i in rows] for take in (data.image, data.mask))
    places = original_positions(data.take(rows), everything)
    originals = [everything.image(int(i)) if i >= 0 else None for i in places]
    drawn = attribution_figure(
        maps,
        images,
        masks,
        style=options["style"],
        originals=originals if (places >= 0).any() else None,
    )
    rule = scale_of(maps, "map", None)
    out = options["figure"]
    for place in write(
        drawn,
        out,
        [out.suffix] if out.suffix in FORMATS else [".pdf", ".png"],
        provenance=provenance_of(maps, typed(click.get_current_context())),
        caption=caption_draft(maps, rule, "map", masks=any(m is not None for m in masks))
        + (BESIDE if (places >= 0).any() else ""),
    ):
        report.written(place)


def _analyse(found: Any, those: Any, data: Any, settings: Any, options: Any) -> None:
    """Run the requested analyses of the maps; each writes its own table."""
    table = options["table"]
    check = bool(options["check"] or options["checks"])
    several = check + options["compare"] + options["regions"] > 1
    if check:
        from probe.attribution.trust import trust_report
        from probe.report.attribution import print_trust

        for one in those:
            mine = [name for label, name in found.maps if label == one.name]
            trust = trust_report(
                one,
                data,
                mine,
                target=settings["target"],
                layer=settings["layer"],
                seed=settings["seed"],
                memory=settings["memory"],
                checks=_checks(options),
                options=_own_options(mine, settings),
                pairs=settings["pairs"],
            )
            print_trust(trust)
            end = f"-{one.name.replace('/', '-')}" if len(those) > 1 else ""
            write_table(trust, table, f"-trust{end}" if several else end)
    if options["compare"]:
        from probe.attribution.similarity import map_similarity
        from probe.report.attribution import similarity

        for name in dict.fromkeys(method for _, method in found.maps):
            compared = map_similarity(found.of_method(name), mode=options["mode"])
            similarity(compared)
            write_table(compared, table, f"-{name}-similarity")
    if options["regions"]:
        from probe.attribution.regions import attention_by_region
        from probe.report.attribution import attention

        for (label, name), maps in found.maps.items():
            looked = attention_by_region(maps, data)
            attention(looked)
            write_table(looked, table, f"-{label.replace('/', '-')}-{name}-regions")


def _checks(options: Any) -> list[str] | None:
    asked = options["checks"]
    return [one.strip() for one in asked.split(",") if one.strip()] if asked else None


def _own_options(methods: list[str], settings: Any) -> dict[str, dict[str, Any]]:
    """Return the options that each method accepts."""
    from probe.attribution.methods import METHODS

    out = {}
    for name in methods:
        own = {k: v for k, v in settings["options"].items() if k in METHODS[name].options}
        if METHODS[name].baseline and settings["baseline"]:
            own["baseline"] = settings["baseline"]
        out[name] = own
    return out


COMMANDS = (attribute, figures)
