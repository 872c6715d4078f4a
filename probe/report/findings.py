"""Output for findings: neurons, features, artifacts, unit responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from probe.report.console import out, plain
from probe.stats import benjamini_hochberg
from probe.tables import parsed

if TYPE_CHECKING:
    from probe.artifacts import ArtifactReport, ResponseReport
    from probe.neurons import Ablation, Calibration, HeadTable, NeuronTable, Universality
    from probe.separability import Embeddings, SeparabilityReport, Similarity

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
    """Print the universality test, and the study's count beside its null distributions."""
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
        "null", "expected", "excess (95 %)", "p", title="units in all top lists, beyond each null"
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
    """Print the number of units that contribute to detection in a table of one dataset."""
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
    """Format the draws of a null: all up to four, else mean and range."""
    values = [int(v) for v in at[name].values] if name in at else []
    if len(values) > 4:
        return f"{np.mean(values):.1f} ({min(values)}–{max(values)})"
    return ", ".join(map(str, values)) or "–"


def _bounds(low: float, high: float, form: str) -> str:
    return f" ({low:{form}} to {high:{form}})" if np.isfinite(low) else ""


def test_sentence(found: Universality) -> str:
    """Summarize how many units contribute to detection in every dataset."""
    data, attrs = found.data, found.data.attrs
    tested = len(found.tested)
    if "q" not in data:
        reasons = parsed(attrs.get("one_class", "{}"))
        why = "; ".join(reasons.values()) if isinstance(reasons, dict) else ""
        return (
            f"No test: {tested} of {data.sizes['dataset']} datasets have both fakes and reals, and "
            f"two are needed{f' ({why})' if why else ''}."
        )
    name = {"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}[str(attrs["correction"])]
    each = ", ".join(
        f"{n} {int(k)}"
        for n, k in zip(data["dataset"].values, data["significant"].values.sum(axis=1), strict=True)
    )
    return (
        f"{len(found.universal)} of {data.sizes['unit']} units contribute to detection in all "
        f"{tested} datasets (partial conjunction, q ≤ {attrs['alpha']}, {name}). In single "
        f"datasets: {each}."
    )


def count_sentence(found: Universality) -> str:
    """Summarize the study's count of universal units and what the nulls expect of it."""
    data = found.data
    last = data.isel(count=-1)
    untrained = ", ".join(str(int(v)) for v in last["untrained"].values) or "not computed"
    return (
        f"The study's count: {int(last['observed'])} of {data.sizes['unit']} units are in all "
        f"{data.sizes['dataset']} top lists; {float(last['independence']):.1f} are expected for "
        f"independent lists; untrained networks: {untrained}."
    )


def universality_sentence(found: Universality) -> str:
    """Return the sentences of `test_sentence` and `count_sentence`."""
    return f"{test_sentence(found)} {count_sentence(found)}"


def ablation(found: Ablation) -> None:
    """Print the mean AUROC drop over datasets when each set of units is ablated."""
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
        f"Units selected on: {attrs['chosen_on']}. Compared with {attrs['n_random']} random sets "
        "matched in |weight| × range; in a small layer, few of them differ (see balance, "
        "n_distinct).",
        highlight=False,
    )
    if alone := attrs.get("one_half_only"):
        names = ", ".join(alone) if isinstance(alone, list) else str(alone)
        out().print(f"Found in one half only, and not ablated: {plain(names)}.", highlight=False)


def ablation_sentence(found: Ablation | None) -> str:
    """Summarize the effect of ablating the units found, beyond matched random sets."""
    if found is None:
        return "  No units were ablated (provenance.json gives the reason)."
    data = found.data.sel(dataset="mean", metric="auroc")
    parts = []
    for name in [str(s) for s in data["set"].values if s in ("universal", "counted")]:
        one = data.sel(set=name)
        bounds = _bounds(float(one["excess_low"]), float(one["excess_high"]), "+.3f")
        parts.append(
            f"{name} {float(one['drop']):+.3f}, beyond matched random sets "
            f"{float(one['excess']):+.3f}{bounds}, p = {float(one['p']):.3f}"
        )
    return f"  Mean AUROC drop by ablation: {'; '.join(parts) or 'neither set in both halves'}."


def heads(found: HeadTable) -> None:
    """Print the AUROC of refitted heads on the held-out datasets."""
    title = f"AUROC on the held-out dataset, heads on {found.attrs['layer']}"
    table = Table(
        "held out", "head", "AUROC (95 %)", "gain of universal head (95 %)", "units", title=title
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
    """Print power and error rates of universality rules on planted detectors."""
    for (units, effect), rows in found.to_dataframe().groupby(["units", "effect"], sort=False):
        table = Table(
            "rule",
            "power",
            "false positive rate",
            "… in all but one dataset",
            "false discovery rate",
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
    """Print the separability of real and fake, its transfer, and what else features encode."""
    data = found.data
    for layer in data["layer"].values:
        part = data.sel(layer=layer)
        table = Table(
            "dataset",
            "probe AUROC",
            "control",
            "detector head",
            "probe − head",
            "Fisher",
            "d'",
            "silhouette",
            "k-NN purity",
            "MMD²",
            "p of probe",
            "clusters",
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
                "used, spread over identities; a larger --memory allows more.",
                highlight=False,
            )
    _layers(found)


def _transfer(found: SeparabilityReport, layer: str) -> None:
    """Print the transfer matrix of a layer's probes."""
    part = found.data.sel(layer=layer)
    names = [str(name) for name in part["scored"].values]
    if len(names) < 2:
        return
    table = Table("fitted on", *names, title=f"{layer}: probe scored on other datasets (AUROC)")
    for name in names:
        row = part["transfer"].sel(dataset=name).values
        table.add_row(name, *(_number(float(value)) for value in row))
    table.add_row("[bold]detector head[/bold]", *(_number(float(v)) for v in part["own"].values))
    out().print(table)


def _layers(found: SeparabilityReport) -> None:
    """Print what layers encode besides the label: forgery methods and datasets."""
    table = Table(
        "layer",
        "method of a fake",
        "chance",
        "dataset of a real",
        "chance",
        "method-specific share",
        "cosine between methods",
        title="probes of method and dataset (balanced accuracy), and overlap of methods",
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
    """Print the debiased CKA of each pair of detectors."""
    table = Table("layer", "detector", "other", "CKA (95 %)", title="similarity of features")
    for row in found.to_dataframe().to_dict("records"):
        bounds = _bounded(row["cka"], row["cka_low"], row["cka_high"])
        table.add_row(str(row["layer"]), str(row["detector"]), str(row["other"]), bounds)
    out().print(table)


def embeddings(found: Embeddings) -> None:
    """Print the trustworthiness and neighborhood preservation of each embedding."""
    data = found.data
    table = Table(
        "layer",
        "embedding",
        "trustworthiness",
        "neighbors preserved",
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


#: False discovery rate at which a mark is set.
ALPHA = 0.05


def artifacts(found: ArtifactReport) -> None:
    """Print effects by measurement and dataset, the best separators of methods, and gaps."""
    data = found.data
    names = [str(name) for name in data["dataset"].values]
    table = Table("measurement", *names, title="effects: fake minus real, in SDs of real images")
    for measurement in data["measurement"].values:
        part = data.sel(measurement=measurement)
        table.add_row(str(measurement), *(_effect_cell(part.sel(dataset=name)) for name in names))
    out().print(table)
    out().print(
        "* q ≤ .05 uncontrolled, partialled and matched; ° in some of the three (95 % intervals in "
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
    """Summarize each dataset: the largest effect, the controls, and what is missing."""
    return [
        *(_dataset_sentence(found.data.sel(dataset=name)) for name in found.data["dataset"].values),
        *(_tell_sentence(found.data.sel({"method": name})) for name in found.data["method"].values),
    ]


def _dataset_sentence(at: Any) -> str:
    name, reason = str(at["dataset"].values), str(at["reason"].values)
    used = dict(zip(map(str, at["control"].values), map(int, at["n_used"].values), strict=True))
    parts = [f"{int(at['n_samples'])} images, {int(at['n_clusters'])} clusters"]
    parts.append(f"{used['matched']} matched")
    parts.append(f"inner region: {at['region'].values}")
    uneven = [
        f"{covariate} {value:.2f}"
        for covariate, value in zip(at["covariate"].values, at["imbalance"].values, strict=True)
        if np.isfinite(value) and abs(value - 0.5) >= 0.05
    ]
    if uneven:
        parts.append(f"covariates that predict the label (AUROC): {', '.join(uneven)}")
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
    return f"largest effect {best['measurement'].values}, {effects}; "


def _tell_sentence(at: Any) -> str:
    name, tells = str(at["method"].values), at["tells"].values
    if not np.isfinite(tells).any():
        return f"{name}: there is no other method to compare it with."
    best = at.isel(measurement=int(np.nanargmax(np.abs(tells - 0.5))))
    low, high = float(best["tells_low"]), float(best["tells_high"])
    bounds = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    way = "above" if float(best["tells"]) > 0.5 else "below"
    return (
        f"{name} is best separated by {best['measurement'].values}, {way} all other methods with "
        f"AUROC {float(best['tells']):.2f}{bounds}."
    )


#: Maximum number of printed units; exports hold all.
MOST = 24


def responses(found: ResponseReport) -> None:
    """Print what units respond to, and the change of the logit at the highest dose."""
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
    """Summarize how many units respond to what."""
    frame, parts = found.answers(), []
    for kind, text in (
        ("dose", "respond to an artifact dose"),
        ("correlation", "correlate with a measurement"),
    ):
        names = frame.loc[frame["answer_kind"] == kind, "answer"].value_counts()
        if len(names):
            some = ", ".join(f"{name} {count}" for name, count in names.items())
            parts.append(f"{int(names.sum())} {text} ({some})")
    rest = int((frame["answer_kind"] == "").sum())
    if rest:
        parts.append(f"{rest} have no significant response")
    return (
        f"Of {len(frame)} units of {found.data.attrs['layer']}, {'; '.join(parts)} "
        f"(q ≤ {found.data.attrs['alpha']:g})."
    )
