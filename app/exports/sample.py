"""What the Sample page leaves to take away."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from app.exports.export import Export
from app.exports.script import script
from app.queries.layers import known_detector
from app.queries.reading import Run
from app.queries.sample_place import place_frame
from app.queries.sample_scores import scores_frame
from app.queries.sample_shown import (
    measurements_shown,
    place_shown,
    scores_shown,
    shown_image,
    units_shown,
)
from app.queries.sample_units import DeviationsView, deviations_frame
from app.queries.uploads import Dropped
from app.selection import Selection
from probe.errors import ProbeError
from probe.figures.one_image import image_deviations_figure, image_scores_figure

__all__ = ["EXPORTS"]

#: Rows of a figure of units.
MOST = 20

#: Lines that turn ``value`` (of the image) and ``reals`` (of others) into deviations.
_DEVIATIONS = [
    "centre = np.median(reals, axis=0)",
    "scale = 1.4826 * np.median(np.abs(reals - centre), axis=0)",
    "scale = np.where(scale > 0, scale, reals.std(axis=0))",
    "deviations = (value - centre) / scale",
]
_DRAW = [
    "table = table.sort_values('deviations', key=abs, ascending=False, ignore_index=True)",
]


def _scores(run: Run, chosen: Selection) -> pd.DataFrame:
    return scores_frame(scores_shown(run, chosen))


def _scores_figure(run: Run, chosen: Selection) -> Figure:
    view = scores_shown(run, chosen)
    rows = view.scores
    return image_scores_figure(
        [row.detector for row in rows], [row.logit for row in rows],
        [row.reals for row in rows], [row.fakes for row in rows],
    )  # fmt: skip


def _scores_code(run: Run, chosen: Selection) -> str:
    name, dataset = _named(run, chosen)
    return script(
        run,
        "sample-scores",
        ["import pandas as pd", "from probe.figures.one_image import image_scores_figure"],
        [
            "scores = pd.read_parquet(run.evaluation.with_suffix('.scores.parquet'))",
            f"scores = scores[scores['dataset'] == {dataset!r}]",
            f"table = scores[scores['sample'] == {name!r}][['detector', 'logit']]",
        ],
        [
            "groups = [scores[scores['detector'] == one] for one in table['detector']]",
            "reals, fakes = (",
            "    [sorted(g['logit'][g['label'] == label]) for g in groups] for label in (0, 1)",
            ")",
            "figure = image_scores_figure(list(table['detector']), table['logit'], reals, fakes)",
        ],
    )


def _units(run: Run, chosen: Selection) -> pd.DataFrame:
    return deviations_frame(units_shown(run, chosen), "unit")


def _units_figure(run: Run, chosen: Selection) -> Figure:
    return _drawn(units_shown(run, chosen), "unit ")


def _units_code(run: Run, chosen: Selection) -> str:
    name, dataset = _named(run, chosen)
    label, layer = known_detector(run, chosen), units_shown(run, chosen).layer
    return script(
        run,
        "sample-units",
        ["import numpy as np", "import pandas as pd", "from probe import ActivationStore",
         "from probe.figures.one_image import image_deviations_figure"],
        [
            f"store = ActivationStore.open(run.store({label!r}))",
            f"tap, samples = store[{layer!r}], store.samples",
            f"value = tap['activation'].sel(sample={name!r}).values.astype(float)",
            f"real = (samples['label'] == 0) & (samples['dataset'] == {dataset!r})",
            "# The page reads at most 24 chunks of a large store; this reads all of it.",
            "reals = tap['activation'].values[real].astype(float)",
            *_DEVIATIONS,
            "table = pd.DataFrame({'unit': tap['unit'].values, 'deviations': deviations})",
            *_DRAW,
        ],
        [f"first = table.head({MOST})",
         "names = [f'unit {unit}' for unit in first['unit']]",
         "figure = image_deviations_figure(names, first['deviations'])"],
    )  # fmt: skip


def _measurements(run: Run, chosen: Selection) -> pd.DataFrame:
    return deviations_frame(measurements_shown(run, chosen), "measurement")


def _measurements_figure(run: Run, chosen: Selection) -> Figure:
    return _drawn(measurements_shown(run, chosen), "")


def _measurements_code(run: Run, chosen: Selection) -> str:
    name, dataset = _named(run, chosen)
    return script(
        run,
        "sample-measurements",
        ["import numpy as np", "import pandas as pd",
         "from probe.artifacts import ArtifactMeasurements",
         "from probe.figures.one_image import image_deviations_figure"],
        [
            "data = ArtifactMeasurements.open(run.measurements).data",
            "names = data['measurement'].values",
            f"value = data['value'].values[data['sample'].values == {name!r}][0]",
            f"real = (data['label'].values == 0) & (data['dataset'].values == {dataset!r})",
            "reals = data['value'].values[real]",
            "reals = np.ma.masked_invalid(reals)",
            "centre = np.ma.median(reals, axis=0)",
            "scale = 1.4826 * np.ma.median(abs(reals - centre), axis=0)",
            "scale = np.where(scale > 0, scale, reals.std(axis=0))",
            "deviations = (value - centre) / np.where(scale > 0, scale, np.nan)",
            "table = pd.DataFrame({'measurement': names, 'deviations': deviations}).dropna()",
            *_DRAW,
        ],
        ["figure = image_deviations_figure(list(table['measurement']), table['deviations'])"],
    )  # fmt: skip


def _place(run: Run, chosen: Selection) -> pd.DataFrame:
    return place_frame(place_shown(run, chosen))


def _drawn(view: DeviationsView, before: str) -> Figure:
    rows = view.rows[:MOST] if before else view.rows
    return image_deviations_figure(
        [f"{before}{row.name}" for row in rows], [row.deviations for row in rows]
    )


def _named(run: Run, chosen: Selection) -> tuple[str, str]:
    """Return id and dataset of the image, for code that reads the run."""
    image = shown_image(run, chosen)
    if isinstance(image, Dropped):
        raise ProbeError(
            "An image from elsewhere is not in the run folder, so no code can find it there. Take "
            "the table."
        )
    return image.sample, image.dataset


EXPORTS = {
    "sample-scores": Export(_scores, _scores_figure, _scores_code, about=("sample",)),
    "sample-units": Export(_units, _units_figure, _units_code, about=("detector", "sample")),
    "sample-measurements": Export(
        _measurements, _measurements_figure, _measurements_code, about=("sample",)
    ),
    "sample-place": Export(_place, about=("detector", "sample")),
}
