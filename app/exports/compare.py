"""What the Compare page leaves to take away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from app.exports.compare_code import (
    features_code,
    images_code,
    layers_code,
    maps_code,
    scores_code,
    units_code,
)
from app.exports.export import Export
from app.queries.compare import Pair, lines, pair_of
from app.queries.compare_images import images_frame
from app.queries.compare_maps import maps_frame, maps_view
from app.queries.compare_parts import (
    features_frame,
    features_view,
    layers_frame,
    layers_view,
    units_frame,
    units_view,
)
from app.queries.compare_scores import scores_frame, scores_view
from app.run import Run
from app.selection import LEVELS, METRICS, Selection
from probe.plots.compare import forest_figure, panels_figure, scatter_figure

__all__ = ["EXPORTS"]

ABOUT = ("detector", "other")


def _measured(chosen: Selection) -> tuple[str, str]:
    return chosen.named("metric", list(METRICS)), chosen.named("level", list(LEVELS))


def _scores(run: Run, chosen: Selection) -> pd.DataFrame:
    return scores_frame(pair_of(run, chosen), *_measured(chosen))


def _scores_figure(run: Run, chosen: Selection) -> Figure:
    pair = pair_of(run, chosen)
    view = scores_view(pair, *_measured(chosen))
    return forest_figure(
        view.datasets,
        view.difference,
        view.low,
        view.high,
        marked=view.changed,
        again=view.seeds,
        label=f"difference in {METRICS[view.metric]}\n{view.one} less {view.other}",
    )


def _scores_code(run: Run, chosen: Selection) -> str:
    return scores_code(pair_of(run, chosen), *_measured(chosen))


def _images_code(run: Run, chosen: Selection) -> str:
    return images_code(pair_of(run, chosen), chosen.dataset)


def _attrs(run: Run, chosen: Selection) -> Mapping[Any, Any]:
    return run.evaluation.data.attrs


def _images(run: Run, chosen: Selection) -> pd.DataFrame:
    return images_frame(pair_of(run, chosen), chosen.dataset)


def _images_figure(run: Run, chosen: Selection) -> Figure:
    pair = pair_of(run, chosen)
    frame = images_frame(pair, chosen.dataset)
    return scatter_figure(
        frame["other_logit"],
        frame["logit"],
        {name: frame["label"] == label for label, name in ((0, "real"), (1, "fake"))},
        labels=(f"fake logit of {pair.other.title}", f"fake logit of {pair.one.title}"),
    )


def _units_figure(run: Run, chosen: Selection) -> Figure:
    pair = pair_of(run, chosen)
    view = units_view(pair)
    kinds = {
        "in neither list": ~(view.in_one | view.in_other),
        f"{pair.one.variant} only": view.in_one & ~view.in_other,
        f"{pair.other.variant} only": view.in_other & ~view.in_one,
        "universal in both": view.in_one & view.in_other,
    }
    names = tuple(f"mean effect, {side.variant}" for side in (pair.other, pair.one))
    return scatter_figure(view.other, view.one, kinds, labels=(names[0], names[1]))


def _features_figure(run: Run, chosen: Selection) -> Figure:
    view = features_view(pair_of(run, chosen))
    return forest_figure(
        view.layers, view.value, view.low, view.high, label="debiased CKA", zero=None
    )


def _layers_figure(run: Run, chosen: Selection) -> Figure:
    view = layers_view(pair_of(run, chosen))
    return panels_figure(
        view.names,
        view.layers,
        view.datasets,
        view.value,
        view.low,
        view.high,
        label="AUROC of probes",
        marked=None if view.unpaired else view.apart != 0,
    )


def _maps_figure(run: Run, chosen: Selection) -> Figure:
    view = maps_view(pair_of(run, chosen))
    return forest_figure(
        view.datasets,
        view.over,
        view.over_low,
        view.over_high,
        marked=view.over_low > 0,
        label="SSIM of maps, less that of different images",
    )


def _made_of(run: Run, chosen: Selection) -> pd.DataFrame:
    pair = pair_of(run, chosen)
    rows = [
        {
            "what": line.what,
            pair.one.title: line.one,
            pair.other.title: line.other,
            "same": line.same,
        }
        for line in lines(pair)
    ]
    return pd.DataFrame(rows)


def _of(frame: Callable[[Pair], pd.DataFrame]) -> Callable[[Run, Selection], pd.DataFrame]:
    """Make a table of a pair one of the selection."""
    return lambda run, chosen: frame(pair_of(run, chosen))


def _told(code: Callable[[Pair], str]) -> Callable[[Run, Selection], str]:
    """Make a script of a pair one of the selection."""
    return lambda run, chosen: code(pair_of(run, chosen))


EXPORTS = {
    "compare-scores": Export(
        _scores, _scores_figure, _scores_code, attrs=_attrs, about=(*ABOUT, "metric", "level")
    ),
    "compare-images": Export(
        _images, _images_figure, _images_code, attrs=_attrs, about=(*ABOUT, "dataset")
    ),
    "compare-units": Export(_of(units_frame), _units_figure, _told(units_code), about=ABOUT),
    "compare-features": Export(
        _of(features_frame), _features_figure, _told(features_code), about=ABOUT
    ),
    "compare-layers": Export(_of(layers_frame), _layers_figure, _told(layers_code), about=ABOUT),
    "compare-maps": Export(_of(maps_frame), _maps_figure, _told(maps_code), about=ABOUT),
    "compare-made-of": Export(_made_of, about=ABOUT),
}
