"""What the Sample page leaves to take away."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from app.exports.export import Export
from app.exports.script import script
from app.queries.layers import known_detector
from app.queries.sample_place import place_frame
from app.queries.sample_scores import scores_frame
from app.queries.sample_shown import (
    measurements_shown,
    place_shown,
    scores_shown,
    shown_image,
    units_shown,
)
from app.queries.sample_units import MOST_CHUNKS, DeviationsView, deviations_frame
from app.queries.uploads import Dropped
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.plots.compare import image_deviations_figure, image_scores_figure

__all__ = ["EXPORTS"]

#: Rows of a figure of units.
MOST = 20


def _scores(run: Run, chosen: Selection) -> pd.DataFrame:
    return scores_frame(scores_shown(run, chosen))


def _scores_figure(run: Run, chosen: Selection) -> Figure:
    view = scores_shown(run, chosen)
    rows = view.scores
    return image_scores_figure(
        [row.detector for row in rows],
        [row.logit for row in rows],
        [row.reals for row in rows],
        [row.fakes for row in rows],
    )


def _scores_code(run: Run, chosen: Selection) -> str:
    name, dataset = _named(run, chosen)
    return script(
        run,
        "sample-scores",
        [
            "import pandas as pd",
            "from probe.evaluation.one_image import image_scores",
            "from probe.plots.compare import image_scores_figure",
        ],
        [
            "scores = pd.read_parquet(run.path('evaluation').with_suffix('.scores.parquet'))",
            f"scores = scores[scores['dataset'] == {dataset!r}]",
            f"table = image_scores(scores, {name!r}, {dataset!r})",
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
    label, view = known_detector(run, chosen), units_shown(run, chosen)
    marked = [int(row.name) for row in view.marked]
    return script(
        run,
        "sample-units",
        [
            "from probe import ActivationStore",
            "from probe.evaluation.one_image import image_activations",
            "from probe.plots.compare import image_deviations_figure",
        ],
        [
            f"store = ActivationStore.open(run.store({label!r}))",
            f"universal = {marked!r}",
            "table = image_activations(",
            f"    store, {view.layer!r}, {name!r}, dataset={dataset!r}, universal=universal,",
            f"    max_chunks={MOST_CHUNKS},  # of a large store; None reads all of it",
            ")",
        ],
        [
            f"first = table.head({MOST})",
            "names = [f'unit {unit}' for unit in first['unit']]",
            "figure = image_deviations_figure(names, first['deviations'])",
        ],
    )


def _measurements(run: Run, chosen: Selection) -> pd.DataFrame:
    return deviations_frame(measurements_shown(run, chosen), "measurement")


def _measurements_figure(run: Run, chosen: Selection) -> Figure:
    return _drawn(measurements_shown(run, chosen), "")


def _measurements_code(run: Run, chosen: Selection) -> str:
    name, dataset = _named(run, chosen)
    return script(
        run,
        "sample-measurements",
        [
            "from probe.artifacts import ArtifactMeasurements",
            "from probe.evaluation.one_image import image_measurements",
            "from probe.plots.compare import image_deviations_figure",
        ],
        [
            "data = ArtifactMeasurements.open(run.path('measurements')).data",
            f"table = image_measurements(data, {name!r}, dataset={dataset!r})",
        ],
        ["figure = image_deviations_figure(list(table['measurement']), table['deviations'])"],
    )


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
