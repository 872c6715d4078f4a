"""Files of maps: reading the map of one image, and drawing it on its method's scale."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.queries.images import mask_of, picture
from app.run import Run
from probe.attribution.maps import AttributionMap
from probe.errors import ImageError, ProbeError, StoreError
from probe.images import token_of
from probe.plots.attribution_maps import LOGIT, target_of
from probe.plots.style import colors_of, limit_of, overlay
from probe.reader import stamp_of
from probe.schema import family_of
from probe.tables import from_disk
from probe.thumbnails import SIDE

__all__ = [
    "SAMPLED",
    "architecture_of",
    "MapFile",
    "detector_of",
    "draw_alone",
    "files_of",
    "image_under",
    "limit_for",
    "map_file",
    "map_image",
    "map_values",
    "mask_under",
    "version_of",
]

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
