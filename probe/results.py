"""`Result`, the base of all findings, and `Provenance`: what each was computed from."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import pandas as pd
import xarray as xr

from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.tables import export_frame, from_disk, open_table, parsed, save_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["HOMES", "Provenance", "Result", "by_row", "open_result"]

#: Result class to the module that defines it.
HOMES: Mapping[str, str] = {
    "Ablation": "probe.neurons.table",
    "ArtifactMeasurements": "probe.artifacts.report",
    "ArtifactReport": "probe.artifacts.report",
    "AttributionMap": "probe.attribution.maps",
    "Calibration": "probe.neurons.calibration",
    "Embeddings": "probe.separability.report",
    "HeadTable": "probe.neurons.transfer",
    "MapSimilarity": "probe.attribution.findings",
    "NeuronTable": "probe.neurons.table",
    "RegionAttention": "probe.attribution.findings",
    "Reproduction": "probe.reproduction.table",
    "ResponseReport": "probe.artifacts.responses",
    "SeparabilityReport": "probe.separability.report",
    "Similarity": "probe.separability.report",
    "TrustReport": "probe.attribution.trust.report",
    "Universality": "probe.neurons.universality",
    "ZeroShotMatrix": "probe.evaluation.table",
}

#: Rows of a frame that a notebook shows.
ROWS = 10

#: Packages whose versions a finding notes.
PACKAGES = ("deepfake-probe", "torch", "captum", "numpy", "scipy")


class Fingerprinted(Protocol):
    """A detector or a dataset."""

    @property
    def name(self) -> str:
        """Label of the detector, or name of the dataset."""

    @property
    def fingerprint(self) -> str:
        """Digest of the weights, or of the images."""


@dataclass(frozen=True)
class Provenance:
    """What a finding was computed from.

    Attributes
    ----------
    detectors : mapping of str to str
        Label of each detector to the fingerprint of its weights; empty if the finding is of images
        alone.
    data : mapping of str to str
        Name of each dataset to its fingerprint; empty if arrays were given, or the lab rendered
        the images.
    seed : int, optional
        Of all random draws; None if there were none.
    ci : float, optional
        Confidence level of the intervals, between 0 and 1; None if there are none.
    versions : mapping of str to str
        Package to its version.

    Examples
    --------
    >>> import probe
    >>> found = probe.open_result("runs/demo/tables/evaluation.zarr").provenance
    >>> list(found.detectors), found.seed
    (['meso4/base', 'meso4/shallow'], 0)
    """

    detectors: Mapping[str, str]
    data: Mapping[str, str]
    seed: int | None = None
    ci: float | None = None
    versions: Mapping[str, str] = field(
        default_factory=lambda: {name: importlib.metadata.version(name) for name in PACKAGES}
    )

    @classmethod
    def made(
        cls,
        detectors: Iterable[Fingerprinted] = (),
        data: Iterable[Fingerprinted] = (),
        *,
        seed: int | None = None,
        ci: float | None = None,
    ) -> Provenance:
        """Return the provenance of what is computed here and now from detectors and datasets."""
        return cls(
            {one.name: one.fingerprint for one in detectors},
            {one.name: one.fingerprint for one in data},
            seed,
            ci,
        )

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of labeled arrays that state it; `Provenance.of` reads them."""
        out: dict[str, Any] = {"detectors": dict(self.detectors), "data": dict(self.data)}
        out |= {k: v for k, v in (("seed", self.seed), ("ci", self.ci)) if v is not None}
        return {**out, "versions": dict(self.versions)}

    @classmethod
    def of(cls, attrs: Mapping[Any, Any]) -> Provenance:
        """Read the attributes of a finding.

        Raises
        ------
        StoreError
            If they do not say what it was computed from.
        """
        given = {key: parsed(attrs.get(key)) for key in ("detectors", "data", "versions")}
        named = {key: value for key, value in given.items() if isinstance(value, Mapping)}
        lacking = [key for key in given if key not in named]
        if lacking:
            raise StoreError(
                f"The attributes {', '.join(lacking)} are missing, so the table does not say what "
                "it was computed from: another version wrote it. Compute it again."
            )
        seed, ci = attrs.get("seed"), attrs.get("ci")
        return cls(
            seed=None if seed is None else int(seed), ci=None if ci is None else float(ci), **named
        )


@dataclass(frozen=True, repr=False)
class Result:
    """A finding as labeled arrays.

    Attributes
    ----------
    data : xarray.Dataset
        Arrays with named dimensions; attributes hold the provenance.

    Examples
    --------
    >>> import probe
    >>> found = probe.open_result("runs/demo/tables/evaluation.zarr")
    >>> found.export("matrix.csv").name
    'matrix.csv'
    >>> figure = found.plot()
    """

    data: xr.Dataset

    #: Name in messages, version of the content, and the variable that tells the kind.
    KIND: ClassVar[str] = "a result"
    VERSION: ClassVar[int] = 1
    REQUIRED: ClassVar[str] = ""
    #: Command that computes it.
    COMMAND: ClassVar[str] = ""
    #: Further frame to the method that returns it.
    FRAMES: ClassVar[Mapping[str, str]] = {}
    #: Figures that `plot` draws, the first by default.
    PLOTS: ClassVar[tuple[str, ...]] = ()
    #: Variables that are left on disk where a result is opened lazily.
    LARGE: ClassVar[tuple[str, ...]] = ()

    @property
    def provenance(self) -> Provenance:
        """What it was computed from."""
        return Provenance.of(self.data.attrs)

    @property
    def detector(self) -> str:
        """Label of the detector.

        Raises
        ------
        ProbeError
            If the finding is of several detectors or of none.
        """
        labels = list(self.provenance.detectors)
        if len(labels) != 1:
            raise ProbeError(
                f"This {type(self).__name__} is of {', '.join(labels) or 'no detector'}, not of "
                "one; `provenance.detectors` lists them."
            )
        return labels[0]

    def to_dataframe(self, table: str = "") -> pd.DataFrame:
        """Return a frame.

        Parameters
        ----------
        table : str, default ""
            Which one; "" is the main frame, others are named in `FRAMES`.

        Raises
        ------
        UnknownNameError
            If there is no such frame.
        """
        if not table:
            return self._frame()
        if table not in self.FRAMES:
            raise UnknownNameError("table", table, self.FRAMES, where=type(self).__name__)
        frame: pd.DataFrame = getattr(self, self.FRAMES[table])()
        return frame

    def _frame(self) -> pd.DataFrame:
        raise NotImplementedError

    def summary(self) -> str:
        """Summarize the finding in sentences, a line each."""
        raise NotImplementedError

    def plot(self, kind: str = "", **choice: Any) -> Figure:
        """Draw the finding for print.

        Parameters
        ----------
        kind : str, default ""
            Which figure; "" is the first of `PLOTS`. Each is ``probe.plots.plot_<kind>``.
        **choice : Any
            Further arguments of that function, such as a layer.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        UnknownNameError
            If there is no such figure of this finding.
        ProbeError
            If it has no figure at all.

        Examples
        --------
        >>> found = open_result("runs/demo/tables/artifacts.zarr")  # doctest: +SKIP
        >>> found.plot("spectra", dataset="dfd").savefig("spectra.pdf")  # doctest: +SKIP
        """
        if not self.PLOTS:
            raise ProbeError(
                f"{type(self).__name__} has no figure of its own; it has summary(), to_dataframe() "
                "and export()."
            )
        name = kind or self.PLOTS[0]
        if name not in self.PLOTS:
            raise UnknownNameError("figure", name, self.PLOTS, where=type(self).__name__)
        # By its name: results know no plots, which know all results.
        plots = importlib.import_module("probe.plots")
        figure: Figure = getattr(plots, f"plot_{name}")(self, **choice)
        return figure

    def export(self, path: str | Path) -> Path:
        """Write the main frame as ``.csv``, ``.parquet``, ``.tex`` or ``.md``.

        Further frames stand beside it as ``<stem>-<table>``; empty ones are left out.

        Returns
        -------
        pathlib.Path
            The main file.

        Raises
        ------
        UnknownNameError
            If the suffix names no format.
        ProbeError
            If a file cannot be written.
        """
        path = Path(path)
        for name in self.FRAMES:
            frame = self.to_dataframe(name)
            if len(frame):
                export_frame(frame, path.with_name(f"{path.stem}-{name}{path.suffix}"))
        # Last: where this file is, the others are.
        return export_frame(self.to_dataframe(), path, self.data.attrs)

    def save(self, path: str | Path) -> None:
        """Write the labeled arrays as Zarr."""
        marks = {"result": type(self).__name__, "result_version": self.VERSION}
        save_table(self.data.assign_attrs(marks), Path(path), self.LARGE)

    @classmethod
    def open(cls, path: str | Path, *, lazy: bool = False) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
            Folder of the result.
        lazy : bool, default False
            Whether to leave the `LARGE` variables on disk until they are used.

        Raises
        ------
        StoreError
            If it is missing, damaged, of another kind or of another version.
        """
        return cls(cls._read(Path(path), lazy))

    @classmethod
    def _read(cls, path: Path, lazy: bool) -> xr.Dataset:
        data = cls._checked(open_table(path, lazy=lazy), path)
        with from_disk(path):
            for name, variable in data.variables.items():
                if name not in cls.LARGE:
                    variable.load()
        return data

    @classmethod
    def _checked(cls, data: xr.Dataset, path: str | Path) -> xr.Dataset:
        """Refuse another kind or version; undo what storing did to texts and attributes."""
        kind, version = data.attrs.get("result"), data.attrs.get("result_version")
        why = ""
        if kind != cls.__name__ or version != cls.VERSION:
            why = f"it holds {kind} of version {version}" if kind else "it names no result"
        elif cls.REQUIRED not in {*data, ""}:
            why = f"it lacks {cls.REQUIRED!r}"
        if why:
            again = f" with `{cls.COMMAND}`" if cls.COMMAND else ""
            raise StoreError(
                f"{str(path)!r} is not {cls.KIND} of version {cls.VERSION}: {why}. Compute it "
                f"again{again}."
            )
        # Zarr's text comes back as a type of NumPy that pandas lacks.
        texts = [name for name, one in data.variables.items() if one.dtype.kind == "T"]
        data = data.assign({name: data[name].astype(object) for name in texts})
        return data.assign_attrs({key: parsed(value) for key, value in data.attrs.items()})

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {size}" for name, size in self.data.sizes.items())
        # What is drawn for a test or by hand may not say what it is of.
        found = parsed(self.data.attrs.get("detectors"))
        labels = list(found) if isinstance(found, Mapping) else []
        of = f" of {labels[0]}" if len(labels) == 1 else ""
        return f"<{type(self).__name__}{of}: {sizes}>"

    def _repr_html_(self) -> str:
        frame = self.to_dataframe()
        more = f"<p>{len(frame) - ROWS} more rows</p>" if len(frame) > ROWS else ""
        said = "".join(f"<p>{escape(line)}</p>" for line in self.summary().split("\n"))
        return f"{said}{frame.head(ROWS).to_html(index=False)}{more}"


def by_row(frame: pd.DataFrame, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Return the columns of a frame as arrays over ``row``."""
    columns = {str(name): ("row", column.to_numpy()) for name, column in frame.items()}
    return xr.Dataset(columns, attrs=dict(attrs))


def open_result(path: str | Path) -> Result:
    """Open any saved result.

    Parameters
    ----------
    path : path
        Folder that `Result.save` wrote.

    Returns
    -------
    Result
        Of the class that was saved.

    Raises
    ------
    StoreError
        If it is missing, damaged, or no result of this version.

    Examples
    --------
    >>> import probe
    >>> probe.open_result("runs/demo/tables/evaluation.zarr")
    <ZeroShotMatrix: detector 2, dataset 3, level 2, metric 4>
    """
    data = open_table(Path(path), lazy=True)
    kind = str(data.attrs.get("result", ""))
    if kind not in HOMES:
        raise StoreError(
            f"{str(path)!r} holds {kind or 'a table that names no result'}. Results that can be "
            f"opened are: {', '.join(HOMES)}."
        )
    found: Result = getattr(importlib.import_module(HOMES[kind]), kind).open(Path(path))
    return found
