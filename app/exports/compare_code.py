"""Scripts of the Compare page: from the tables of one run, or of two, to what a card shows."""

from __future__ import annotations

from collections.abc import Iterable

from app.exports.script import place_of_run, script
from app.queries.compare import Pair, Side
from app.queries.compare_maps import compared_pair
from app.queries.compare_parts import ALPHA, PAIRED, LayersView, layers_view
from app.queries.compare_scores import measured_with, paired_scores
from app.selection import METRICS
from probe.run import MAP_MODES

__all__ = [
    "features_code",
    "images_code",
    "layers_code",
    "maps_code",
    "scores_code",
    "scores_lines",
    "units_code",
]

_PANDAS = "import pandas as pd"
_ORDER = [
    "dataset",
    "value",
    "reference",
    "difference",
    "low",
    "high",
    "p",
    "q",
    "reason",
    "n_samples",
    "n_clusters",
]


def scores_code(pair: Pair, metric: str, level: str) -> str:
    """Write the script of the differences in a metric."""
    about = f"difference in {METRICS[metric]}\n{pair.one.title} less {pair.other.title}"
    return script(
        pair.one.run,
        "compare-scores",
        [
            _PANDAS,
            "from probe.evaluation.paired import score_differences",
            "from probe.plots.compare import forest_figure",
        ],
        [
            *_both_scores(pair),
            *scores_lines(pair, metric, level),
            f"table = found.to_dataframe().reset_index()[{_ORDER!r}].assign(",
            f"    detector={pair.one.key!r}, compared_with={pair.other.key!r},",
            f"    metric={metric!r}, level={level!r},",
            ")",
        ],
        [
            "figure = forest_figure(",
            '    table["dataset"], table["difference"], table["low"], table["high"],',
            f'    marked=table["q"] <= 0.05, label={about!r},',
            ")",
        ],
    )


def scores_lines(pair: Pair, metric: str, level: str) -> list[str]:
    """Write the lines that leave the differences of ``one`` and ``other`` in ``found``."""
    coverage, seed = measured_with(pair)
    return [
        "found = score_differences(",
        f"    one, other, metrics=[{metric!r}], levels=[{level!r}], ci={coverage!r}, seed={seed!r}",
        f").sel(metric={metric!r}, level={level!r})",
    ]


def images_code(pair: Pair, dataset: str) -> str:
    """Write the script of the images that both have scored."""
    kept = [f'table = table[table["dataset"] == {dataset!r}]'] if dataset else []
    labels = tuple(f"fake logit of {side.title}" for side in (pair.other, pair.one))
    return script(
        pair.one.run,
        "compare-images",
        [
            _PANDAS,
            "from probe.evaluation.paired import common_scores",
            "from probe.stats import sigmoid",
            "from probe.plots.compare import scatter_figure",
        ],
        [
            *_both_scores(pair),
            "one, other = common_scores(one, other)",
            'about = ["dataset", "sample", "method", "video", "frame", "cluster", "label"]',
            'table = one[[*about, "logit"]].assign(other_logit=other["logit"].to_numpy())',
            *kept,
            "table = table.assign(",
            '    p_fake=sigmoid(table["logit"]), other_p_fake=sigmoid(table["other_logit"])',
            ")",
            'table["difference"] = table["p_fake"] - table["other_p_fake"]',
            "table = table.sort_values(",
            '    "difference", ascending=False, kind="stable", ignore_index=True',
            ")",
        ],
        [
            'kinds = {"real": table["label"] == 0, "fake": table["label"] == 1}',
            "figure = scatter_figure(",
            f'    table["other_logit"], table["logit"], kinds, labels={labels!r}',
            ")",
        ],
    )


def units_code(pair: Pair) -> str:
    """Write the script of the units of two variants."""
    labels, names = [pair.one.label, pair.other.label], (pair.one.variant, pair.other.variant)
    return script(
        pair.one.run,
        "compare-units",
        [
            "import numpy as np",
            "from probe import NeuronTable, Universality",
            "from probe.neurons import compare_neurons",
            "from probe.plots.compare import scatter_figure",
        ],
        [
            f"labels = {labels!r}",
            "tables = {label: NeuronTable.open(run.path('neurons', label)) for label in labels}",
            "places = {label: run.path('universality', label) for label in labels}",
            "found = {label: Universality.open(place) for label, place in places.items()}",
            "table = compare_neurons(found, tables)",
        ],
        [
            'effects = [tables[one].data["effect"].mean("dataset").values for one in labels]',
            'units = tables[labels[0]].data["unit"].values',
            "in_one, in_other = (np.isin(units, found[label].universal) for label in labels)",
            "kinds = {",
            '    "in neither list": ~(in_one | in_other),',
            f"    {f'{names[0]} only'!r}: in_one & ~in_other,",
            f"    {f'{names[1]} only'!r}: in_other & ~in_one,",
            '    "universal in both": in_one & in_other,',
            "}",
            "figure = scatter_figure(",
            "    effects[1], effects[0], kinds,",
            f"    labels={tuple(f'mean effect, {name}' for name in names[::-1])!r},",
            ")",
        ],
    )


def features_code(pair: Pair) -> str:
    """Write the script of the likeness of features."""
    return script(
        pair.one.run,
        "compare-features",
        [
            "import pandas as pd",
            "from probe.separability.report import Similarity",
            "from probe.plots.compare import forest_figure",
        ],
        [
            "data = Similarity.open(run.path('similarity')).data",
            f"part = data.sel(detector={pair.one.label!r}, other={pair.other.label!r})",
            'part = part.isel(layer=part["cka"].notnull().values)',
            "table = pd.DataFrame(",
            "    {",
            '        "layer": part["layer"].values,',
            '        "cka": part["cka"].values,',
            '        "low": part["cka_low"].values,',
            '        "high": part["cka_high"].values,',
            "    }",
            ').assign(n_samples=data.attrs["n_samples"], n_clusters=data.attrs["n_clusters"])',
        ],
        [
            "figure = forest_figure(",
            '    table["layer"], table["cka"], table["low"], table["high"],',
            '    label="debiased CKA", zero=None,',
            ")",
        ],
    )


def layers_code(pair: Pair) -> str:
    """Write the script of the probes of two detectors, layer by layer."""
    view = layers_view(pair)
    other = "run" if pair.same_run else "second"
    marked = 'table["more_than_noise"].to_numpy().reshape(len(layers), -1) != 0'
    marked = "None" if view.unpaired else marked
    return script(
        pair.one.run,
        "compare-layers",
        [
            "import numpy as np",
            _PANDAS,
            "from probe import SeparabilityReport",
            *([] if view.unpaired else ["from probe.separability import probe_differences"]),
            "from probe.plots.compare import panels_figure",
        ],
        [
            *_second(pair),
            f"reports = [SeparabilityReport.open(run.path('separability', {pair.one.label!r})),",
            f"           SeparabilityReport.open({other}.separability({pair.other.label!r}))]",
            f"layers, datasets = {list(view.layers)!r}, {list(view.datasets)!r}",
            'where = {"measure": "probe_auroc", "layer": layers, "dataset": datasets}',
            "parts = [one.data.sel(where) for one in reports]",
            "value, low, high = (",
            '    np.stack([part[name].transpose("layer", "dataset").values for part in parts])',
            '    for name in ("value", "low", "high")',
            ")",
            "keys = [(layer, dataset) for layer in layers for dataset in datasets]",
            'table = pd.DataFrame(keys, columns=["layer", "dataset"])',
            'for k, name in enumerate(("one", "other")):',
            '    for what, values in (("value", value), ("low", low), ("high", high)):',
            '        table[f"{name}_{what}"] = values[k].ravel()',
            *_judged(view),
        ],
        [
            f"names = {view.names!r}",
            "figure = panels_figure(",
            '    names, layers, datasets, value, low, high, label="AUROC of probes",',
            f"    marked={marked},",
            ")",
        ],
    )


def _judged(view: LayersView) -> list[str]:
    """Say where the two differ by more than noise, as the page judges it."""
    if view.unpaired:
        return [
            "# 1 or -1: the interval of the first, or of the other, lies wholly above.",
            'table["more_than_noise"] = (',
            "    (low[0] > high[1]).astype(int) - (high[0] < low[1]).astype(int)",
            ").ravel()",
        ]
    return [
        f"found = probe_differences(*reports, ci={view.coverage!r})",
        "found = found.sel(layer=layers, dataset=datasets)",
        f"columns = {PAIRED!r}",
        "for name, column in columns.items():",
        "    table[column] = found[name].values.ravel()",
        "# 1 or -1: the first, or the other, is above by more than noise over people.",
        f'sure = table["q"] <= {ALPHA!r}',
        'table["more_than_noise"] = np.sign(table["difference"]).where(sure, 0).astype(int)',
    ]


def maps_code(pair: Pair) -> str:
    """Write the script of the likeness of maps."""
    found = compared_pair(pair)
    return script(
        pair.one.run,
        "compare-maps",
        [
            _PANDAS,
            "from probe import MapSimilarity",
            "from probe.evaluation.paired import mean_by_cluster",
            "from probe.plots.compare import forest_figure",
        ],
        [
            f"place = run.map_similarity({pair.one.architecture!r}, {MAP_MODES[0]!r})",
            "data = MapSimilarity.open(place).data",
            f"part = data.sel(pair={found!r})",
            'options = {k: data.attrs[k] for k in ("ci", "seed") if k in data.attrs}',
            'own, null = part["similarity"].values, part["null"].values',
            'sides = {"value": own, "null": null, "over": own - null}',
            'of, cluster = part["of"].values.astype(str), part["cluster"].values',
            "rows = []",
            "for dataset in dict.fromkeys(of):",
            '    here, row = of == dataset, {"dataset": dataset}',
            "    for name, values in sides.items():",
            "        mean = mean_by_cluster(values[here], cluster[here], **options)",
            '        before = "" if name == "value" else f"{name}_"',
            '        row |= {name: mean.estimate, f"{before}low": mean.low,',
            '                f"{before}high": mean.high}',
            '        if name == "value":',
            '            counts = {"n_samples": mean.n_samples, "n_clusters": mean.n_clusters}',
            "    rows.append(row | counts)",
            'table = pd.DataFrame(rows).assign(method=data.attrs.get("method", ""))',
        ],
        [
            "figure = forest_figure(",
            '    table["dataset"], table["over"], table["over_low"], table["over_high"],',
            '    marked=table["over_low"] > 0,',
            '    label="SSIM of maps, less that of different images",',
            ")",
        ],
    )


def _second(pair: Pair) -> list[str]:
    if pair.same_run:
        return []
    return [f"second = RunFolder(Path({place_of_run(pair.other.run.folder.root)!r}))"]


def _both_scores(pair: Pair) -> list[str]:
    """Leave the score rows of both in ``one`` and ``other``, of what can be compared only."""
    lines = [*_read(pair.one, "run", "one"), *_second(pair)]
    lines += _read(pair.other, "run" if pair.same_run else "second", "other", again=pair.same_run)
    kept = paired_scores(pair)[2]
    if {str(name) for side in (pair.one, pair.other) for name in _datasets(side)} - set(kept):
        lines += [
            "# Datasets whose images are the same in both.",
            f"kept = {list(kept)!r}",
            'one, other = (rows[rows["dataset"].isin(kept)] for rows in (one, other))',
        ]
    return lines


def _read(side: Side, run: str, name: str, *, again: bool = False) -> list[str]:
    read = f'scores = pd.read_parquet({run}.evaluation.with_suffix(".scores.parquet"))'
    return [*([] if again else [read]), f'{name} = scores[scores["detector"] == {side.label!r}]']


def _datasets(side: Side) -> Iterable[object]:
    scores = side.run.scores
    return list(scores.loc[scores["detector"] == side.label, "dataset"].unique())
