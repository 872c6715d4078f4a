"""`SeparabilityReport`, `Similarity` and `Embeddings`: what features tell, as labeled tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from probe.errors import StoreError
from probe.results import Result

__all__ = ["Embeddings", "SeparabilityReport", "Similarity"]


@dataclass(frozen=True, repr=False)
class SeparabilityReport(Result):
    """Separability of fakes and reals, methods and datasets in the layers of a detector.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``layer``, ``dataset``, ``scored`` (the same names), ``measure``, ``question`` and
        ``row`` (a unit of a layer):

        - ``value(measure, layer, dataset)`` with ``low`` and ``high`` (interval over clusters; NaN
          below five), ``p`` (one-sided, labels exchanged over clusters) and ``q`` (BH over layers
          and datasets); NaN where undefined;
        - ``probe_draw(layer, dataset, resample)``: ``probe_auroc`` on the resamples of its
          interval; `probe.separability.probe_differences` subtracts them. NaN below five clusters;
          missing in reports of earlier versions, or without resamples;
        - ``transfer(layer, dataset, scored)``: AUROC of the probe fitted on ``dataset`` and scored
          on ``scored``, never on people it was fitted on; with ``transfer_low``, ``transfer_high``.
          The diagonal is the cross-validated probe;
        - ``own(dataset)``: AUROC of the detector's own logit; with ``own_low``, ``own_high``;
        - ``blind(layer, dataset)``: AUROC of the probe − that of the detector, on the same
          resamples; with ``blind_low``, ``blind_high``. Above 0 the layer has information that the
          head does not use;
        - ``answer(question, layer)``: balanced accuracy of classifying methods among fakes
          (``method``) and datasets among reals (``domain``), with ``chance``, ``answer_low``,
          ``answer_high``, ``answer_p``;
        - ``specific_share(layer)``: share of the squared difference between fakes and reals that
          is specific to single methods, 0 to 1 up to noise; with ``specific_low``,
          ``specific_high``; ``shared_cosine(layer)``: mean cosine between the differences of two
          methods;
        - ``label_angle_share(layer)``: squared cosine of the angle between the label direction and
          the subspace of methods, with ``label_angle_null``, its mean for a random direction;
        - ``row_layer, row_unit, label_information, method_information, label_q, method_q (row)``:
          information of single units, as a share of the entropy of the label and of the method;
        - ``n_samples, n_fakes, n_clusters, sampled (dataset)`` and ``reason(dataset)``: why there
          is no interval or no value, else empty.

        Attributes: ``detector, dataset, seed, ci, n_folds, n_resamples, n_permutations,
        n_controls, memory, layers`` and fingerprints.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> report = run.separability("meso4/base")
    >>> report.transfer().columns[:3].tolist()
    ['layer', 'dataset', 'scored']
    """

    PLOTS: ClassVar[tuple[str, ...]] = (
        "layer_information",
        "measure_by_layer",
        "transfer",
        "unit_information",
    )
    KIND: ClassVar[str] = "a separability report"
    REQUIRED: ClassVar[str] = "transfer"
    COMMAND: ClassVar[str] = "probe separability"
    FRAMES: ClassVar[Mapping[str, str]] = {
        "transfer": "transfer",
        "layers": "layers",
        "units": "units",
    }

    def _frame(self) -> pd.DataFrame:
        """Return one row per layer, dataset and measure."""
        columns = ["value", "low", "high", "p", "q"]
        frame = self.data[columns].to_dataframe().reset_index()
        frame = frame[["layer", "dataset", "measure", *columns]]
        about = self.data[["n_samples", "n_fakes", "n_clusters", "sampled", "reason"]]
        return frame.merge(about.to_dataframe().reset_index(), on="dataset", how="left")

    def transfer(self) -> pd.DataFrame:
        """Return one row per layer, dataset fitted on and dataset scored on."""
        names = ["transfer", "transfer_low", "transfer_high"]
        frame = self.data[names].to_dataframe().reset_index()
        own = self.data["own"].to_series()
        return frame.assign(own=own.reindex(frame["scored"]).to_numpy())

    def layers(self) -> pd.DataFrame:
        """Return one row per layer: accuracy for methods and datasets, and shares of methods."""
        rows = []
        for layer in self.data["layer"].values:
            part = self.data.sel(layer=layer)
            row: dict[str, object] = {"layer": str(layer)}
            for question in part["question"].values:
                one = part.sel(question=question)
                row |= {
                    f"{question}_accuracy": float(one["answer"]),
                    f"{question}_low": float(one["answer_low"]),
                    f"{question}_high": float(one["answer_high"]),
                    f"{question}_chance": float(one["chance"]),
                    f"{question}_p": float(one["answer_p"]),
                }
            names = (
                "specific_share",
                "specific_low",
                "specific_high",
                "shared_cosine",
                "label_angle_share",
                "label_angle_null",
            )
            rows.append(row | {name: float(part[name]) for name in names})
        return pd.DataFrame(rows)

    def units(self) -> pd.DataFrame:
        """Return one row per unit: information on the label and on the method."""
        names = ["label_information", "method_information", "label_q", "method_q"]
        frame = self.data[["row_layer", "row_unit", *names]].to_dataframe()
        return frame.rename(columns={"row_layer": "layer", "row_unit": "unit"})

    def summary(self) -> str:
        """Summarize the best layer of each dataset, a line each, beside the detector's own head."""
        found = self.data["value"].sel(measure="probe_auroc")
        said = []
        for name in map(str, found["dataset"].values):
            values = found.sel(dataset=name)
            if not np.isfinite(values.values).any():
                said.append(f"{name}: {self.data['reason'].sel(dataset=name).item()}")
                continue
            best = int(np.nanargmax(values.values))
            own = float(self.data["own"].sel(dataset=name))
            said.append(
                f"{name}: probe AUROC {float(values[best]):.2f} at "
                f"{values['layer'].values[best]}, the detector's head {own:.2f}."
            )
        return "\n".join(said)


@dataclass(frozen=True, repr=False)
class Similarity(Result):
    """Similarity of the features of detectors, per layer.

    Attributes
    ----------
    data : xarray.Dataset
        ``cka(layer, detector, other)``: debiased linear CKA, at most 1, about 0 for unrelated
        features (it can be slightly below); with ``cka_low`` and ``cka_high`` (jackknife over
        clusters; NaN below five clusters, and where a detector lacks the layer). Attributes:
        ``n_samples, n_clusters, ci, seed``.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.similarity
    <Similarity: layer 2, detector 2, other 2>
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("detector_similarity",)
    KIND: ClassVar[str] = "a similarity of features"
    REQUIRED: ClassVar[str] = "cka"

    def _frame(self) -> pd.DataFrame:
        """Return one row per layer and pair of detectors, each pair once."""
        frame = self.data.to_dataframe().reset_index()
        names = list(self.data["detector"].values)
        first = frame["detector"].map(names.index)
        return frame[first < frame["other"].map(names.index)].dropna(subset="cka")

    def summary(self) -> str:
        """Summarize the mean similarity of two detectors by layer."""
        means = self.to_dataframe().groupby("layer", sort=False)["cka"].mean()
        each = ", ".join(f"{layer} {value:.2f}" for layer, value in means.items())
        return f"Mean debiased linear CKA of two detectors: {each}."


@dataclass(frozen=True, repr=False)
class Embeddings(Result):
    """Two-dimensional embeddings of layers.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``layer``, ``method`` (pca, umap, tsne), ``sample`` (ids, in the order of the store)
        and ``axis`` (0, 1):

        - ``position(layer, method, sample, axis)``, in arbitrary units;
        - ``trustworthiness(layer, method)``: 1 if no sample is placed among neighbors that are far
          from it in the features (Venna and Kaski 2001), about 0.5 for a random embedding;
        - ``preservation(layer, method)``: share of the nearest neighbors in the features that are
          also nearest in the embedding;
        - ``fitted(sample)``: whether the embedding was fitted on the sample; the others were
          projected into it.

        Attributes: ``detector, dataset, seed, neighbors, n_fitted, n_judged``.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.embeddings("meso4/base")
    <Embeddings of meso4/base: layer 2, method 3, sample 72, axis 2>
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("layer_embedding",)
    KIND: ClassVar[str] = "an embedding"
    REQUIRED: ClassVar[str] = "position"
    COMMAND: ClassVar[str] = "probe embed"

    def _frame(self) -> pd.DataFrame:
        """Return one row per layer, method and sample: ``x``, ``y``, ``fitted``."""
        frame = self.data["position"].to_dataset("axis").rename({0: "x", 1: "y"}).to_dataframe()
        fitted = self.data["fitted"].to_series()
        frame = frame.reset_index()[["layer", "method", "sample", "x", "y"]]
        return frame.assign(fitted=fitted.reindex(frame["sample"]).to_numpy())

    def align(self, samples: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a store's sample table in the order of the embeddings.

        Parameters
        ----------
        samples : pandas.DataFrame
            Sample table of the store, in any order; one that is in order is returned as it is.

        Returns
        -------
        pandas.DataFrame
            With ``place``, the position of a sample in `samples`.

        Raises
        ------
        StoreError
            If the table lacks a sample.
        """
        names = self.data["sample"].values.astype(str)
        given = samples["sample"].to_numpy(dtype=object)
        if "place" in samples and np.array_equal(given, names.astype(object)):
            return samples
        place = pd.Index(given).get_indexer(pd.Index(names, dtype=object))
        if (place < 0).any():
            raise StoreError(
                f"The sample table holds no sample {str(names[int(np.argmin(place))])!r}: the "
                "embeddings were made from other recordings. Compute them again."
            )
        found: pd.DataFrame = samples.iloc[place].assign(place=place).reset_index(drop=True)
        return found

    def summary(self) -> str:
        """Summarize the embeddings, and what they preserve of neighborhoods."""
        kept = self.data["preservation"].mean("layer").to_series()
        each = ", ".join(f"{name} {value:.2f}" for name, value in kept.items())
        sizes = self.data.sizes
        return (
            f"{sizes['sample']} samples in {sizes['layer']} layers; share of nearest neighbors "
            f"kept: {each}."
        )
