"""Maps of one image by several detectors and methods, each method on one scale of colors."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from flask import Flask, Response, abort, request
from numpy.typing import NDArray
from PIL import Image

from app.attribution import Explained, mapped_detectors
from app.images import image_response, mask_of, picture, row_of
from app.run import Run, derived
from app.selection import Selection
from probe import plots
from probe.attribution.maps import AttributionMap
from probe.errors import ImageError, ProbeError, StoreError, UnknownNameError
from probe.images import token_of
from probe.plots.attribution_maps import LOGIT, ends_for, target_of
from probe.plots.style import colors_of, limit_of, overlay
from probe.reader import from_here, stamp_of
from probe.schema import family_of
from probe.tables import from_disk
from probe.thumbnails import SIDE

__all__ = [
    "Badge",
    "Cell",
    "Column",
    "MOST_DETECTORS",
    "MOST_METHODS",
    "MapFile",
    "MapsView",
    "Row",
    "SAMPLED",
    "add_map_route",
    "architecture_of",
    "badge_of",
    "column_of",
    "detector_of",
    "draw_alone",
    "files_of",
    "image_under",
    "limit_for",
    "map_file",
    "map_image",
    "map_values",
    "maps_view",
    "mask_under",
    "method_names",
    "shown_methods",
    "version_of",
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


#: Maps of a file that the scale of colors rests on.
SAMPLED = 64
#: Colors of a map: odd, so that 0 has one of its own in the middle.
LEVELS = 255


@dataclass(frozen=True)
class MapFile:
    """Maps of one file, and what is looked up in them again and again."""

    path: Path
    maps: AttributionMap

    @cached_property
    def place(self) -> dict[str, int]:
        """Positions of samples by token."""
        return {token_of(str(s)): i for i, s in enumerate(self.maps.data["sample"].values)}

    @cached_property
    def limit(self) -> float:
        """Where colors would end for these maps alone."""
        n = len(self.maps)
        rows = np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).round().astype(np.int64))
        return limit_of([self.values(rows)])

    @cached_property
    def unit(self) -> str:
        """What is explained, and in which kind of number."""
        complete = bool(self.maps.data.attrs.get("complete"))
        target = target_of(self.maps)
        return f"{target}, {'logits' if target == LOGIT else 'its unit'}" if complete else target

    def values(self, rows: int | NDArray[np.int64]) -> NDArray[np.float64]:
        """Read some maps.

        Raises
        ------
        StoreError
            If they cannot be read.
        """
        with from_disk(self.path):
            found = self.maps.data["attribution"].isel(sample=rows).values
        return np.asarray(found, dtype=np.float64)


def detector_of(run: Run, token: str) -> str:
    """Return the detector that a token in an address stands for.

    Raises
    ------
    ProbeError
        If there is none.
    """
    for label in run.detectors:
        if token_of(label) == token:
            return label
    raise ProbeError("There is no such detector in this run.")


def map_values(run: Run, label: str, method: str, token: str) -> NDArray[np.float64]:
    """Read the map of one image.

    Raises
    ------
    ProbeError
        If there is no such map, or it cannot be read.
    """
    file = map_file(run, label, method)
    if token not in file.place:
        raise ProbeError("No map was made of this image.")
    return file.values(file.place[token])


def map_image(run: Run, label: str, method: str, token: str, laid: bool) -> tuple[bytes, str]:
    """Draw a map, alone or laid over its image, in the shape of the image; with its MIME type.

    Raises
    ------
    ProbeError
        If there is no such map, or it cannot be read.
    """
    file = map_file(run, label, method)
    values = map_values(run, label, method, token)
    limit, signed = limit_for(run, label, method, file.unit), file.maps.signed
    image = image_under(run, token)
    height, width = values.shape if image is None else image.shape[:2]
    size = _size(width, height, values.shape)
    if laid:
        return _overlaid(image, values, limit, signed, size), "image/webp"
    return _drawn(values, limit, signed, size), "image/png"


def image_under(run: Run, token: str) -> NDArray[np.uint8] | None:
    """Read the image of a map; None where it is not shown, since a map is seen without it."""
    try:
        return picture(run, run.rows[token])
    except ImageError:
        return None


def draw_alone(
    values: NDArray[np.float64], signed: bool, width: int, height: int
) -> tuple[bytes, float]:
    """Draw a map on a scale of its own, in the shape of its image: PNG, and the scale's end."""
    limit = limit_of([values])
    return _drawn(values, limit, signed, _size(width, height, values.shape)), limit


def _size(width: int, height: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the size of what is served: as large as the map, with the sides of the image."""
    most = max(SIDE, *shape)
    scale = most / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _drawn(values: NDArray[np.float64], limit: float, signed: bool, size: tuple[int, int]) -> bytes:
    """Encode a map with its colors as a palette: small, and no color is off the scale."""
    share = np.nan_to_num(values / limit).clip(-1 if signed else 0, 1)
    level = ((share + 1) / 2 if signed else share) * (LEVELS - 1)
    steps = np.linspace(0, 1, LEVELS)
    image = Image.fromarray(np.rint(level).astype(np.uint8), "P")
    image.putpalette((colors_of(signed)(steps)[:, :3] * 255).round().astype(np.uint8).tobytes())
    out = BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def mask_under(run: Run, token: str) -> NDArray[np.uint8] | None:
    """Read the forgery mask of a map's image; None where there is none, or it is not here."""
    try:
        return mask_of(run, run.rows[token])
    except ImageError:
        return None


def _overlaid(
    image: NDArray[np.uint8] | None,
    values: NDArray[np.float64],
    limit: float,
    signed: bool,
    size: tuple[int, int],
) -> bytes:
    below = image
    if image is not None:
        below = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    grown = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    colors = overlay(below, np.asarray(grown), limit, signed)
    out = BytesIO()
    Image.fromarray((colors * 255).round().astype(np.uint8)).save(out, "WEBP", quality=92)
    return out.getvalue()


def limit_for(run: Run, label: str, method: str, unit: str) -> float:
    """Return where colors end for a method: the largest limit of a detector's variants.

    Variants of one architecture are compared by their maps. Those of others, and of brought
    weights, may be a thousand times larger or smaller, and on one scale nothing of the smaller
    ones would be seen.
    """
    limits, kin = [], family_of(label)
    for one in run.detectors:
        if family_of(one) != kin or method not in run.map_methods(one):
            continue
        try:
            file = map_file(run, one, method)
            limits += [file.limit] if file.unit == unit else []
        except StoreError:
            # Said where the map itself is asked for.
            continue
    return max(limits, default=1.0)


def architecture_of(label: str) -> str:
    """Return a detector's name without its variant."""
    return label.rpartition("/")[0] or label


def files_of(run: Run, method: str) -> list[MapFile]:
    """Return the maps of all detectors by a method; what is half written or damaged is left out.

    Raises
    ------
    StoreError
        If none is left.
    """
    found, why = [], ProbeError("There are no maps.")
    for label in run.detectors:
        if method in run.map_methods(label):
            try:
                found.append(map_file(run, label, method))
            except StoreError as error:
                why = error
    if not found:
        raise StoreError(f"No maps by {method} can be read. {why}")
    return found


def version_of(run: Run, method: str) -> str:
    """Name the state of all that a map's colors follow from, for caches of browsers."""
    stamps = [stamp_of(run.folder.path("maps", one, method) / "zarr.json") for one in run.detectors]
    return token_of(str(stamps))[:8]


def map_file(run: Run, label: str, method: str) -> MapFile:
    """Return the maps of a detector by a method, opened once until their file changes.

    Raises
    ------
    ProbeError
        If there are none.
    """
    # Asked for first, so that nothing but a name that the run has becomes part of a path.
    run.maps(label, method)
    path = run.folder.path("maps", label, method)
    return _opened(path, stamp_of(path / "zarr.json"))


@lru_cache(maxsize=512)
def _opened(path: Path, stamp: int) -> MapFile:
    """Open a file of maps once until it changes, for what is looked up in it."""
    with from_disk(path):
        return MapFile(path, AttributionMap.open(path, lazy=True))


def add_map_route(server: Flask, run: Run) -> None:
    """Serve ``/map/<image>/<detector>/<method>``: PNG, or WebP over the image for ``?as=overlay``.

    The addresses of a page hold a ``v`` that changes with the maps, so that browsers may keep them.
    """

    @server.get("/map/<token>/<detector>/<path:method>")
    def _map(token: str, detector: str, method: str) -> Response:
        # Looks the token up, and refuses what leads out of the run.
        row_of(run, token)
        laid = request.args.get("as", "map") == "overlay"
        try:
            content, kind = map_image(run, detector_of(run, detector), method, token, laid)
        except ProbeError as error:
            abort(404, str(error))
        return image_response(content, kind)
