"""Joint tables: each finding of a run, for all its detectors and datasets, in one data frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from probe.attribution.findings import BINS, BY_DATASET, MapSimilarity, RegionAttention
from probe.attribution.trust.report import TrustReport
from probe.datasets.dataset import SAMPLES_FILE
from probe.evaluation.paired import AWAY, home_and_away
from probe.evaluation.table import trained_on
from probe.neurons import Ablation, Universality
from probe.neurons.table import BOTH_HALVES, MEAN
from probe.run import RunFolder
from probe.separability.report import SeparabilityReport
from probe.stats import MIN_CLUSTERS, percentile_bounds
from probe.tables import export_frame, open_table, parsed

__all__ = ["JOINT", "joint_tables", "write_joint"]

T = TypeVar("T")

#: File with the provenance of a run, which also lists what could not be computed.

#: Modes of `map_similarity`, in the order of the tables.
MODES = ("corrected", "authors")


def joint_tables(run: RunFolder | str | Path) -> dict[str, pd.DataFrame]:
    """Return each finding of a run as one table of all its detectors.

    Works without torch, and for unfinished runs: a missing result has a row with the reason.

    Parameters
    ----------
    run : RunFolder or path
        Run to read.

    Returns
    -------
    dict
        Name to data frame. Every row has ``n_samples``, ``n_clusters`` and ``reason`` (why a value
        or an interval is missing; empty if neither is):

        - ``evaluation``: detector × dataset × level × metric; ``seen``: whether the detector was
          trained on the dataset;
        - ``generalization``: AUROC at home (on the training datasets) and on each dataset away,
          see `probe.evaluation.paired.home_and_away`;
        - ``universality``: detector × null; ``universal`` (units found by the test), ``counted``
          (units in all top lists), ``expected`` (count under the null), and the ``excess``;
        - ``units``: detector × dataset; units that contribute there, and only there;
        - ``ablation``: detector × set × dataset, AUROC and accuracy;
        - ``separability``: detector × layer × dataset: probe, control tasks, detector head; and
          the mean over datasets away from home;
        - ``best_layers``: the layer with the best probe, by detector and dataset;
        - ``layers``: detector × layer; accuracy of method probes, method-specific share;
        - ``similarity``: architecture × mode × dataset, SSIM of the maps of variants;
        - ``attention``: detector × group × part × region, region attention;
        - ``trust``: detector × method × check, all images.

    Raises
    ------
    StoreError
        If the folder is not a run, or a table is damaged.

    Examples
    --------
    >>> import probe
    >>> tables = probe.joint_tables("runs/demo")
    >>> sorted(tables)[:3]
    ['ablation', 'attention', 'best_layers']
    """
    source = _Source(run if isinstance(run, RunFolder) else RunFolder(Path(run)))
    return {name: make(source) for name, make in JOINT.items()}


def write_joint(run: RunFolder) -> dict[str, pd.DataFrame]:
    """Write the joint tables of a run as ``tables/joint/<name>.csv`` and return them."""
    tables = joint_tables(run)
    for name, frame in tables.items():
        export_frame(frame, run.joint / f"{name}.csv")
    return tables


@dataclass(frozen=True)
class _Source:
    """A run, and the parts of it that several tables need."""

    folder: RunFolder
    opened: dict[Path, Any] = field(default_factory=dict)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return self.folder.read_manifest()

    @property
    def detectors(self) -> list[str]:
        return [str(name) for name in self.manifest.get("detectors", [])]

    @property
    def architectures(self) -> list[str]:
        return list(dict.fromkeys(label.rpartition("/")[0] or label for label in self.detectors))

    @cached_property
    def evaluation(self) -> xr.Dataset | None:
        if not self.folder.path("evaluation").is_dir():
            return None
        return open_table(self.folder.path("evaluation"))

    @cached_property
    def scores(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder.path("evaluation").with_suffix(".scores.parquet"))

    @cached_property
    def specs(self) -> dict[str, Any]:
        attrs = {} if self.evaluation is None else self.evaluation.attrs
        found = parsed(attrs.get("specs", "{}"))
        return found if isinstance(found, dict) else {}

    def seen(self, label: str) -> list[str]:
        return trained_on(self.specs, label)

    @cached_property
    def people(self) -> pd.Series[str] | None:
        """Identity (else video) by dataset and sample; None if there is no sample table."""
        file = self.folder.data / SAMPLES_FILE
        if not file.is_file():
            return None
        table = pd.read_parquet(file, columns=["dataset", "sample", "identity", "video"])
        unknown = table["dataset"] + "|video|" + table["video"]
        return (
            table["identity"]
            .where(table["identity"] != "", unknown)
            .set_axis(pd.MultiIndex.from_frame(table[["dataset", "sample"]]))
        )

    @cached_property
    def notes(self) -> dict[str, dict[str, str]]:
        """Reasons for missing results in the provenance, by kind."""
        found = self.folder.read_provenance()
        return {k: v for k, v in found.items() if k.startswith("no_") and isinstance(v, dict)}

    def sizes(self, label: str, dataset: str) -> tuple[float, float]:
        """Return the evaluated images and clusters of a dataset (or the mean); NaN if unknown."""
        data = self.evaluation
        if data is None or label not in data["detector"].values:
            return np.nan, np.nan
        part = data.sel(detector=label, level="frame")
        if dataset != MEAN:
            if dataset not in part["dataset"].values:
                return np.nan, np.nan
            part = part.sel(dataset=dataset)
        return float(part["n_samples"].sum()), float(part["n_clusters"].sum())

    def table(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Open a table; None if there is none."""
        if path not in self.opened:
            self.opened[path] = read(path) if path.is_dir() else None
        found: T | None = self.opened[path]
        return found

    def noted(self, kind: str, of: str) -> str:
        """Return the recorded reason for a missing table; empty if there is none."""
        own = str(self.notes.get(kind, {}).get(of, ""))
        if own:
            return own
        stage = kind.removeprefix("no_")
        for one in self.manifest.get("left_out") or []:
            # An entry for one dataset does not explain a table of all datasets.
            if isinstance(one, dict) and not one.get("dataset"):
                fits = one.get("stage") in ("", stage) and one.get("detector") in ("", of)
                if fits and one.get("why"):
                    return str(one["why"])
        return ""

    def reason(self, kind: str, of: str) -> str:
        """Return the reason for a missing table, or a general one if none is recorded."""
        return self.noted(kind, of) or "not computed in this run"


def _framed(
    frames: Iterable[pd.DataFrame], columns: Sequence[str], lead: Sequence[str]
) -> pd.DataFrame:
    """Concatenate frames with common columns, the key columns first."""
    those = list(frames)
    if not those:
        return pd.DataFrame(columns=[*lead, *columns])
    frame = pd.concat([one.reindex(columns=[*lead, *columns]) for one in those], ignore_index=True)
    return frame.assign(reason=frame["reason"].fillna("").astype(str))


def _missing(reason: str, **lead: object) -> pd.DataFrame:
    return pd.DataFrame([{**lead, "reason": reason}])


def _interval_reason(frame: pd.DataFrame, value: str, low: str) -> pd.Series[str]:
    """Return why a value or its interval is missing; empty if neither is."""
    few = frame["n_clusters"].map("{:.0f} clusters; an interval takes ".format) + str(MIN_CLUSTERS)
    out = pd.Series("", index=frame.index, dtype=object)
    out = out.mask(frame[low].isna(), few)
    return out.mask(frame[value].isna(), "one class only")


# --- Evaluation ------------------------------------------------------------------------------

_EVALUATION = (
    "level",
    "metric",
    "value",
    "low",
    "high",
    "seen",
    "n_samples",
    "n_clusters",
    "reason",
)
_GENERALIZATION = ("trained_on", *AWAY[1:])


def _evaluation(run: _Source) -> pd.DataFrame:
    lead = ("detector", "dataset")
    if run.evaluation is None:
        why = run.reason("", "")
        return _framed((_missing(why, detector=d) for d in run.detectors), _EVALUATION, lead)
    frame = run.evaluation.to_dataframe().reset_index()
    pairs = zip(frame["detector"], frame["dataset"], strict=True)
    frame["seen"] = [name in run.seen(label) for label, name in pairs]
    frame["reason"] = _interval_reason(frame, "value", "low")
    return _framed([frame], _EVALUATION, lead)


def _generalization(run: _Source) -> pd.DataFrame:
    frames = (_away(run, label).assign(detector=label) for label in run.detectors)
    return _framed(frames, _GENERALIZATION, ("detector", "dataset"))


def _away(run: _Source, label: str) -> pd.DataFrame:
    home = run.seen(label)
    if run.evaluation is None or label not in run.evaluation["detector"].values:
        return _missing("not evaluated in this run")
    if not home:
        return _missing("its training data are unknown")
    rows = run.scores[run.scores["detector"] == label]
    if not set(home) & set(rows["dataset"]):
        return _missing(f"not evaluated on its training datasets ({', '.join(home)})")
    attrs = run.evaluation.attrs
    found = home_and_away(
        rows,
        home,
        people=_people(run, rows),
        ci=float(attrs.get("ci", 0.95)),
        seed=int(attrs.get("seed", 0)),
    )
    if not len(found):
        return _missing("no dataset outside its training data was evaluated")
    return found.assign(trained_on=", ".join(home))


def _people(run: _Source, rows: pd.DataFrame) -> Any:
    if run.people is None:
        return None
    at = pd.MultiIndex.from_frame(rows[["dataset", "sample"]])
    known = run.people.reindex(at).to_numpy()
    own = (rows["dataset"].astype(str) + "|" + rows["cluster"].astype(str)).to_numpy()
    return np.where(pd.isna(known), own, known)


# --- Neurons ---------------------------------------------------------------------------------

_UNIVERSALITY = (
    "layer",
    "n_units",
    "n_datasets",
    "n_tested",
    "alpha",
    "universal",
    "counted",
    "null",
    "expected",
    "excess",
    "excess_low",
    "excess_high",
    "p",
    "n_samples",
    "n_clusters",
    "reason",
)
_UNITS = (
    "layer",
    "n_units",
    "alpha",
    "contribute",
    "specific",
    "listed",
    "n_samples",
    "n_clusters",
    "reason",
)
_ABLATION = (
    "metric",
    "full",
    "without",
    "drop",
    "drop_low",
    "drop_high",
    "excess",
    "excess_low",
    "excess_high",
    "p",
    "n_units",
    "n_random",
    "n_distinct",
    "balance",
    "n_samples",
    "n_clusters",
    "reason",
)


def _universality(run: _Source) -> pd.DataFrame:
    frames = (_counts(run, label).assign(detector=label) for label in run.detectors)
    return _framed(frames, _UNIVERSALITY, ("detector",))


def _counts(run: _Source, label: str) -> pd.DataFrame:
    found = run.table(run.folder.path("universality", label), Universality.open)
    if found is None:
        return _missing(run.reason("no_neurons", label))
    data, frame = found.data, found.nulls().rename(columns={"excess_p": "p"})
    sizes = np.array([_sizes(run, label, data, str(name)) for name in data["dataset"].values])
    reason = frame["excess_low"].map(
        lambda low: "" if np.isfinite(low) else "no interval of the count, or only one null draw"
    )
    if "q" not in data:
        reason = reason + f" no test: {len(found.tested)} datasets have both classes"
    return frame.assign(
        **_about(data),
        n_datasets=data.sizes["dataset"],
        n_tested=len(found.tested),
        universal=len(found.universal) if "q" in data else np.nan,
        counted=len(found.counted),
        n_samples=sizes[:, 0].sum(),
        n_clusters=sizes[:, 1].sum(),
        reason=reason.str.strip(),
    )


def _about(data: xr.Dataset) -> dict[str, Any]:
    return {
        "layer": str(data.attrs.get("layer", "")),
        "n_units": data.sizes["unit"],
        "alpha": float(data.attrs["alpha"]),
    }


def _sizes(run: _Source, label: str, data: xr.Dataset, dataset: str) -> tuple[float, float]:
    """Return the images and clusters of a universality table, else those of the evaluation."""
    noted = [parsed(data.attrs.get(name, "")) for name in ("n_samples", "n_clusters")]
    if all(isinstance(one, dict) and dataset in one for one in noted):
        return float(noted[0][dataset]), float(noted[1][dataset])  # type: ignore[index]
    return run.sizes(label, dataset)


def _units(run: _Source) -> pd.DataFrame:
    frames = (_contributing(run, label).assign(detector=label) for label in run.detectors)
    return _framed(frames, _UNITS, ("detector", "dataset"))


def _contributing(run: _Source, label: str) -> pd.DataFrame:
    found = run.table(run.folder.path("universality", label), Universality.open)
    if found is None:
        return _missing(run.reason("no_neurons", label))
    data, rows = found.data, []
    for name, tested in zip(
        map(str, data["dataset"].values), data["is_tested"].values, strict=True
    ):
        one = data.sel(dataset=name)
        samples, clusters = _sizes(run, label, data, name)
        rows.append(
            {
                "dataset": name,
                "contribute": int(one["significant"].sum()) if tested else np.nan,
                "specific": len(found.specific[name]) if tested else np.nan,
                "listed": int(one["selected"].sum()),
                "n_samples": samples,
                "n_clusters": clusters,
                "reason": "" if tested else "not tested: one class, or no p-value",
            }
        )
    return pd.DataFrame(rows).assign(**_about(data))


def _ablation(run: _Source) -> pd.DataFrame:
    frames = (_taken_out(run, label).assign(detector=label) for label in run.detectors)
    return _framed(frames, _ABLATION, ("detector", "set", "dataset"))


def _taken_out(run: _Source, label: str) -> pd.DataFrame:
    found = run.table(run.folder.path("ablation", label), Ablation.open)
    if found is None:
        return _missing(run.reason("no_ablation", label), set="universal")
    frame = found.to_dataframe()
    sizes = np.array([run.sizes(label, str(name)) for name in frame["dataset"]])
    bare = frame["excess_low"].isna()
    frame = frame.assign(
        n_random=int(found.data.attrs["n_random"]),
        n_samples=sizes[:, 0],
        n_clusters=sizes[:, 1],
        reason=np.where(bare, f"no interval: fewer than {MIN_CLUSTERS} clusters in a half", ""),
    )
    if "universal" in set(frame["set"]):
        return frame
    lacking = _missing(f"no unit was found universal {BOTH_HALVES}", set="universal")
    return pd.concat([lacking, frame], ignore_index=True)


# --- Separability ----------------------------------------------------------------------------

_SEPARABILITY = (
    "seen",
    "probe",
    "probe_low",
    "probe_high",
    "p",
    "q",
    "control",
    "control_low",
    "control_high",
    "head",
    "head_low",
    "head_high",
    "gap",
    "gap_low",
    "gap_high",
    "n_samples",
    "n_fakes",
    "sampled",
    "n_clusters",
    "reason",
)
_BEST = (
    "layer",
    "probe",
    "probe_low",
    "probe_high",
    "n_layers",
    "n_samples",
    "n_clusters",
    "reason",
)
_LAYERS = (
    "specific_share",
    "specific_low",
    "specific_high",
    "shared_cosine",
    "method_accuracy",
    "method_low",
    "method_high",
    "method_chance",
    "method_p",
    "domain_accuracy",
    "domain_low",
    "domain_high",
    "domain_chance",
    "domain_p",
    "n_samples",
    "n_clusters",
    "reason",
)


def _separability(run: _Source) -> pd.DataFrame:
    frames = (_probes(run, label).assign(detector=label) for label in run.detectors)
    return _framed(frames, _SEPARABILITY, ("detector", "layer", "dataset"))


def _probes(run: _Source, label: str) -> pd.DataFrame:
    found = run.table(run.folder.path("separability", label), SeparabilityReport.open)
    if found is None:
        return _missing(run.reason("no_separability", label))
    data = found.data
    measured = {"probe": "probe_auroc", "control": "control_auroc"}
    parts: dict[str, Any] = {}
    for name, measure in measured.items():
        one = data.sel(measure=measure, drop=True)
        parts |= {name: one["value"], f"{name}_low": one["low"], f"{name}_high": one["high"]}
    probe = data.sel(measure="probe_auroc", drop=True)
    parts |= {"p": probe["p"], "q": probe["q"]}
    for name, of in (("head", "own"), ("gap", "blind")):
        parts |= {f"{name}{end}": data[f"{of}{end}"] for end in ("", "_low", "_high")}
    for name in ("n_samples", "n_fakes", "sampled", "n_clusters", "reason"):
        parts[name] = data[name]
    frame = xr.Dataset(parts).to_dataframe().reset_index()
    frame = frame.assign(seen=frame["dataset"].isin(run.seen(label)))
    means = [_away_probe(data, rows) for _, rows in frame.groupby("layer", sort=False)]
    return pd.concat([frame, *means], ignore_index=True)


def _away_probe(data: xr.Dataset, rows: pd.DataFrame) -> pd.DataFrame:
    """Average the probes of a layer over the datasets away from home that have intervals."""
    if not rows["seen"].any():
        return rows[:0]
    away = rows[~rows["seen"]]
    able = away[away["probe_low"].notna()]
    if not len(able):
        return rows[:0]
    layer, ci = str(rows["layer"].iloc[0]), float(data.attrs["ci"])
    left = [str(name) for name in away["dataset"] if name not in set(able["dataset"])]
    mean: dict[str, Any] = {name: able[name].mean() for name in ("probe", "control", "head", "gap")}
    if "probe_draw" in data:
        draws = data["probe_draw"].sel(layer=layer, dataset=list(able["dataset"])).mean("dataset")
        mean["probe_low"], mean["probe_high"] = map(float, percentile_bounds(draws.values, ci))
    mean |= {n: able[n].sum() for n in ("n_samples", "n_fakes", "sampled", "n_clusters")}
    said = [] if "probe_draw" in data else ["no interval: a table of an earlier version"]
    said += [f"without {', '.join(left)}"] if left else []
    about = {"layer": layer, "dataset": MEAN, "seen": False, "reason": "; ".join(said)}
    return pd.DataFrame([mean | about])


def _best_layers(run: _Source) -> pd.DataFrame:
    frame, lead = _separability(run), ["detector", "dataset"]
    frame = frame[frame["dataset"] != MEAN]
    known = frame[frame["probe"].notna()]
    best = known.loc[known.groupby(lead, sort=False)["probe"].idxmax()]
    number = known.groupby(lead, sort=False)["layer"].nunique().to_numpy()
    lacking = frame[frame["probe"].isna()].drop_duplicates(lead).assign(layer="", n_layers=0)
    out = _framed([best.assign(n_layers=number), lacking], _BEST, lead)
    order = {name: i for i, name in enumerate(run.detectors)}
    return out.sort_values("detector", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def _layers(run: _Source) -> pd.DataFrame:
    frames = (_methods(run, label).assign(detector=label) for label in run.detectors)
    return _framed(frames, _LAYERS, ("detector", "layer"))


def _methods(run: _Source, label: str) -> pd.DataFrame:
    found = run.table(run.folder.path("separability", label), SeparabilityReport.open)
    if found is None:
        return _missing(run.reason("no_separability", label))
    data, frame = found.data, found.layers()
    few = "no interval: too few clusters, or fewer than two methods"
    return frame.assign(
        n_samples=float(data["sampled"].sum()),
        n_clusters=float(data["n_clusters"].sum()),
        reason=np.where(frame["specific_low"].isna(), few, ""),
    )


# --- Maps ------------------------------------------------------------------------------------

_SIMILARITY = (
    "variants",
    *BY_DATASET[:-3],
    *(f"count_{name}" for name in BINS),
    *BY_DATASET[-3:],
)
_ATTENTION = (
    "dataset",
    "label",
    "forgery",
    "part",
    "region",
    "share",
    "share_low",
    "share_high",
    "area",
    "concentration",
    "concentration_low",
    "concentration_high",
    "q",
    "change",
    "change_low",
    "change_high",
    "change_q",
    "other_q",
    "n_samples",
    "n_clusters",
    "n_pairs",
    "n_faceless",
    "reason",
)
_TRUST = (
    "value",
    "low",
    "high",
    "chance",
    "randomized",
    "randomized_low",
    "randomized_high",
    "q_random",
    "q_edges",
    "q_shifted",
    "n_samples",
    "n_clusters",
    "reason",
)


def _similarity(run: _Source) -> pd.DataFrame:
    return _framed(_alike(run), _SIMILARITY, ("architecture", "mode", "dataset"))


def _alike(run: _Source) -> Iterator[pd.DataFrame]:
    for name in run.architectures:
        for mode in MODES:
            found = run.table(run.folder.path("map_similarity", name, mode), MapSimilarity.open)
            if found is None:
                own = [label for label in run.detectors if label.startswith(f"{name}/")]
                why = run.reason("no_attribution", f"{name} similarity ({mode})")
                frame = _missing("one variant only" if len(own) < 2 else why)
            else:
                pairs = [str(pair).split("|") for pair in found.data["pair"].values]
                variants = dict.fromkeys(one.rpartition("/")[2] for pair in pairs for one in pair)
                frame = found.to_dataframe().assign(variants=", ".join(variants))
            yield frame.assign(architecture=name, mode=mode)


def _attention(run: _Source) -> pd.DataFrame:
    frames = (
        frame.assign(detector=label)
        for label in run.detectors
        if (frame := _looked(run, label)) is not None
    )
    return _framed(frames, _ATTENTION, ("detector", "group"))


def _looked(run: _Source, label: str) -> pd.DataFrame | None:
    """Return region attention of a detector; None if it was not requested, as for variants."""
    found = run.table(run.folder.path("attention", label), RegionAttention.open)
    if found is not None:
        return found.to_dataframe()
    why = run.noted("no_attribution", f"{label} regions")
    return _missing(why) if why else None


def _trust(run: _Source) -> pd.DataFrame:
    frames = []
    for label in run.detectors:
        found = run.table(run.folder.path("trust", label), TrustReport.open)
        if found is not None:
            frame = found.to_dataframe()
            frame = frame[
                frame["dataset"]
                == ("all" if "all" in set(frame["dataset"]) else frame["dataset"].iloc[0])
            ]
            frames.append(frame.assign(detector=label))
    return _framed(frames, _TRUST, ("detector", "method", "check"))


#: Name of a joint table to the function that makes it.
JOINT: dict[str, Callable[[_Source], pd.DataFrame]] = {
    "evaluation": _evaluation,
    "generalization": _generalization,
    "universality": _universality,
    "units": _units,
    "ablation": _ablation,
    "separability": _separability,
    "best_layers": _best_layers,
    "layers": _layers,
    "similarity": _similarity,
    "attention": _attention,
    "trust": _trust,
}
