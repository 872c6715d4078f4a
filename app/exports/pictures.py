"""What the picture of a layer's samples leaves to take away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit

from app.exports.export import Export
from app.exports.script import script
from app.queries.activations import column
from app.queries.layers import known_detector, named_layer
from app.queries.pictures import COLORS, kinds_of, units_of
from app.run import Run
from app.selection import Selection
from probe.errors import StoreError, UnknownNameError
from probe.plots.embedding import embedding_figure
from probe.separability import Embeddings

__all__ = ["EXPORTS"]

#: Samples that the figure is drawn for: the density of more takes minutes and looks the same.
MOST = 10_000

_COLUMNS = ["sample", "dataset", "label", "method", "video"]


def _shown(run: Run, chosen: Selection) -> tuple[str, str, str, str, int | None]:
    """Return detector, layer, kind of picture, what colors it, and the unit if one does."""
    label = known_detector(run, chosen)
    layer, kind = named_layer(run, label, chosen), chosen.named("embedding", kinds_of(run, label))
    known = [str(name) for name in run.embeddings(label).data["layer"].values]
    if layer not in known:
        raise UnknownNameError("layer", layer, known, where=f"the embeddings of {label}")
    unit, by = None, chosen.named("color", list(COLORS))
    if by == "unit" and (units := units_of(run, label, layer)):
        unit = chosen.unit_number(units)
    return label, layer, kind, by, unit


def _samples(run: Run, label: str) -> pd.DataFrame:
    """Return the store's sample table in the order of the embeddings, with places in the store."""
    table = run.store(label).samples
    table = table.assign(place=np.arange(len(table))).set_index("sample")
    names = run.embeddings(label).data["sample"].values
    try:
        return table.loc[names].reset_index()
    except KeyError as error:
        raise StoreError(
            f"The activation store of {label} does not hold every sample of the picture, which "
            "was made from other recordings. Compute the embeddings again."
        ) from error


def _picture(run: Run, chosen: Selection) -> pd.DataFrame:
    label, layer, kind, _, unit = _shown(run, chosen)
    samples = _samples(run, label)
    one = run.embeddings(label).data["position"].sel({"layer": layer, "method": kind})
    place = one.transpose("sample", "axis").values
    frame = samples[_COLUMNS].assign(p_fake=expit(samples["logit"]), x=place[:, 0], y=place[:, 1])
    if unit is not None:
        frame[f"unit_{unit}"] = column(run, label, layer, unit)[samples["place"]]
    return frame


def _picture_figure(run: Run, chosen: Selection) -> Figure:
    label, layer, kind, by, unit = _shown(run, chosen)
    found, samples = run.embeddings(label), _samples(run, label)
    if len(samples) > MOST:
        some = np.random.default_rng(0).permutation(len(samples))[:MOST]
        found, samples = Embeddings(found.data.isel(sample=some)), samples.iloc[some]
    colored: dict[str, Any] = {}
    if unit is not None:
        values = column(run, label, layer, unit)[samples["place"]]
        colored = {"by": f"activation of unit {unit}", "value": values}
    elif by == "score":
        colored = {"by": "P(fake)", "value": expit(samples["logit"])}
    elif by == "method":
        colored = {"by": "method"}
    return embedding_figure(found, samples, layer, kind, **colored)


def _picture_code(run: Run, chosen: Selection) -> str:
    label, layer, kind, by, unit = _shown(run, chosen)
    table = [
        f"found = Embeddings.open(run.path('embeddings', {label!r}))",
        f"store = ActivationStore.open(run.store({label!r}))",
        'samples = store.samples.assign(place=range(len(store.samples))).set_index("sample")',
        'samples = samples.loc[found.data["sample"].values].reset_index()',
        f'one = found.data["position"].sel({{"layer": {layer!r}, "method": {kind!r}}})',
        f"table = samples[{_COLUMNS!r}].assign(",
        '    p_fake=expit(samples["logit"]), x=one.sel(axis=0).values, y=one.sel(axis=1).values',
        ")",
    ]
    if unit is not None:
        table += [
            f'values = store[{layer!r}]["activation"].sel(unit={unit}).values.astype("float32")',
            f'table[{f"unit_{unit}"!r}] = values[samples["place"]]',
        ]
    colored = ""
    if unit is not None:
        name = f"activation of unit {unit}"
        colored = f', by={name!r}, value=values[samples["place"]]'
    elif by == "score":
        colored = ', by="P(fake)", value=expit(samples["logit"])'
    elif by == "method":
        colored = ', by="method"'
    figure = [f"figure = embedding_figure(found, samples, {layer!r}, {kind!r}{colored})"]
    imports = ["from probe import ActivationStore, Embeddings", "from scipy.special import expit"]
    if run.embeddings(label).data.sizes["sample"] > MOST:
        imports.append("import numpy as np")
        figure = [
            f"some = np.random.default_rng(0).permutation(len(samples))[:{MOST}]",
            "found, samples = Embeddings(found.data.isel(sample=some)), samples.iloc[some]",
            *figure,
        ]
    imports.append("from probe.plots.embedding import embedding_figure")
    return script(run, f"embedding-{kind}", imports, table, figure)


def _attrs(run: Run, chosen: Selection) -> Mapping[Any, Any]:
    return run.embeddings(known_detector(run, chosen)).data.attrs


EXPORTS = {
    "embedding": Export(
        _picture, _picture_figure, _picture_code, _attrs, ("detector", "layer", "embedding")
    ),
}
