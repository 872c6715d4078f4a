"""`Result`: the base of all findings: labeled arrays, saved, opened, exported and shown alike."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd
import xarray as xr

from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.tables import export_frame, from_disk, open_table, parsed, save_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["HOMES", "Result", "by_row", "open_result"]

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
        of = self.data.attrs.get("label") or self.data.attrs.get("detector") or ""
        return (
            f"<{type(self).__name__}{f' of {of}' if isinstance(of, str) and of else ''}: {sizes}>"
        )

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
