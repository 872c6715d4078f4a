"""Printing findings: neurons, features, artifacts, responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.console import out, plain
from probe.stats import benjamini_hochberg
from probe.tables import parsed

if TYPE_CHECKING:
    from probe.artifacts import ArtifactReport
    from probe.embed import Embeddings
    from probe.neurons import Ablation, Calibration, HeadTable, NeuronTable, Universality
    from probe.responses import ResponseReport
    from probe.separability import SeparabilityReport, Similarity

__all__ = [
    "ablation",
    "ablation_sentence",
    "artifacts",
    "artifacts_sentences",
    "calibration",
    "count_sentence",
    "embeddings",
    "heads",
    "one_dataset",
    "responses",
    "responses_sentence",
    "separability",
    "similarity",
    "test_sentence",
    "universality",
    "universality_sentence",
]


def universality(found: Universality) -> None:
    """Print the test, and the study's count beside its nulls."""
    data = found.data
    out().print(plain(test_sentence(found)), highlight=False)
    title = f"units of {data.attrs['layer']} in the top {data.attrs['top']:.0%} of c datasets"
    table = Table("c", "observed", "independent (95 %)", "untrained", "random heads", title=title)
    for c in data["count"].values:
        at = data.sel(count=c)
        chance = f"{float(at['independence']):.1f} ({float(at['independence_low']):.0f}–"
        chance += f"{float(at['independence_high']):.0f})"
        drawn = [_spread(at, name) for name in ("untrained", "random_head")]
        table.add_row(str(int(c)), str(int(at["observed"])), chance, *drawn)
    out().print(table)
    nulls = Table(
        "null", "expected", "excess (95 %)", "p", title="counted in all, beyond each null"
    )
    for row in found.nulls().to_dict("records"):
        bounds = _bounds(row["excess_low"], row["excess_high"], "+.1f")
        name = str(row["null"]).replace("_", " ")
        nulls.add_row(
            name,
            f"{row['expected']:.1f}",
            f"{row['excess']:+.1f}{bounds}",
            f"{row['excess_p']:.3f}",
        )
    out().print(nulls)
    out().print(plain(count_sentence(found)), highlight=False)


def one_dataset(table: NeuronTable, alpha: float = 0.05) -> None:
    """Print how many units contribute to detection in the only dataset of a table."""
    name, p = str(table.data["dataset"].values[0]), table.data["p"].values[0]
    if not np.isfinite(p).all():
        reasons = parsed(table.data.attrs.get("one_class", "{}"))
        why = "; ".join(reasons.values()) if isinstance(reasons, dict) else ""
        out().print(plain(f"No test: {why or 'p is not defined'}."), highlight=False)
        return
    count = int((benjamini_hochberg(p) <= alpha).sum())
    text = f"{count} of {len(p)} units contribute to detection in {name} (q ≤ {alpha}, BH)."
    out().print(plain(text), highlight=False)


def _spread(at: Any, name: str) -> str:
    """Show the draws of a null: all if they are few, else their range."""
    values = [int(v) for v in at[name].values] if name in at else []
    if len(values) > 4:
        return f"{np.mean(values):.1f} ({min(values)}–{max(values)})"
    return ", ".join(map(str, values)) or "–"


def _bounds(low: float, high: float, form: str) -> str:
    return f" ({low:{form}} to {high:{form}})" if np.isfinite(low) else ""


def test_sentence(found: Universality) -> str:
    """Say how many units contribute to detection in every dataset."""
    data, attrs = found.data, found.data.attrs
    tested = len(found.tested)
    if "q" not in data:
        reasons = parsed(attrs.get("one_class", "{}"))
        why = "; ".join(reasons.values()) if isinstance(reasons, dict) else ""
        return (
            f"No test: both fakes and reals were used of {tested} of {data.sizes['dataset']} "
            f"datasets, and two are needed{f' ({why})' if why else ''}."
        )
    name = {"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}[str(attrs["correction"])]
    each = ", ".join(
        f"{n} {int(k)}"
        for n, k in zip(data["dataset"].values, data["significant"].values.sum(axis=1), strict=True)
    )
    return (
        f"{len(found.universal)} of {data.sizes['unit']} units contribute to detection in all "
        f"{tested} datasets (partial conjunction, q ≤ {attrs['alpha']}, {name}). In each by "
        f"itself: {each}."
    )


def count_sentence(found: Universality) -> str:
    """Say how many units the study would count, and what the nulls leave of that."""
    data = found.data
    last = data.isel(count=-1)
    untrained = ", ".join(str(int(v)) for v in last["untrained"].values) or "not computed"
    return (
        f"The study's count: {int(last['observed'])} of {data.sizes['unit']} units are in all "
        f"{data.sizes['dataset']} lists; {float(last['independence']):.1f} are expected of "
        f"independent lists; untrained networks: {untrained}."
    )


def universality_sentence(found: Universality) -> str:
    """Say both."""
    return f"{test_sentence(found)} {count_sentence(found)}"


def ablation(found: Ablation) -> None:
    """Print what detection loses without each set, on average over datasets."""
    attrs = found.data.attrs
    title = f"AUROC without units of {attrs['layer']} (mean over datasets)"
    table = Table("set", "units", "drop (95 %)", "beyond random (95 %)", "p", title=title)
    frame = found.to_dataframe()
    for row in frame[(frame["dataset"] == "mean") & (frame["metric"] == "auroc")].to_dict(
        "records"
    ):
        table.add_row(
            plain(str(row["set"])),
            f"{row['n_units']:g}",
            f"{row['drop']:+.3f}{_bounds(row['drop_low'], row['drop_high'], '+.3f')}",
            f"{row['excess']:+.3f}{_bounds(row['excess_low'], row['excess_high'], '+.3f')}",
            f"{row['p']:.3f}",
        )
    out().print(table)
    out().print(
        f"Chosen on: {attrs['chosen_on']}. Beside {attrs['n_random']} random sets matched in "
        "|weight| × range; where the layer is small, few of them differ (see balance, n_distinct).",
        highlight=False,
    )
    if alone := attrs.get("one_half_only"):
        names = ", ".join(alone) if isinstance(alone, list) else str(alone)
        out().print(f"Found on one half only, and left in: {plain(names)}.", highlight=False)


def ablation_sentence(found: Ablation | None) -> str:
    """Say what taking out the units that were found does, beyond random sets."""
    if found is None:
        return "  Nothing was taken out (provenance.json says why)."
    data = found.data.sel(dataset="mean", metric="auroc")
    parts = []
    for name in [str(s) for s in data["set"].values if s in ("universal", "counted")]:
        one = data.sel(set=name)
        bounds = _bounds(float(one["excess_low"]), float(one["excess_high"]), "+.3f")
        parts.append(
            f"{name} {float(one['drop']):+.3f}, beyond matched random sets "
            f"{float(one['excess']):+.3f}{bounds}, p = {float(one['p']):.3f}"
        )
    return f"  Mean AUROC lost without them: {'; '.join(parts) or 'neither set in both halves'}."


def heads(found: HeadTable) -> None:
    """Print heads on the datasets held out."""
    title = f"AUROC on the dataset held out, heads on {found.attrs['layer']}"
    table = Table(
        "held out", "head", "AUROC (95 %)", "universal head's gain (95 %)", "units", title=title
    )
    for row in found.frame.to_dict("records"):
        name = f"{row['held_out']}{' (seen in training)' if row['seen'] else ''}"
        gain = "" if np.isnan(row["gain"]) else f"{row['gain']:+.3f}"
        table.add_row(
            plain(name),
            str(row["head"]),
            f"{row['auroc']:.3f}{_bounds(row['low'], row['high'], '.3f')}",
            f"{gain}{_bounds(row['gain_low'], row['gain_high'], '+.3f')}",
            str(row["n_units"]) if row["head"] == "universal" else "",
        )
    out().print(table)


def calibration(found: Calibration) -> None:
    """Print how rules fare on planted detectors."""
    for (units, effect), rows in found.to_dataframe().groupby(["units", "effect"], sort=False):
        table = Table(
            "rule",
            "power",
            "false rate",
            "lacking one dataset",
            "false discovery",
            "AUC",
            "ms",
            title=f"{units} units, effect {effect}, nominal 5 %",
        )
        for row in rows.to_dict("records"):
            table.add_row(
                plain(str(row["rule"])),
                f"{row['power']:.2f}",
                f"{row['false_rate']:.3f}",
                f"{row['false_near']:.3f}",
                f"{row['false_discovery']:.3f}",
                f"{row['auc']:.3f}",
                f"{1e3 * row['seconds']:.0f}",
            )
        out().print(table)


def separability(found: SeparabilityReport) -> None:
    """Print real against fake, transfer, and what features tell instead."""
    data = found.data
    for layer in data["layer"].values:
        part = data.sel(layer=layer)
        table = Table(
            "dataset",
            "probe AUROC",
            "control",
            "detector's own",
            "probe − own",
            "Fisher",
            "d'",
            "silhouette",
            "k-NN purity",
            "MMD²",
            "p of probe",
            "people",
            title=f"{data.attrs['label']}, {layer}: real against fake",
        )
        for name in part["dataset"].values:
            one = part.sel(dataset=name)
            values = {str(m): one.sel(measure=m) for m in one["measure"].values}
            table.add_row(
                str(name),
                *(_value(values[m], "value") for m in ("probe_auroc", "control_auroc")),
                _ends(one["own"], one["own_low"], one["own_high"]),
                _ends(one["blind"], one["blind_low"], one["blind_high"], "+.2f"),
                *(
                    _number(float(values[m]["value"]))
                    for m in ("fisher", "dprime", "silhouette", "knn_purity", "mmd2")
                ),
                _number(float(values["probe_auroc"]["p"]), ".3f"),
                str(int(one["n_clusters"])),
            )
        out().print(table)
        _transfer(found, str(layer))
    for name in data["dataset"].values:
        one = data.sel(dataset=name)
        if str(one["reason"].item()):
            out().print(f"{plain(str(name))}: {plain(str(one['reason'].item()))}", highlight=False)
        if int(one["sampled"]) < int(one["n_samples"]):
            out().print(
                f"{plain(str(name))}: {int(one['sampled'])} of {int(one['n_samples'])} samples "
                "used, spread over people; more fit with a larger --memory.",
                highlight=False,
            )
    _layers(found)


def _transfer(found: SeparabilityReport, layer: str) -> None:
    """Print the transfer matrix of a layer."""
    part = found.data.sel(layer=layer)
    names = [str(name) for name in part["scored"].values]
    if len(names) < 2:
        return
    table = Table("fitted on", *names, title=f"{layer}: probe scored on other datasets (AUROC)")
    for name in names:
        row = part["transfer"].sel(dataset=name).values
        table.add_row(name, *(_number(float(value)) for value in row))
    table.add_row("[bold]the detector[/bold]", *(_number(float(v)) for v in part["own"].values))
    out().print(table)


def _layers(found: SeparabilityReport) -> None:
    """Print what layers tell beside the label."""
    table = Table(
        "layer",
        "method of a fake",
        "chance",
        "dataset of a real",
        "chance",
        "specific to methods",
        "cosine between methods",
        title="what else is told (balanced accuracy), and what methods share",
    )
    for row in found.layers().to_dict("records"):
        told = [
            value
            for q in ("method", "domain")
            for value in (
                _bounded(row[f"{q}_accuracy"], row[f"{q}_low"], row[f"{q}_high"]),
                _number(row[f"{q}_chance"]),
            )
        ]
        share = _bounded(row["specific_share"], row["specific_low"], row["specific_high"])
        table.add_row(str(row["layer"]), *told, share, _number(row["shared_cosine"]))
    out().print(table)


def similarity(found: Similarity) -> None:
    """Print debiased CKA of each pair of detectors."""
    table = Table("layer", "detector", "other", "CKA (95 %)", title="similarity of features")
    for row in found.to_dataframe().to_dict("records"):
        bounds = _bounded(row["cka"], row["cka_low"], row["cka_high"])
        table.add_row(str(row["layer"]), str(row["detector"]), str(row["other"]), bounds)
    out().print(table)


def embeddings(found: Embeddings) -> None:
    """Print how far each picture can be believed."""
    data = found.data
    table = Table(
        "layer",
        "picture",
        "trustworthiness",
        "neighbors kept",
        title=f"{int(data.attrs['n_fitted'])} of {data.sizes['sample']} samples fitted, the rest "
        "projected",
    )
    for layer in data["layer"].values:
        for method in data["method"].values:
            one = data.sel({"layer": layer, "method": method})
            table.add_row(
                str(layer),
                str(method),
                f"{float(one['trustworthiness']):.3f}",
                f"{float(one['preservation']):.0%}",
            )
    out().print(table)


def _value(one: Any, name: str) -> str:
    return _ends(one[name], one["low"], one["high"])


def _ends(value: Any, low: Any, high: Any, form: str = ".2f") -> str:
    return _bounded(float(value), float(low), float(high), form)


def _bounded(value: float, low: float, high: float, form: str = ".2f") -> str:
    if not np.isfinite(low):
        return _number(value, form)
    joint = " to " if "+" in form else "–"
    return f"{value:{form}} ({low:{form}}{joint}{high:{form}})"


def _number(value: float, form: str = ".2f") -> str:
    return f"{value:{form}}" if np.isfinite(value) else "–"


#: False discovery rate of a mark.
ALPHA = 0.05


def artifacts(found: ArtifactReport) -> None:
    """Print effects by measurement and dataset, what tells the methods, and what is missing."""
    data = found.data
    names = [str(name) for name in data["dataset"].values]
    table = Table("measurement", *names, title="effects: fake less real, in SDs of real images")
    for measurement in data["measurement"].values:
        part = data.sel(measurement=measurement)
        table.add_row(str(measurement), *(_effect_cell(part.sel(dataset=name)) for name in names))
    out().print(table)
    out().print(
        "* q ≤ .05 without control, partialled and matched; ° not in all three (95 % intervals in "
        "brackets).",
        highlight=False,
    )
    for sentence in artifacts_sentences(found):
        out().print(plain(sentence), highlight=False)


def _effect_cell(at: Any) -> str:
    effect = float(at["effect"].sel(control="none"))
    if not np.isfinite(effect):
        return "–"
    low, high = (float(at[name].sel(control="none")) for name in ("low", "high"))
    below = [float(q) <= ALPHA for q in at["q"].values]
    mark = "*" if all(below) else "°" if any(below) else ""
    bounds = rf" \[{low:.1f}, {high:.1f}]" if np.isfinite(low) else ""
    return f"{round(effect, 2) + 0.0:+.2f}{mark}{bounds}"


def artifacts_sentences(found: ArtifactReport) -> list[str]:
    """Say for each dataset what differs most, what the controls rest on, and what is missing."""
    return [
        *(_dataset_sentence(found.data.sel(dataset=name)) for name in found.data["dataset"].values),
        *(_tell_sentence(found.data.sel({"method": name})) for name in found.data["method"].values),
    ]


def _dataset_sentence(at: Any) -> str:
    name, reason = str(at["dataset"].values), str(at["reason"].values)
    used = dict(zip(map(str, at["control"].values), map(int, at["n_used"].values), strict=True))
    parts = [f"{int(at['n_samples'])} images, {int(at['n_clusters'])} clusters"]
    parts.append(f"{used['matched']} matched")
    parts.append(f"inside is: {at['region'].values}")
    uneven = [
        f"{covariate} {value:.2f}"
        for covariate, value in zip(at["covariate"].values, at["imbalance"].values, strict=True)
        if np.isfinite(value) and abs(value - 0.5) >= 0.05
    ]
    if uneven:
        parts.append(f"labels are told (AUROC) by {', '.join(uneven)}")
    first = _first(at)
    return f"{name}: {first}{'; '.join(parts)}. {reason}".strip()


def _first(at: Any) -> str:
    if not (at["rank"] == 1).any():
        return ""
    best = at.isel(measurement=int(np.argmax(at["rank"].values == 1)))
    effects = ", ".join(
        f"{control} {float(value):+.2f} (q = {float(q):.2g})"
        for control, value, q in zip(
            best["control"].values, best["effect"].values, best["q"].values, strict=True
        )
    )
    return f"{best['measurement'].values} first, {effects}; "


def _tell_sentence(at: Any) -> str:
    name, tells = str(at["method"].values), at["tells"].values
    if not np.isfinite(tells).any():
        return f"{name}: there is no other method to tell it from."
    best = at.isel(measurement=int(np.nanargmax(np.abs(tells - 0.5))))
    low, high = float(best["tells_low"]), float(best["tells_high"])
    bounds = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    way = "above" if float(best["tells"]) > 0.5 else "below"
    return (
        f"{name} is told best by {best['measurement'].values}, {way} all other methods with AUROC "
        f"{float(best['tells']):.2f}{bounds}."
    )


#: Units that are listed at most; all are in what is exported.
MOST = 24


def responses(found: ResponseReport) -> None:
    """Print the answers of the units, and the logit at the highest dose."""
    attrs, frame = found.data.attrs, found.answers()
    size = frame["answer_effect"].abs().fillna(0.0)
    # Universal units first, then by how strongly they respond.
    order = np.lexsort((-size, ~frame["universal"]))[:MOST]
    table = Table("unit", "responds to", "by", "effect", "q", title=f"units of {attrs['layer']}")
    for row in frame.iloc[order].to_dict("records"):
        clear = bool(row["answer_kind"])
        table.add_row(
            f"{row['unit']}{' (universal)' if row['universal'] else ''}",
            plain(str(row["answer"])),
            str(row["answer_kind"]),
            f"{row['answer_effect']:+.2f}" if clear else "",
            f"{row['answer_q']:.4f}" if clear else "",
        )
    out().print(table)
    if found.has_doses:
        _logits(found)
    out().print(plain(responses_sentence(found)), highlight=False)
    for key in ("reason", "dose_reason"):
        for name, text in _reasons(found, key):
            out().print(f"{plain(name)}: {plain(text)}.", highlight=False)


def _logits(found: ResponseReport) -> None:
    data = found.data.isel(dose=-1)
    names = [str(name) for name in data["dataset"].values]
    dose = float(data["dose"])
    table = Table("artifact", *names, title=f"mean change of the fake logit at dose {dose:g}")
    for artifact in data["artifact"].values:
        cells = [_dose_cell(data.sel(artifact=artifact, dataset=name)) for name in names]
        table.add_row(str(artifact), *cells)
    out().print(table)


def _dose_cell(one: object) -> str:
    mean, low, high = (float(one[f"logit_{key}"]) for key in ("response", "low", "high"))  # type: ignore[index]
    if np.isnan(mean):
        return ""
    return f"{mean:+.2f}" + ("" if np.isnan(low) else f"\n{low:+.2f} to {high:+.2f}")


def _reasons(found: ResponseReport, key: str) -> list[tuple[str, str]]:
    if key not in found.data:
        return []
    pairs = zip(found.data["dataset"].values, found.data[key].values, strict=True)
    return [(str(name), str(text)) for name, text in pairs if text]


def responses_sentence(found: ResponseReport) -> str:
    """Say how many units respond to what."""
    frame, parts = found.answers(), []
    for kind, text in (
        ("dose", "respond to an artifact turned up"),
        ("correlation", "go with a measurement"),
    ):
        names = frame.loc[frame["answer_kind"] == kind, "answer"].value_counts()
        if len(names):
            some = ", ".join(f"{name} {count}" for name, count in names.items())
            parts.append(f"{int(names.sum())} {text} ({some})")
    rest = int((frame["answer_kind"] == "").sum())
    if rest:
        parts.append(f"for {rest} nothing was found")
    return (
        f"Of {len(frame)} units of {found.data.attrs['layer']}, {'; '.join(parts)} "
        f"(q ≤ {found.data.attrs['alpha']:g})."
    )
