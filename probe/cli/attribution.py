"""The command about attribution maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from probe import report
from probe.cli.naming import COUNT, DETECTOR, DEVICE, SEED, detectors_of
from probe.cli.writing import FOLDER, TABLES, Output, write_table
from probe.errors import ProbeError
from probe.schema import SPLITS

__all__ = ["COMMANDS"]

BESIDE = (
    " Originals: the real image that a fake was made of, or else the same person's of the nearest "
    "frame."
)
RUN = click.Path(path_type=Path, file_okay=False)


def _list_methods(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from probe.attribution.methods import FAMILIES, METHODS
        from probe.report.maps import print_methods

        print_methods(METHODS, FAMILIES)
        context.exit()


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--detector", "-d", "names", multiple=True, required=True, metavar=DETECTOR)
@click.option(
    "--method",
    "-m",
    "methods",
    multiple=True,
    metavar="A,B|all",
    help="Methods.  [default: gradcam]",
)
@click.option(
    "--methods",
    "listed",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_methods,
    help="List the methods, and end.",
)
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--label", type=click.Choice(["real", "fake"]), help="Only these images.")
@click.option("--max-samples", type=COUNT, help="Images a dataset, drawn over people.")
@click.option(
    "--target",
    default="logit",
    show_default=True,
    metavar="logit|LAYER:UNIT[,UNIT]",
    help="What is explained.",
)
@click.option("--universal", type=RUN, help="Explain the units of this universality table.")
@click.option("--layer", "-l", help="Whose maps are weighted.  [default: the last convolution]")
@click.option("--baseline", metavar="black|blur|mean|pair", help="What images are compared with.")
@click.option("--option", "-O", "options", multiple=True, metavar="NAME=VALUE", help="steps=50")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--memory", default="2G", show_default=True, help="What a batch may take.")
@click.option("--out", type=FOLDER, help="A folder for maps, or NAME.zarr for one file; resumes.")
@click.option("--figure", type=Output(), help="Also draw them: NAME, or a .pdf, .svg or .png.")
@click.option("--style", help="Of the figure; see `probe figures --help`.")
@click.option("--check", is_flag=True, help="Check how far the maps can be trusted.")
@click.option("--checks", metavar="A,B", help="Only these checks.  [default: all]")
@click.option("--compare", is_flag=True, help="Compare the maps of several detectors by SSIM.")
@click.option(
    "--mode",
    type=click.Choice(["corrected", "authors"]),
    default="corrected",
    show_default=True,
    help="How --compare compares.",
)
@click.option("--regions", is_flag=True, help="Say where in the face the detectors look.")
@click.option(
    "--table",
    type=Output("table format", TABLES),
    help="What is found: .csv .parquet .tex .md .zarr",
)
@DEVICE
def attribute(datasets: tuple[str, ...], **options: Any) -> None:
    r"""Explain what detectors say of images by heatmaps, and check whether to trust them.

    \b
    probe attribute lab:deepfakes -d runs/demo/detectors/meso4-base --label fake --figure maps
    probe attribute lab -d FOLDER -m gradcam,integrated_gradients --out maps --check
    """
    from probe.attribution.several import attribute_all, method_names, parse_options, require
    from probe.report.maps import print_maps

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
    """Raise for what would be refused only when maps are drawn, checked or compared."""
    from probe.attribution.trust.checks import chosen_checks
    from probe.budget import parse_memory
    from probe.figures import STYLES

    if options["style"]:
        _ = STYLES[options["style"]]
    chosen_checks(_checks(options))
    parse_memory(options["memory"])
    if options["compare"] and len(set(options["names"])) < 2:
        raise ProbeError("--compare compares detectors; give two or more with --detector.")


def _images(datasets: tuple[str, ...], options: Any) -> tuple[Any, Any]:
    """Return all images of the split, and those that are asked for."""
    from probe.datasets import open_dataset
    from probe.datasets.dataset import concatenate
    from probe.datasets.subset import draw
    from probe.schema import FAKE, REAL

    opened = [open_dataset(name, split=options["split"]) for name in datasets]
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
            f"{str(options['universal'])!r} holds no universal unit: none passes its test. Name "
            "units with --target LAYER:UNIT,UNIT instead."
        )
    return str(table.data.attrs["layer"]), units


def _draw(found: Any, data: Any, everything: Any, options: Any) -> None:
    """Draw six samples, drawn over datasets and classes: what fakes were made of, images, maps."""
    if not options["figure"]:
        return
    from probe.cli.figures import typed
    from probe.datasets.subset import draw_rows, original_positions
    from probe.figures import FORMATS, attribution_figure, caption_draft, provenance_of
    from probe.figures import write_figure as write
    from probe.figures.drawing import scale_of

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
    """Do what is asked for beyond the maps; each writes a table of its own."""
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
        from probe.report.looking import similarity

        for name in dict.fromkeys(method for _, method in found.maps):
            compared = map_similarity(found.of_method(name), mode=options["mode"])
            similarity(compared)
            write_table(compared, table, f"-{name}-similarity")
    if options["regions"]:
        from probe.attribution.regions import attention_by_region
        from probe.report.looking import attention

        for (label, name), maps in found.maps.items():
            looked = attention_by_region(maps, data)
            attention(looked)
            write_table(looked, table, f"-{label.replace('/', '-')}-{name}-regions")


def _checks(options: Any) -> list[str] | None:
    asked = options["checks"]
    return [one.strip() for one in asked.split(",") if one.strip()] if asked else None


def _own_options(methods: list[str], settings: Any) -> dict[str, dict[str, Any]]:
    """Return what each method takes of the options."""
    from probe.attribution.methods import METHODS

    out = {}
    for name in methods:
        own = {k: v for k, v in settings["options"].items() if k in METHODS[name].options}
        if METHODS[name].baseline and settings["baseline"]:
            own["baseline"] = settings["baseline"]
        out[name] = own
    return out


COMMANDS = (attribute,)
