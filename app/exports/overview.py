"""What the Overview page leaves to take away."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from app.exports.export import Export
from app.exports.script import place_of_run, script
from app.queries.against import against_frame, against_view, reference_side
from app.queries.audit import audit_view
from app.queries.compare import Pair, Side
from app.queries.compare_scores import measured_with
from app.queries.lacking import gaps
from app.queries.matrix import matrix_frame
from app.queries.runs import run_rows
from app.queries.summary import common_parts, dataset_rows, parts
from app.run import Run
from app.selection import LEVELS, METRICS, Selection
from probe.plots import plot_matrix
from probe.plots.compare import forest_figure

__all__ = ["EXPORTS"]


def _shown(chosen: Selection) -> tuple[str, str]:
    return chosen.named("metric", list(METRICS)), chosen.named("level", list(LEVELS))


def _matrix(run: Run, chosen: Selection) -> pd.DataFrame:
    return matrix_frame(run)


def _matrix_figure(run: Run, chosen: Selection) -> Figure:
    return plot_matrix(run.evaluation, *_shown(chosen))


def _matrix_code(run: Run, chosen: Selection) -> str:
    metric, level = _shown(chosen)
    return script(
        run,
        "zero-shot-matrix",
        [
            "from probe.evaluation.table import ZeroShotMatrix",
            "from probe.plots import plot_matrix",
        ],
        [
            "found = ZeroShotMatrix.open(run.path('evaluation'))",
            "table = found.to_dataframe()",
        ],
        [f"figure = plot_matrix(found, metric={metric!r}, level={level!r})"],
    )


def _datasets(run: Run, chosen: Selection) -> pd.DataFrame:
    """Return one row a dataset, as the card counts them."""
    rows = [
        {
            "dataset": one.name,
            "real": one.real,
            "fake": one.fake,
            "videos": one.videos,
            "identities": one.identities,
            **{f"{name}_images": n for name, n in one.splits},
        }
        for one in dataset_rows(run)
    ]
    return pd.DataFrame(rows)


def _datasets_code(run: Run, chosen: Selection) -> str:
    return script(
        run,
        "datasets",
        ["from probe import open_dataset"],
        [
            "samples = open_dataset(run.data).samples.table",
            'groups = samples.groupby("dataset", sort=False)',
            'people = samples[samples["identity"] != ""].groupby("dataset")["identity"].nunique()',
            "table = groups.agg(",
            '    real=("label", lambda label: (label == 0).sum()),',
            '    fake=("label", lambda label: (label == 1).sum()),',
            ")",
            'keys = ["dataset", "method", "video", "label", "split"]',
            'table["videos"] = samples[keys].drop_duplicates().groupby("dataset").size()',
            'table["identities"] = people.reindex(table.index, fill_value=0)',
            'for split in ("train", "val", "test"):',
            '    if (samples["split"] == split).any():',
            '        here = samples[samples["split"] == split].groupby("dataset").size()',
            '        table[f"{split}_images"] = here.reindex(table.index)',
            "table = table.reset_index()",
        ],
    )


def _contents(run: Run, chosen: Selection) -> pd.DataFrame:
    """Return one row a detector: which tables the run holds of it."""
    common = {name.replace(" ", "_"): there for name, there in common_parts(run).items()}
    return pd.DataFrame([{**vars(one), **common} for one in parts(run)])


def _against(run: Run, chosen: Selection) -> pd.DataFrame:
    return against_frame(run, chosen.against, *_shown(chosen))


def _against_figure(run: Run, chosen: Selection) -> Figure:
    view = against_view(run, chosen.against, *_shown(chosen))
    rows = np.argwhere(~view.is_reference[:, None] & np.isfinite(view.difference))
    at = tuple(rows.T)
    return forest_figure(
        [f"{view.detectors[r]} on {view.datasets[c]}" for r, c in rows],
        view.difference[at],
        view.low[at],
        view.high[at],
        marked=view.leaves_out_0[at],
        label=f"{METRICS[view.metric]} less that of\n{view.reference}",
    )


def _against_code(run: Run, chosen: Selection) -> str:
    metric, level = _shown(chosen)
    view, other = (
        against_view(run, chosen.against, metric, level),
        reference_side(run, chosen.against),
    )
    coverage, seed = measured_with(Pair(Side(run, run.detectors[0]), other))
    name, second = "run", []
    if other.place:
        name, there = "second", np.isfinite(view.difference)
        kept = [one for i, one in enumerate(view.datasets) if there[:, i].any()]
        second = [
            f"second = RunFolder(Path({place_of_run(other.run.folder.root)!r}))",
            "# Datasets whose images are the same in both.",
            f'scores = scores[scores["dataset"].isin({kept!r})]',
        ]
    columns = [
        "detector",
        "dataset",
        "compared_with",
        "metric",
        "level",
        "difference",
        "low",
        "high",
        "p",
        "n_samples",
        "n_clusters",
        "reason",
    ]
    about = f"{METRICS[metric]} less that of\n{other.title}"
    return script(
        run,
        "matrix-against",
        [
            "import pandas as pd",
            "from probe.evaluation.paired import score_differences",
            "from probe.plots.compare import forest_figure",
        ],
        [
            'scores = pd.read_parquet(run.path("evaluation").with_suffix(".scores.parquet"))',
            *second,
            f'others = pd.read_parquet({name}.evaluation.with_suffix(".scores.parquet"))',
            f'other = others[others["detector"] == {other.label!r}]',
            "parts = []",
            'for detector, one in scores.groupby("detector", sort=False):',
            *([] if other.place else [f"    if detector == {other.label!r}:", "        continue"]),
            "    found = score_differences(",
            f"        one, other, metrics=[{metric!r}], levels=[{level!r}], ci={coverage!r},"
            f" seed={seed!r}",
            f"    ).sel(metric={metric!r}, level={level!r})",
            "    parts.append(found.to_dataframe().reset_index().assign(detector=detector))",
            f"table = pd.concat(parts, ignore_index=True).assign(compared_with={other.title!r})",
            f"table = table[{columns!r}]",
        ],
        [
            'drawn = table[table["difference"].notna()]',
            "figure = forest_figure(",
            '    drawn["detector"] + " on " + drawn["dataset"],',
            '    drawn["difference"], drawn["low"], drawn["high"],',
            '    marked=(drawn["low"] > 0) | (drawn["high"] < 0),',
            f"    label={about!r},",
            ")",
        ],
    )


def _runs(run: Run, chosen: Selection) -> pd.DataFrame:
    rows = [vars(one) for one in run_rows(run)]
    return pd.DataFrame(
        [{k: ", ".join(v) if isinstance(v, tuple) else v for k, v in row.items()} for row in rows]
    )


def _audit(run: Run, chosen: Selection) -> pd.DataFrame:
    columns = ["check", "severity", "dataset", "message", "count"]
    return pd.DataFrame([vars(one) for one in audit_view(run).findings], columns=columns)


def _gaps(run: Run, chosen: Selection) -> pd.DataFrame:
    return pd.DataFrame([vars(one) for one in gaps(run)], columns=["what", "remedy", "setting"])


EXPORTS = {
    "zero-shot-matrix": Export(
        _matrix,
        _matrix_figure,
        _matrix_code,
        attrs=lambda run, chosen: run.evaluation.data.attrs,
        about=("metric", "level"),
    ),
    "matrix-against": Export(
        _against,
        _against_figure,
        _against_code,
        attrs=lambda run, chosen: run.evaluation.data.attrs,
        about=("other", "metric", "level"),
    ),
    "runs": Export(_runs, about=()),
    "audit": Export(_audit, about=()),
    "gaps": Export(_gaps, about=()),
    "datasets": Export(_datasets, code=_datasets_code, about=()),
    "contents": Export(_contents, about=()),
}
