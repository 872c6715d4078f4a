"""What the Neurons page leaves to take away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from app.exports.export import Export
from app.exports.script import script
from app.queries.images import Shown, extremes
from app.queries.layers import known_detector
from app.queries.reading import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.neurons import Ablation
from probe.plots import ablation_figure, counts_figure
from probe.plots.neurons import (
    strongest_units,
    unit_doses_figure,
    unit_effects_figure,
    units_heatmap,
)

__all__ = ["EXPORTS"]

#: Images at each end of a unit in the table of them.
EACH = 12

_NEURONS, _COUNTS = "from probe import NeuronTable", "from probe import Universality"


def _attrs(run: Run, chosen: Selection) -> Mapping[Any, Any]:
    return run.neurons(known_detector(run, chosen)).data.attrs


def _counts(run: Run, chosen: Selection) -> pd.DataFrame:
    return run.universality(known_detector(run, chosen)).to_dataframe()


def _counts_figure(run: Run, chosen: Selection) -> Figure:
    return counts_figure(run.universality(known_detector(run, chosen)).data)


def _counts_code(run: Run, chosen: Selection) -> str:
    label = known_detector(run, chosen)
    return script(
        run,
        "universal-counts",
        [_COUNTS, "from probe.plots import counts_figure"],
        [
            f"found = Universality.open(run.universality({label!r}))",
            "print(found.sets())  # the units themselves",
            "table = found.to_dataframe()",
        ],
        ["figure = counts_figure(found.data)"],
    )


def _units(run: Run, chosen: Selection) -> pd.DataFrame:
    """Return one row a unit: test, counts, membership and effect in each dataset."""
    label = known_detector(run, chosen)
    data, found = run.neurons(label).data, run.universality(label)
    effect = data["effect"]
    order = strongest_units(data, found.data, most=data.sizes["unit"])
    frame = found.units().assign(
        mean_effect=effect.mean("dataset").values,
        **{f"effect_{name}": effect.sel(dataset=name).values for name in data["dataset"].values},
    )
    return frame.set_index("unit").loc[order].reset_index()


def _units_figure(run: Run, chosen: Selection) -> Figure:
    label = known_detector(run, chosen)
    return units_heatmap(run.neurons(label).data, run.universality(label).data)


def _units_code(run: Run, chosen: Selection) -> str:
    label = known_detector(run, chosen)
    return script(
        run,
        "units",
        [_NEURONS, _COUNTS, "from probe.plots.neurons import strongest_units, units_heatmap"],
        [
            f"data = NeuronTable.open(run.neurons({label!r})).data",
            f"found = Universality.open(run.universality({label!r}))",
            'effect = data["effect"]',
            'order = strongest_units(data, found.data, most=data.sizes["unit"])',
            "table = found.units().assign(",
            '    mean_effect=effect.mean("dataset").values,',
            '    **{f"effect_{d}": effect.sel(dataset=d).values for d in data["dataset"].values},',
            ")",
            'table = table.set_index("unit").loc[order].reset_index()',
        ],
        ["figure = units_heatmap(data, found.data)"],
    )


def _found_ablation(run: Run, label: str) -> Ablation:
    found = run.ablation(label)
    if found is None:
        raise ProbeError(f"No set of units was taken out of {label}; the page says why.")
    return found


def _ablation(run: Run, chosen: Selection) -> pd.DataFrame:
    return _found_ablation(run, known_detector(run, chosen)).to_dataframe()


def _ablation_figure(run: Run, chosen: Selection) -> Figure:
    label = known_detector(run, chosen)
    return ablation_figure({label: _found_ablation(run, label).data})


def _ablation_code(run: Run, chosen: Selection) -> str:
    label = known_detector(run, chosen)
    _found_ablation(run, label)
    return script(
        run,
        "ablation",
        ["from probe import Ablation", "from probe.plots import ablation_figure"],
        [f"found = Ablation.open(run.ablation({label!r}))", "table = found.to_dataframe()"],
        [f"figure = ablation_figure({{{label!r}: found.data}})"],
    )


def _unit(run: Run, chosen: Selection) -> tuple[str, int]:
    """Return the detector and the unit that the page shows: the first of the list, if none."""
    label = known_detector(run, chosen)
    data, found = run.neurons(label).data, run.universality(label).data
    order = strongest_units(data, found, most=data.sizes["unit"])
    return label, chosen.unit_number([int(unit) for unit in order])


def _unit_effects(run: Run, chosen: Selection) -> pd.DataFrame:
    label, unit = _unit(run, chosen)
    frame = run.neurons(label).to_dataframe()
    return frame[frame["unit"] == unit]


def _unit_effects_figure(run: Run, chosen: Selection) -> Figure:
    label, unit = _unit(run, chosen)
    return unit_effects_figure(run.neurons(label).data, run.universality(label).data, unit)


def _unit_effects_code(run: Run, chosen: Selection) -> str:
    label, unit = _unit(run, chosen)
    return script(
        run,
        f"unit-{unit}-effects",
        [_NEURONS, _COUNTS, "from probe.plots.neurons import unit_effects_figure"],
        [
            f"neurons = NeuronTable.open(run.neurons({label!r}))",
            f'table = neurons.to_dataframe().query("unit == {unit}")',
        ],
        [
            f"found = Universality.open(run.universality({label!r}))",
            f"figure = unit_effects_figure(neurons.data, found.data, unit={unit})",
        ],
    )


def _doses(run: Run, chosen: Selection) -> pd.DataFrame:
    label, unit = _unit(run, chosen)
    one = run.neurons(label).data[["value", "response"]].sel(unit=unit)
    return one.to_dataframe().reset_index()


def _doses_figure(run: Run, chosen: Selection) -> Figure:
    label, unit = _unit(run, chosen)
    return unit_doses_figure(run.neurons(label).data, unit)


def _doses_code(run: Run, chosen: Selection) -> str:
    label, unit = _unit(run, chosen)
    return script(
        run,
        f"unit-{unit}-doses",
        [_NEURONS, "from probe.plots.neurons import unit_doses_figure"],
        [
            f"data = NeuronTable.open(run.neurons({label!r})).data",
            f'table = data[["value", "response"]].sel(unit={unit}).to_dataframe().reset_index()',
        ],
        [f"figure = unit_doses_figure(data, unit={unit})"],
    )


def _images(run: Run, chosen: Selection) -> pd.DataFrame:
    """Return one row an image at either end of the unit, by dataset."""
    label, unit = _unit(run, chosen)
    layer = str(run.neurons(label).data.attrs.get("layer", ""))
    rows = []
    for one in extremes(run, label, layer, unit, EACH):
        if chosen.dataset in ("", one.dataset):
            rows += [_row(one.dataset, "highest", n, s) for n, s in enumerate(one.most, 1)]
            rows += [_row(one.dataset, "lowest", n, s) for n, s in enumerate(one.least, 1)]
    return pd.DataFrame(rows)


def _row(dataset: str, end: str, place: int, shown: Shown) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "end": end,
        "place": place,
        "sample": shown.sample,
        "method": shown.method,
        "video": shown.video,
        "frame": shown.frame,
        "label": shown.label,
        "activation": shown.activation,
        "p_fake": shown.p_fake,
    }


EXPORTS = {
    "universal-counts": Export(_counts, _counts_figure, _counts_code, _attrs),
    "units": Export(_units, _units_figure, _units_code, _attrs),
    "ablation": Export(_ablation, _ablation_figure, _ablation_code, _attrs),
    "neuron-effects": Export(
        _unit_effects, _unit_effects_figure, _unit_effects_code, _attrs, ("detector", "unit")
    ),
    "dose-response": Export(_doses, _doses_figure, _doses_code, _attrs, ("detector", "unit")),
    "unit-images": Export(_images, attrs=_attrs, about=("detector", "unit", "dataset")),
}
