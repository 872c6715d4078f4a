"""What the card about a selection in a layer's picture leaves to take away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from app.exports.export import Export
from app.exports.script import script
from app.queries.lasso import Lasso, read
from app.queries.layers import known_detector, named_layer
from app.queries.pictures import PictureView, kinds_of, picture_view
from app.queries.selected import telling_view
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["EXPORTS"]


def _shown(run: Run, chosen: Selection) -> tuple[str, PictureView, Lasso]:
    """Return detector, picture and what is selected in it."""
    label = known_detector(run, chosen)
    layer, kind = named_layer(run, label, chosen), chosen.named("embedding", kinds_of(run, label))
    view = picture_view(run, label, layer, kind)
    lasso = read(label, view, chosen.lasso)
    if lasso is None:
        raise ProbeError("Nothing is selected in this picture. Draw round some samples first.")
    return label, view, lasso


def _frame(run: Run, chosen: Selection) -> pd.DataFrame:
    label, view, _ = _shown(run, chosen)
    found = telling_view(run, label, view, chosen.lasso)
    return found.table.to_dataframe().reset_index()


def _attrs(run: Run, chosen: Selection) -> Mapping[Any, Any]:
    label, view, _ = _shown(run, chosen)
    return telling_view(run, label, view, chosen.lasso).table.attrs


def _code(run: Run, chosen: Selection) -> str:
    label, view, lasso = _shown(run, chosen)
    picture = f'found.data["position"].sel({{"layer": {view.layer!r}, "method": {view.kind!r}}})'
    table = [
        f"found = Embeddings.open(run.path('embeddings', {label!r}))",
        f"store = ActivationStore.open(run.store({label!r}))",
        'samples = store.samples.assign(place=range(len(store.samples))).set_index("sample")',
        'samples = samples.loc[found.data["sample"].values].reset_index()',
        *_inside(lasso, picture),
        'columns = samples.drop(columns=["logit", "written", "place"])',
        'strata = samples.groupby(["dataset", "label"]).ngroup().to_numpy()',
        f'taps = store[{view.layer!r}]["activation"]',
        "# All samples; of very many the page compares some, drawn at random.",
        "told = tell_apart(",
        '    taps.values[samples["place"]], inside, Samples(columns).clusters, strata,',
        '    taps["unit"].values.tolist(),',
        ")",
        'table = told.to_dataframe().sort_values("auroc", key=lambda a: -abs(a - 0.5))',
        "table = table.reset_index()",
    ]
    imports = [
        "from probe import ActivationStore, Embeddings",
        "from probe.datasets.dataset import Samples",
        "from probe.separability.selection import tell_apart",
    ]
    if lasso.rule is None:
        imports.append("from matplotlib.path import Path as Outline")
    elif (lasso.rule.low, lasso.rule.high) != (0, 1):
        imports.append("from scipy.special import expit")
    return script(run, "selection-units", imports, table)


def _inside(lasso: Lasso, picture: str) -> list[str]:
    """Write what selects samples."""
    rule = lasso.rule
    if rule is None:
        corners = [(float(f"{x:.6g}"), float(f"{y:.6g}")) for x, y in lasso.corners]
        return [
            f"corners = {corners!r}",
            f'place = {picture}.transpose("sample", "axis").values',
            "inside = Outline(corners).contains_points(place)",
        ]
    parts = [
        f'(samples["{name}"] == {value!r})'
        for name, value in (("dataset", rule.dataset), ("method", rule.method))
        if value
    ]
    if rule.label:
        parts.append(f'(samples["label"] == {int(rule.label == "fake")})')
    if (rule.low, rule.high) != (0, 1):
        parts.append(f'expit(samples["logit"]).between({rule.low!r}, {rule.high!r})')
    return [f"inside = ({' & '.join(parts)}).to_numpy()"]


EXPORTS = {
    "selection-units": Export(
        _frame, code=_code, attrs=_attrs, about=("detector", "layer", "embedding")
    ),
}
