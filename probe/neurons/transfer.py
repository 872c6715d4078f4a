"""`universal_head`: heads refitted on universal units, measured on a held-out dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from probe.compute import on_device
from probe.datasets.dataset import Dataset, by_name
from probe.datasets.loader import Images
from probe.detectors.detector import Detector
from probe.errors import ProbeError
from probe.hooks import Recorder, Tap, trace
from probe.neurons import universal_neurons
from probe.neurons.importance import default_layer, neuron_importance
from probe.progress import progress_bar
from probe.registry import Registry
from probe.results import Provenance, Result, by_row
from probe.stats import MIN_CLUSTERS, Floats, Ranked, auroc, cluster_counts, percentile_bounds

__all__ = [
    "Examples",
    "HEADS",
    "Head",
    "HeadTable",
    "fit",
    "fit_on",
    "leave_one_out",
    "universal_head",
]

#: Inverse penalties for cross-validation to choose from.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)

FOLDS = 3

#: Maps activations, shape (n, units), to scores, shape (n,).
Head = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Examples:
    """Activations of images, from one or more datasets, with their labels.

    Attributes
    ----------
    values : numpy.ndarray
        Shape (n, units), standardized with mean and deviation of the training images.
    labels, clusters : numpy.ndarray
        Shape (n,): 0 real and 1 fake; cluster codes.
    datasets, methods : numpy.ndarray
        Shape (n,), names; the method of a real image is ``real``.
    """

    values: Floats
    labels: NDArray[np.int8]
    clusters: NDArray[np.int64]
    datasets: NDArray[Any]
    methods: NDArray[Any]

    @property
    def weights(self) -> Floats:
        """Weight per image, shape (n,), so that each dataset and label has the same total."""
        keys = [f"{d}|{y}" for d, y in zip(self.datasets, self.labels, strict=True)]
        _, codes, counts = np.unique(keys, return_inverse=True, return_counts=True)
        return np.asarray(len(keys) / (len(counts) * counts[codes]), dtype=np.float64)


#: Heads by name: from training examples and universal units to a head, or None where the head
#: cannot be fitted.
HEADS: Registry[Callable[[Examples, NDArray[np.int64]], Head | None]] = Registry("head")


@HEADS.register("universal")
def _universal(given: Examples, units: NDArray[np.int64]) -> Head | None:
    """Logistic regression on the universal units."""
    return fit_on(given, units) if len(units) else None


@HEADS.register("refitted")
def _refitted(given: Examples, units: NDArray[np.int64]) -> Head:
    """Logistic regression on all units."""
    return fit_on(given, np.arange(given.values.shape[1]))


@HEADS.register("l1")
def _sparse(given: Examples, units: NDArray[np.int64]) -> Head:
    """Logistic regression on all units with an L1 penalty, which selects units itself."""
    return fit(given, given.values, l1=1.0)


@HEADS.register("shortcut removed")
def _shortcut_removed(given: Examples, units: NDArray[np.int64]) -> Head | None:
    """Logistic regression after projecting out the directions of the synthesis methods.

    A linear probe is trained to classify the methods of fakes. The singular directions of its
    weights, one fewer than methods, are projected out (removal of a shortcut subspace as
    proposed in arXiv:2606.01843).
    """
    fake = given.labels == 1
    names = np.unique(given.methods[fake])
    if len(names) < 2:
        return None
    probe = LogisticRegression(C=0.1, max_iter=2000).fit(given.values[fake], given.methods[fake])
    weights = probe.coef_ if len(names) > 2 else probe.coef_[:1]
    directions = np.linalg.svd(weights, full_matrices=False)[2][: len(names) - 1]

    def project(values: Floats) -> Floats:
        return np.asarray(values - (values @ directions.T) @ directions)

    head = fit(given, project(given.values))
    return lambda values: head(project(values))


def fit_on(given: Examples, units: NDArray[np.int64], penalty: float | None = None) -> Head:
    """Fit a head on a set of units; see `fit`."""
    head = fit(given, given.values[:, units], penalty=penalty)
    return lambda values: head(values[:, units])


def fit(given: Examples, values: Floats, *, l1: float = 0.0, penalty: float | None = None) -> Head:
    """Fit logistic regression, with its penalty chosen by AUROC over folds of whole clusters.

    Parameters
    ----------
    given : Examples
        Labels, clusters and weights of the training images.
    values : numpy.ndarray
        Shape (n, features), the features to fit on.
    l1 : float, default 0
        1 for an L1 penalty, 0 for L2.
    penalty : float, optional
        Inverse penalty; chosen by cross-validation by default.
    """
    chosen = penalty if penalty is not None else choose_penalty(given, values, l1)
    model = _model(chosen, l1).fit(values, given.labels, sample_weight=given.weights)
    return lambda x: np.asarray(model.decision_function(x), dtype=np.float64)


def choose_penalty(given: Examples, values: Floats, l1: float = 0.0) -> float:
    """Return the inverse penalty with the highest held-out AUROC, averaged over folds."""
    groups = np.unique(
        [f"{d}|{c}" for d, c in zip(given.datasets, given.clusters, strict=True)],
        return_inverse=True,
    )[1]
    scores = np.zeros(len(PENALTIES))
    for inside, outside in GroupKFold(FOLDS).split(values, given.labels, groups):
        for i, penalty in enumerate(PENALTIES):
            model = _model(penalty, l1)
            model.fit(values[inside], given.labels[inside], sample_weight=given.weights[inside])
            found = model.decision_function(values[outside])
            scores[i] += float(auroc(given.labels[outside], found)[0])
    return PENALTIES[int(scores.argmax())]


def _model(penalty: float, l1: float) -> LogisticRegression:
    if l1:
        # liblinear visits coordinates in random order; the seed makes results reproducible.
        return LogisticRegression(
            C=penalty, l1_ratio=1.0, solver="liblinear", max_iter=500, random_state=0
        )
    return LogisticRegression(C=penalty, max_iter=2000)


#: Names of the detector's own head, and of heads on random sets of as many units.
OWN, RANDOM = "own", "random units"


class HeadTable(Result):
    """Heads measured on held-out datasets.

    Attributes
    ----------
    data : xarray.Dataset
        By ``row``, one per detector, held-out dataset and head: ``auroc``, ``low``, ``high``
        (cluster bootstrap); ``gain``, the AUROC of the universal head minus that of this head,
        with ``gain_low`` and ``gain_high`` (paired resamples); ``n_units``, the number of
        universal units; ``seen``, whether the detector was trained on the dataset, so that the
        result is not zero-shot. ``random units`` is the mean over random sets. Attributes hold
        settings and fingerprints.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> heads = probe.leave_one_out(detector, data, n_random=5)
    >>> heads.to_dataframe("replicas").columns[:3].tolist()
    ['detector', 'held_out', 'head']
    """

    KIND: ClassVar[str] = "a table of heads"
    REQUIRED: ClassVar[str] = "auroc"
    COMMAND: ClassVar[str] = "probe heads"
    FRAMES: ClassVar[Mapping[str, str]] = {"replicas": "over_replicas"}

    @classmethod
    def of(cls, frame: pd.DataFrame, attrs: Mapping[str, Any]) -> HeadTable:
        """Hold a frame with the columns of `data`."""
        return cls(by_row(frame, attrs))

    def __repr__(self) -> str:
        """Say which heads were measured on which datasets."""
        heads, held_out = (self.frame[name].unique() for name in ("head", "held_out"))
        return f"<HeadTable: {', '.join(heads)} on {', '.join(held_out)}>"

    @property
    def frame(self) -> pd.DataFrame:
        """Frame with one row per detector, held-out dataset and head."""
        return self.data.to_dataframe().reset_index(drop=True)

    def _frame(self) -> pd.DataFrame:
        return self.frame

    def summary(self) -> str:
        """Compare the head on universal units with the detector's own, a line per dataset."""
        lines = []
        for _, rows in self.frame.groupby(["detector", "held_out"], sort=False):
            detector, held_out = (str(rows[name].iloc[0]) for name in ("detector", "held_out"))
            value = dict(zip(rows["head"], rows["auroc"], strict=True))
            said = f"{detector} on {held_out}: own head AUROC {value[OWN]:.3f}"
            if "universal" in value:
                n_units = int(rows["n_units"].iloc[0])
                lines.append(f"{said}, on {n_units} universal units {value['universal']:.3f}.")
            else:
                lines.append(f"{said}; no unit is universal over the other datasets.")
        return "\n".join(lines)

    def over_replicas(self, ci: float = 0.95) -> pd.DataFrame:
        """Average over replicas (training seeds), with an interval over them.

        Returns
        -------
        pandas.DataFrame
            One row per detector, held-out dataset and head, and last the mean over the datasets
            that have a universal head: mean ``auroc``, ``gain`` of the universal head with
            ``gain_low`` and ``gain_high`` (Student's t over replicas; NaN for one replica), mean
            ``n_units``, and ``replicas``, the number of replicas with a gain.
        """
        frame = self.frame.copy()
        group = ["detector", "replica", "held_out"]
        frame["compared"] = (
            frame.assign(is_one=frame["head"] == "universal")
            .groupby(group)["is_one"]
            .transform("any")
        )
        # Means over different datasets are not comparable: use only those with a universal head.
        mean = (
            frame[frame["compared"]]
            .groupby(["detector", "replica", "head"], sort=False, as_index=False)[
                ["auroc", "gain", "n_units"]
            ]
            .mean()
        )
        whole = pd.concat([frame, mean.assign(held_out="mean")], ignore_index=True)
        keys = ["detector", "held_out", "head"]
        return whole.groupby(keys, sort=False).apply(_over_replicas, ci=ci).reset_index()


def universal_head(
    detector: Detector,
    data: Dataset | Sequence[Dataset],
    layer: str | None = None,
    *,
    held_out: Dataset,
    at_least: int | None = None,
    alpha: float = 0.05,
    reducer: str = "mean",
    n_random: int = 100,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
) -> HeadTable:
    """Refit a linear head on units universal over some datasets, and measure it on another one.

    Units are chosen on split ``val`` of the training datasets (partial conjunction, false
    discovery rate at most `alpha`). Heads are fitted on split ``train``. All are measured on split
    ``test`` of the held-out dataset, which is not used before.

    Parameters
    ----------
    detector : Detector
        Detector that gives the activations; its weights do not change.
    data : Dataset or sequence of Dataset
        At least two training datasets with splits ``train`` and ``val``.
    layer : str, optional
        Layer of the units; the architecture's unit layer by default.
    held_out : Dataset
        Dataset to measure on, with split ``test``; not one of the training datasets.
    at_least : int, optional
        Number of training datasets in which a unit must contribute, at least 2; all by default.
    alpha : float, default 0.05
        False discovery rate of the universal units.
    reducer : str, default "mean"
        Reduction of a map to one value per unit.
    n_random : int, default 100
        Number of random sets of as many units.
    n_resamples, ci, seed, batch_size
        Number of cluster bootstrap resamples; confidence level; seed of all draws; images per
        batch.

    Returns
    -------
    HeadTable
        Results of the detector's own head, and of logistic regression on the universal units, on
        all units, on random sets, with an L1 penalty, and without the shortcut subspace.

    Raises
    ------
    ProbeError
        If fewer than two training datasets are given, `held_out` is among them, or `at_least` is
        out of range.
    DatasetError
        If a split is missing.

    Examples
    --------
    >>> import probe
    >>> parts = probe.open_dataset("crops").by_dataset()
    >>> held_out = parts.pop("neuraltextures")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> probe.universal_head(detector, list(parts.values()), held_out=held_out, n_random=5)
    <HeadTable: own, refitted, l1, shortcut removed on neuraltextures>
    """
    parts = by_name(data)
    held = by_name(held_out)
    if len(parts) < 2 or len(held) != 1 or set(held) & set(parts):
        raise ProbeError(
            f"Training datasets {', '.join(parts)} and held-out {', '.join(held)} were given; at "
            "least two for training and one other to hold out are needed."
        )
    name, target = next(iter(held.items()))
    path = trace(detector).resolve(layer or default_layer(detector))
    units = _chosen(detector, parts, path, at_least, alpha, seed, batch_size)
    recorder = Recorder.of(detector, [Tap(path, reducer)])
    train = [part.select(split="train") for part in parts.values()]
    given, scale = _examples(recorder, train, batch_size, None)
    test, _ = _examples(recorder, [target.select(split="test")], batch_size, scale)
    scores = _scores(given, test, units, n_random, seed)
    scores = {OWN: predict_own(recorder, target.select(split="test"), batch_size), **scores}
    rows = _measured(scores, test, n_resamples, ci, seed)
    seen = _trained_on(detector) & {name}
    frame = pd.DataFrame(rows)
    for column, value in (
        ("n_units", len(units)),
        ("seen", bool(seen)),
        ("held_out", name),
        ("detector", detector.name),
    ):
        frame.insert(0, column, value)
    attrs = {
        "layer": path,
        "alpha": alpha,
        "at_least": at_least or len(parts),
        "units": units.tolist(),
        "n_random": n_random,
        "n_resamples": n_resamples,
        **Provenance.made([detector], {**parts, **held}.values(), seed=seed, ci=ci).attrs(),
    }
    return HeadTable.of(frame[["detector", "held_out", "seen", "n_units", *rows[0]]], attrs)


def leave_one_out(
    detectors: Detector | Sequence[Detector] | Mapping[str, Sequence[Detector]],
    data: Dataset | Sequence[Dataset],
    layer: str | None = None,
    **options: Any,
) -> HeadTable:
    """Hold out each dataset in turn; see `universal_head`.

    Parameters
    ----------
    detectors : Detector, sequence or mapping
        Detectors for every held-out dataset; or a mapping from the name of the held-out dataset to
        detectors that were not trained on it. Each detector of a sequence is a replica.
    data : Dataset or sequence of Dataset
        At least three datasets, with splits ``train``, ``val`` and ``test``.
    layer : str, optional
        Layer of the units; the architecture's unit layer by default.
    **options
        Further arguments of `universal_head`.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> probe.leave_one_out(detector, data, n_random=5)
    <HeadTable: own, refitted, l1, shortcut removed on deepfakes, faceswap, neuraltextures>
    """
    parts = by_name(data)
    if len(parts) < 3:
        raise ProbeError(
            f"{len(parts)} datasets were given; at least 3 are needed, to train on 2 or more."
        )
    frames, tables = [], []
    for name, held in parts.items():
        rest = [part for other, part in parts.items() if other != name]
        given = detectors[name] if isinstance(detectors, Mapping) else detectors
        for i, one in enumerate([given] if isinstance(given, Detector) else given):
            table = universal_head(one, rest, layer, held_out=held, **options)
            tables.append(table)
            frames.append(table.frame)
            frames[-1].insert(2, "replica", i)
    attrs = {key: tables[0].data.attrs[key] for key in ("layer", "alpha", "n_random")}
    marks: dict[str, str] = {}
    for table in tables:
        ((label, mark),) = table.provenance.detectors.items()
        # Replicas and detectors of other held-out datasets may share a label.
        marks[label if marks.get(label, mark) == mark else f"{label} {mark}"] = mark
    images = {name: part.fingerprint for name, part in parts.items()}
    whole = replace(tables[0].provenance, detectors=marks, data=images)
    return HeadTable.of(pd.concat(frames, ignore_index=True), {**attrs, **whole.attrs()})


def _chosen(
    detector: Detector,
    parts: Mapping[str, Dataset],
    path: str,
    at_least: int | None,
    alpha: float,
    seed: int,
    batch_size: int,
) -> NDArray[np.int64]:
    table = neuron_importance(
        detector,
        [part.select(split="val") for part in parts.values()],
        path,
        n_untrained=0,
        n_random=0,
        n_resamples=0,
        also=(),
        seed=seed,
        batch_size=batch_size,
    )
    found = universal_neurons(table, alpha=alpha).data
    wanted = at_least or len(parts)
    if not 2 <= wanted <= len(parts):
        raise ProbeError(f"at_least={wanted} was given; allowed are 2 to {len(parts)}.")
    return np.flatnonzero(found["q"].sel(at_least=wanted).values <= alpha)


def _examples(
    recorder: Recorder,
    parts: Sequence[Dataset],
    batch_size: int,
    scale: tuple[Floats, Floats] | None,
) -> tuple[Examples, tuple[Floats, Floats]]:
    values = np.concatenate([_activations(recorder, part, batch_size)[0] for part in parts])
    mean, std = scale or (values.mean(axis=0), values.std(axis=0))
    table = pd.concat([part.samples.table for part in parts])
    # A unit that is constant on the training images carries no information, so it is set to 0.
    safe = np.where(std > 1e-9, std, np.inf)
    clusters = np.concatenate([part.samples.clusters for part in parts])
    given = Examples(
        (values - mean) / safe,
        table["label"].to_numpy(np.int8),
        clusters,
        table["dataset"].to_numpy(object),
        table["method"].to_numpy(object),
    )
    return given, (mean, std)


def _activations(recorder: Recorder, part: Dataset, batch_size: int) -> tuple[Floats, Floats]:
    size, rows, logits = recorder.detector.spec.input_size, [], []
    with progress_bar(f"activations on {part.name}", len(part)) as advance:
        images = Images(part, size).batches(part, batch_size)
        for where, (values, out) in on_device(images, recorder.detector.device, recorder):
            rows.append(values[recorder.names[0]].cpu().double().numpy())
            logits.append(out.cpu().double().numpy())
            advance(where.stop - where.start)
    return np.concatenate(rows), np.concatenate(logits)


def predict_own(recorder: Recorder, part: Dataset, batch_size: int) -> Floats:
    """Return the detector's own logits as one column, shape (n, 1)."""
    return _activations(recorder, part, batch_size)[1][:, None]


def _scores(
    given: Examples, test: Examples, units: NDArray[np.int64], n_random: int, seed: int
) -> dict[str, Floats]:
    """Return test scores of every head, shape (n, columns); random sets have a column each."""
    out: dict[str, Floats] = {}
    for name in HEADS:
        head = HEADS[name](given, units)
        if head is not None:
            out[name] = head(test.values)[:, None]
    if len(units):
        rng, count = np.random.default_rng(seed), given.values.shape[1]
        penalty = choose_penalty(given, given.values[:, units])
        columns = []
        for _ in range(n_random):
            some = rng.choice(count, len(units), replace=False)
            columns.append(fit_on(given, some, penalty)(test.values))
        out[RANDOM] = np.stack(columns, axis=1)
    return out


def _measured(
    scores: Mapping[str, Floats], test: Examples, n_resamples: int, ci: float, seed: int
) -> list[dict[str, Any]]:
    few = len(np.unique(test.clusters)) < MIN_CLUSTERS
    codes = np.unique(test.clusters, return_inverse=True)[1]
    counts = cluster_counts(int(codes.max()) + 1, n_resamples, seed)
    points, draws = {}, {}
    for name, columns in scores.items():
        points[name] = np.mean([auroc(test.labels, c)[0] for c in columns.T])
        some = counts[: 200 if name == RANDOM else None]
        ranked = [Ranked.of(test.labels, c) for c in columns.T]
        each = [one.measured(["auroc"], codes, some)[0] for one in ranked]
        draws[name] = np.full(1, np.nan) if few else np.mean(each, axis=0)
    rows = []
    for name in scores:
        low, high = percentile_bounds(draws[name], ci)
        row = {"head": name, "auroc": points[name], "low": float(low), "high": float(high)}
        row |= {"gain": np.nan, "gain_low": np.nan, "gain_high": np.nan}
        if "universal" in scores and name != "universal":
            count = min(len(draws[name]), len(draws["universal"]))
            gain = draws["universal"][:count] - draws[name][:count]
            low, high = percentile_bounds(gain, ci)
            row |= {
                "gain": points["universal"] - points[name],
                "gain_low": float(low),
                "gain_high": float(high),
            }
        rows.append(row)
    return rows


def _trained_on(detector: Detector) -> set[str]:
    """Return the datasets that a detector was trained on, as noted in its card."""
    found = detector.spec.notes.get("trained_on", [])
    return {name for entry in found for name in entry.get("datasets", [])}


def _over_replicas(rows: pd.DataFrame, ci: float) -> pd.Series:
    gains = rows["gain"].dropna()
    half = np.nan
    if len(gains) > 1:
        quantile = float(stats.t.ppf(0.5 + ci / 2, len(gains) - 1))
        half = quantile * float(gains.std(ddof=1)) / np.sqrt(len(gains))
    mean = gains.mean() if len(gains) else np.nan
    return pd.Series(
        {
            "auroc": rows["auroc"].mean(),
            "gain": mean,
            "gain_low": mean - half,
            "gain_high": mean + half,
            "n_units": rows["n_units"].mean(),
            "replicas": len(gains),
        }
    )
