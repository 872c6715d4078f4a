"""Maps of one image by several detectors and methods, each method on one scale of colors."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.queries.attribution import Explained, mapped_detectors
from app.queries.attribution_files import (
    architecture_of,
    files_of,
    limit_for,
    map_file,
    version_of,
)
from app.queries.deriving import derived
from app.run import Run
from app.selection import Selection
from probe import plots
from probe.attribution.maps import AttributionMap
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.images import token_of
from probe.plots.attribution_maps import LOGIT, ends_for, target_of
from probe.reader import from_here
from probe.schema import family_of

__all__ = [
    "Badge",
    "Cell",
    "Column",
    "MOST_DETECTORS",
    "MOST_METHODS",
    "MapsView",
    "Row",
    "badge_of",
    "column_of",
    "maps_view",
    "method_names",
    "shown_methods",
]

#: What is side by side at most, so that a view stays small.
MOST_DETECTORS, MOST_METHODS = 8, 6
#: Methods that are shown where none are chosen.
FIRST_METHODS = 4


@dataclass(frozen=True)
class Badge:
    """The checks of a detector's maps by a method, counted.

    Attributes
    ----------
    passed, tested : int
        Checks passed, of those that have a test.
    text : str
        Which passed, which did not and why.
    """

    passed: int
    tested: int
    text: str


@dataclass(frozen=True)
class Cell:
    """A map, or why there is none.

    Attributes
    ----------
    source : str
        Where the image is served; "" where there is no map.
    gap : float
        What the sum of the map misses of what the method promises; NaN where it promises nothing.
    relative_gap : float
        The same over all images, as a share.
    badge : Badge or None
        Of the detector and method; None without a trust report.
    reason, command : str
        Why there is no map, and what makes it; "" where there is one, or nothing can be done.
    """

    source: str = ""
    gap: float = np.nan
    relative_gap: float = np.nan
    badge: Badge | None = None
    reason: str = ""
    command: str = ""


@dataclass(frozen=True)
class Column:
    """A method and its scale of colors.

    Attributes
    ----------
    method, title, paper : str
        Registered name, name for people, source.
    low, high : str
        What the ends of the scale mean.
    unit : str
        Of its numbers.
    limit : float
        Magnitude at which colors end, of the first detector shown.
    signed : bool
        Whether the scale runs below 0.
    first : str
        Family of detectors (`probe.schema.family_of`) that `limit` is of.
    others : tuple of (str, float)
        Further families that are shown, whose colors end elsewhere, and where.
    """

    method: str
    title: str
    paper: str
    low: str
    high: str
    unit: str
    limit: float
    signed: bool
    first: str = ""
    others: tuple[tuple[str, float], ...] = ()

    def limit_of(self, label: str) -> float:
        """Return where the colors of a detector's maps end."""
        return dict(self.others).get(family_of(label), self.limit)


@dataclass(frozen=True)
class Row:
    """A detector: what it says of the image, and its maps, one a column.

    Attributes
    ----------
    detector, kind : str
        Its label, and "chosen", "variant" (of the chosen one's architecture) or "other".
    logit : float
        Of the image; NaN where it was not scored.
    cells : tuple of Cell
        In the order of the columns.
    """

    detector: str
    kind: str
    logit: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class MapsView:
    """Maps of one image.

    Attributes
    ----------
    image : Explained
        Which.
    columns : tuple of Column
        Methods.
    rows : tuple of Row
        Detectors: the chosen one, variants, others.
    left_out : int
        Detectors with maps that have no row here.
    """

    image: Explained
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: int


def method_names(run: Run) -> dict[str, str]:
    """Return the methods that any detector has maps of, with their titles."""
    names = {name for label in mapped_detectors(run) for name in run.map_methods(label)}
    out = {}
    for name in sorted(names):
        try:
            out[name] = str(files_of(run, name)[0].maps.data.attrs.get("title", name))
        except StoreError:
            # Still to be written by a run that goes on, or damaged; its maps say so.
            out[name] = name
    return out


def shown_methods(run: Run, chosen: Selection, label: str) -> list[str]:
    """Return the methods that are shown: those of the address, or the detector's first.

    Raises
    ------
    ProbeError
        If the address names one that there are no maps of, or too many.
    """
    known = list(method_names(run))
    asked = list(dict.fromkeys(filter(None, chosen.methods.split(","))))
    for name in asked:
        if name not in known:
            raise UnknownNameError(
                "method",
                name,
                known,
                where="the maps of this run",
                remedy="Choose some on the page.",
            )
    if len(asked) > MOST_METHODS:
        raise ProbeError(
            f"The address names {len(asked)} methods; at most {MOST_METHODS} are shown side by "
            "side. Choose some on the page."
        )
    own = run.map_methods(label)
    return asked or (own + [name for name in known if name not in own])[:FIRST_METHODS]


def maps_view(run: Run, chosen: Selection, label: str, image: Explained) -> MapsView:
    """Collect the maps of an image; none of them is read here."""
    methods = shown_methods(run, chosen, label)
    detectors = _detectors(run, label)
    refused, logits = _refusals(run), _logits(run, image.sample)
    laid = "overlay" if chosen.overlay == "overlay" else "map"
    rows = tuple(
        Row(
            one,
            kind,
            logits.get(one, np.nan),
            tuple(_cell(run, one, name, image, laid, refused) for name in methods),
        )
        for one, kind in detectors[:MOST_DETECTORS]
    )
    shown = [row.detector for row in rows]
    columns = tuple(_column(run, name, shown) for name in methods)
    return MapsView(image, columns, rows, max(0, len(detectors) - MOST_DETECTORS))


def _detectors(run: Run, label: str) -> list[tuple[str, str]]:
    """List detectors with maps: the chosen one, variants of its architecture, others."""
    kin = architecture_of(label)
    found = [one for one in mapped_detectors(run) if one != label]
    variants = [(one, "variant") for one in found if architecture_of(one) == kin]
    others = [(one, "other") for one in found if architecture_of(one) != kin]
    return [(label, "chosen"), *variants, *others]


def _cell(
    run: Run, label: str, method: str, image: Explained, laid: str, refused: dict[str, str]
) -> Cell:
    if method not in run.map_methods(label):
        return _absent(run, label, method, refused)
    try:
        file = map_file(run, label, method)
    except ProbeError as error:
        return Cell(reason=str(error))
    if image.token not in file.place:
        return Cell(reason="No map was made of this image.")
    data, place = file.maps.data, file.place[image.token]
    version = version_of(run, method)
    return Cell(
        source=f"/map/{image.token}/{token_of(label)}/{method}?as={laid}&v={version}",
        gap=float(data["gap"].values[place]) if "gap" in data else np.nan,
        relative_gap=float(data.attrs.get("relative_gap", np.nan)),
        badge=badge_of(run, label, method),
    )


def badge_of(run: Run, label: str, method: str) -> Badge | None:
    """Count the checks that maps pass; None where they were not checked."""
    try:
        frame = derived(plots.trust_checks, (run.trust(label),), method)
    except ProbeError:
        return None
    tested = frame[frame["tested"]].to_dict("records")
    passed = [str(row["check"]) for row in tested if row["passed"]]
    words = [f"Passed: {', '.join(passed) or 'none'}."]
    words += [f"{row['check']}: {row['why_not']}." for row in tested if not row["passed"]]
    return Badge(len(passed), len(tested), " ".join(words))


def _absent(run: Run, label: str, method: str, refused: dict[str, str]) -> Cell:
    """Say why a detector has no maps of a method: it was refused, or nobody asked for them."""
    why = refused.get(f"{label} {method}", "")
    if why:
        return Cell(reason=why)
    folder, known = run.folder, files_of(run, method)[0].maps.data
    # As many images a dataset as other detectors have maps of, which are then the same ones.
    each = max(Counter(map(str, known["dataset"].values)).values())
    words = [
        "probe",
        "attribute",
        from_here(folder.data),
        "-d",
        from_here(folder.detector(label)),
        "-m",
        method,
        "--max-samples",
        str(each),
        "--seed",
        str(int(known.attrs.get("seed", 0))),
        "--out",
        from_here(folder.path("maps", label, method)),
    ]
    return Cell(reason="Not in this run.", command=shlex.join(words))


def _column(run: Run, method: str, shown: Sequence[str]) -> Column:
    """Say what a method's maps are of, and where the colors of each family end."""
    first = files_of(run, method)[0]
    kinds = {family_of(one): one for one in reversed(shown) if method in run.map_methods(one)}
    limits = {kind: limit_for(run, one, method, first.unit) for kind, one in kinds.items()}
    ordered = [
        (kind, limits[kind]) for kind in dict.fromkeys(map(family_of, shown)) if kind in limits
    ]
    column = column_of(first.maps, ordered[0][1] if ordered else 1.0)
    return replace(column, first=ordered[0][0], others=tuple(ordered[1:])) if ordered else column


def column_of(maps: AttributionMap, limit: float) -> Column:
    """Say what maps are of, on a scale that ends at `limit`."""
    attrs, (low, high) = maps.data.attrs, ends_for(maps)
    return Column(
        method=maps.method,
        title=str(attrs.get("title", maps.method)),
        paper=str(attrs.get("paper", "")),
        low=low if maps.signed else "none",
        high=high if maps.signed else "strong",
        unit="logits"
        if attrs.get("complete") and target_of(maps) == LOGIT
        else "in the method's unit",
        limit=limit,
        signed=maps.signed,
    )


def _logits(run: Run, sample: str) -> dict[str, float]:
    scores = run.scores
    own = scores[scores["sample"].astype(str) == sample]
    return dict(zip(own["detector"].astype(str), own["logit"].astype(float), strict=True))


def _refusals(run: Run) -> dict[str, str]:
    """Read which maps could not be made, and why, from the run's provenance."""
    notes = run.folder.read_provenance().get("no_attribution", {})
    return {str(key): str(why) for key, why in notes.items()} if isinstance(notes, dict) else {}
