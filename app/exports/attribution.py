"""What the Attribution page leaves to take away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from app.exports.export import Export
from app.exports.script import given_roots, script
from app.queries.attribution import chosen_image, known_mapped, listed_images, mapped_detectors
from app.queries.attribution_files import image_under, map_values, mask_under
from app.queries.attribution_findings import MODES, WHAT
from app.queries.attribution_maps import MapsView, maps_view
from app.run import Run
from app.selection import Selection
from probe.attribution.findings import MapSimilarity, RegionAttention
from probe.errors import ProbeError
from probe.plots import Cell, grid_figure
from probe.plots.attribution import regions_figure, similarity_figure
from probe.run import MissingTableError
from probe.schema import family_of

__all__ = ["EXPORTS"]


def _images(run: Run, chosen: Selection) -> pd.DataFrame:
    return listed_images(run, chosen, known_mapped(run, chosen)).drop(columns="token")


def _view(run: Run, chosen: Selection) -> MapsView:
    label = known_mapped(run, chosen)
    return maps_view(run, chosen, label, chosen_image(run, chosen, label))


def _maps(run: Run, chosen: Selection) -> pd.DataFrame:
    """Return one row a method and detector: scale, gap and checks of the map, or why none."""
    view = _view(run, chosen)
    return pd.DataFrame(
        {
            "sample": view.image.sample,
            "method": column.method,
            "detector": row.detector,
            "logit": row.logit,
            "scale_end": column.limit_of(row.detector) if cell.source else np.nan,
            "gap": cell.gap,
            "relative_gap": cell.relative_gap,
            "checks_passed": cell.badge.passed if cell.badge else None,
            "checks_tested": cell.badge.tested if cell.badge else None,
            "reason": cell.reason,
        }
        for row in view.rows
        for column, cell in zip(view.columns, row.cells, strict=True)
    )


def _maps_figure(run: Run, chosen: Selection) -> Figure:
    """Draw the image and its maps: a row a method, a column a detector, a scale a family."""
    view = _view(run, chosen)
    image, mask = image_under(run, view.image.token), None
    if view.image.has_mask and chosen.outline != "off":
        mask = mask_under(run, view.image.token)
    below = image if chosen.overlay == "overlay" else None
    # With one family its scale stands beside each row; of several each map says its end.
    several = len({family_of(row.detector) for row in view.rows}) > 1
    cells: list[list[Cell | None]] = []
    for i, column in enumerate(view.columns):
        line: list[Cell | None] = []
        if image is not None:
            line.append(None if i else Cell(image, mask=mask))
        for row in view.rows:
            if row.cells[i].source:
                values = map_values(run, row.detector, column.method, view.image.token)
                ends = (column.low, column.high)
                group = f"{column.method} {family_of(row.detector)}" if several else ""
                line.append(Cell(below, values, mask, column.signed, ends, group))
            else:
                line.append(None)
        cells.append(line)
    titles = [*([] if image is None else ["image"]), *(row.detector for row in view.rows)]
    rule = "cell" if several else "row"
    return grid_figure(cells, titles, [one.title for one in view.columns], scale=rule)


def _maps_code(run: Run, chosen: Selection) -> str:
    view = _view(run, chosen)
    there = [
        (row.detector, column.method)
        for column, cells in zip(
            view.columns, zip(*(r.cells for r in view.rows), strict=True), strict=True
        )
        for row, cell in zip(view.rows, cells, strict=True)
        if cell.source
    ]
    methods = {
        one.method: (one.title, bool(one.signed), (one.low, one.high)) for one in view.columns
    }
    outlined = view.image.has_mask and chosen.outline != "off"
    several = len({family_of(row.detector) for row in view.rows}) > 1
    group = "f'{method} {family_of(detector)}'" if several else "''"
    return script(
        run,
        "attribution-maps",
        [
            "import pandas as pd",
            "import numpy as np",
            "from probe import AttributionMap",
            "from probe.plots import Cell, grid_figure",
            "from probe.images import run_data",
            *(["from probe.schema import family_of"] if several else []),
        ],
        [
            f"sample = {view.image.sample!r}",
            f"detectors = {[row.detector for row in view.rows]!r}",
            "# Title, whether signed, and what the ends of the scale mean.",
            f"methods = {methods!r}",
            f"shown = {there!r}",
            "maps = {}",
            "for detector, method in shown:",
            "    found = AttributionMap.open(run.path('maps', detector, method))",
            '    names = [str(name) for name in found.data["sample"].values]',
            "    maps[detector, method] = found.take([names.index(sample)])",
            "table = pd.concat([one.to_dataframe() for one in maps.values()], keys=maps)",
            'table = table.reset_index(level=[0, 1], names=["detector", "method"])',
        ],
        [
            f"data = run_data(run{given_roots(run)})",
            'row = int(np.flatnonzero(data.samples.table["sample"] == sample)[0])',
            f"image, mask = data.image(row), {'data.mask(row)' if outlined else 'None'}",
            f"below = {'image' if chosen.overlay == 'overlay' else 'None'}",
            "# One scale an architecture, and one for each weights that were brought.",
            "cells = []",
            "for method, (title, signed, ends) in methods.items():",
            "    line = [None if cells else Cell(image, mask=mask)]",
            "    for detector in detectors:",
            "        one = maps.get((detector, method))",
            f"        group = {group}",
            "        cell = one and Cell(below, one.values[0], mask, signed, ends, group)",
            "        line.append(cell)",
            "    cells.append(line)",
            "titles = [title for title, _, _ in methods.values()]",
            f"rule = {'cell' if several else 'row'!r}",
            'figure = grid_figure(cells, ["image", *detectors], titles, scale=rule)',
        ],
    )


def _trust(run: Run, chosen: Selection) -> pd.DataFrame:
    """Return the trust reports of all detectors that have one."""
    frames = []
    for label in mapped_detectors(run):
        try:
            frame = run.trust(label).to_dataframe()
        except MissingTableError:
            continue
        frame.insert(0, "detector", label)
        frames.append(frame)
    if not frames:
        raise MissingTableError("trust report", run.command)
    return pd.concat(frames, ignore_index=True)


def _similarity(run: Run, chosen: Selection) -> MapSimilarity:
    name = known_mapped(run, chosen).split("/")[0]
    return run.map_similarity(name, chosen.named("mode", list(MODES)))


def _similarity_code(run: Run, chosen: Selection) -> str:
    name, mode = known_mapped(run, chosen).split("/")[0], chosen.named("mode", list(MODES))
    return script(
        run,
        "map-similarity",
        [
            "from probe import MapSimilarity",
            "from probe.plots.attribution import similarity_figure",
        ],
        [
            f"found = MapSimilarity.open(run.path('map_similarity', {name!r}, {mode!r}))",
            "table = found.to_dataframe()",
        ],
        ["figure = similarity_figure(found.data)"],
    )


def _attention(run: Run, chosen: Selection) -> tuple[RegionAttention, str, str]:
    """Return the table, and which part and number of it are shown."""
    found = run.attention(known_mapped(run, chosen))
    part = chosen.named("part", [str(name) for name in found.data["part"].values])
    return found, part, chosen.named("what", list(WHAT))


def _attention_figure(run: Run, chosen: Selection) -> Figure:
    found, part, what = _attention(run, chosen)
    if not np.isfinite(found.data[what].sel(part=part).values).any():
        raise ProbeError("There is nothing to draw: no group has a number. Choose another part.")
    return regions_figure(found.data, what, part)


def _attention_code(run: Run, chosen: Selection) -> str:
    _, part, what = _attention(run, chosen)
    label = known_mapped(run, chosen)
    return script(
        run,
        "attention-by-region",
        [
            "from probe import RegionAttention",
            "from probe.plots.attribution import regions_figure",
        ],
        [
            f"found = RegionAttention.open(run.path('attention', {label!r}))",
            "table = found.to_dataframe()",
        ],
        [f"figure = regions_figure(found.data, {what!r}, {part!r})"],
    )


def _similarity_attrs(run: Run, chosen: Selection) -> Mapping[Any, Any]:
    return _similarity(run, chosen).data.attrs


EXPORTS = {
    "explained-images": Export(_images, about=("detector", "images", "dataset", "forgery")),
    "attribution-maps": Export(_maps, _maps_figure, _maps_code, about=("detector", "methods")),
    "attribution-trust": Export(_trust, about=()),
    "map-similarity": Export(
        lambda run, chosen: _similarity(run, chosen).to_dataframe(),
        lambda run, chosen: similarity_figure(_similarity(run, chosen).data),
        _similarity_code,
        _similarity_attrs,
        about=("detector", "mode"),
    ),
    "attention-by-region": Export(
        lambda run, chosen: _attention(run, chosen)[0].to_dataframe(),
        _attention_figure,
        _attention_code,
        lambda run, chosen: _attention(run, chosen)[0].data.attrs,
        about=("detector", "part", "what"),
    ),
}
