"""`Cell`: one panel of a grid, which is an image, a map, or a map over its image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from probe.errors import ProbeError, UnknownNameError
from probe.figures.colors import colors_of, limit_of, overlay

__all__ = ["ENDS", "SCALES", "Cell", "Scale", "find_scales"]

#: What can share a color scale.
SCALES = ("figure", "row", "column", "cell")

#: Meanings of the ends of a signed scale, for the fake logit.
ENDS = ("towards real", "towards fake")


@dataclass(frozen=True)
class Cell:
    """One panel of a grid.

    Attributes
    ----------
    image : numpy.ndarray or None
        Shape (h, w, 3) or (h, w), uint8. Drawn in color if alone, in gray below `values`.
    values : numpy.ndarray or None
        Map, shape (h, w); it covers the same frame as the image, at any resolution.
    mask : numpy.ndarray or None
        Shape (h, w), 0 to 255; its contour at one half is drawn, if there is one.
    signed : bool
        Whether the sign of the map has a meaning.
    ends : tuple of str
        Meanings of the negative and the positive end.
    group : str
        Cells of the same group share a scale, regardless of the grid's rule; "" follows the rule.
    """

    image: NDArray[Any] | None = None
    values: NDArray[Any] | None = None
    mask: NDArray[Any] | None = None
    signed: bool = True
    ends: tuple[str, str] = ENDS
    group: str = ""

    def __post_init__(self) -> None:
        """Check shapes and types."""
        if self.image is not None and np.asarray(self.image).dtype != np.uint8:
            raise ProbeError(
                f"An image of type {np.asarray(self.image).dtype} was given; figures need uint8, "
                "0 to 255. Convert it, for example with (255 * image).round().astype('uint8')."
            )
        for name, array, dims in (
            ("image", self.image, (2, 3)),
            ("map", self.values, (2,)),
            ("mask", self.mask, (2,)),
        ):
            if array is not None and (np.ndim(array) not in dims or not np.size(array)):
                raise ProbeError(
                    f"A {name} of shape {np.shape(array)} was given for one panel; it needs "
                    f"{'(h, w)' if dims == (2,) else '(h, w, 3)'}. Give one panel each."
                )

    @property
    def over(self) -> bool:
        """Whether the panel is a map over an image."""
        return self.image is not None and self.values is not None

    @property
    def outlined(self) -> bool:
        """Whether there is a contour of a mask to draw."""
        if self.mask is None:
            return False
        inside = np.asarray(self.mask) > 127.5
        return bool(inside.any() and not inside.all())

    @property
    def aspect(self) -> float:
        """Height divided by width."""
        shown = self.image if self.image is not None else self.values
        shape = (1, 1) if shown is None else shown.shape
        return float(shape[0] / shape[1])

    def draw(self, axes: Axes, limit: float, line: float) -> None:
        """Draw the panel into axes without ticks.

        Parameters
        ----------
        axes : matplotlib.axes.Axes
            Axes to draw into.
        limit : float
            Magnitude at the end of the color scale.
        line : float
            Width of the mask outline, in points.
        """
        axes.set_axis_off()
        frame: dict[str, Any] = {"extent": (0, 1, 1, 0), "aspect": "auto"}
        if self.over:
            axes.imshow(self._laid_over(limit), **frame)
        elif self.values is not None:
            low = -limit if self.signed else 0
            shown = np.asarray(self.values, dtype=np.float64)
            axes.imshow(shown, cmap=colors_of(self.signed), vmin=low, vmax=limit, **frame)
        elif self.image is not None:
            axes.imshow(self.image, cmap="gray", vmin=0, vmax=255, **frame)
        self._outline(axes, line)

    def _laid_over(self, limit: float) -> NDArray[np.float64]:
        assert self.image is not None and self.values is not None
        image = np.asarray(self.image)
        image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        height = max(image.shape[0], self.values.shape[0])
        size = (max(image.shape[1], self.values.shape[1]), height)
        values = _resized(np.asarray(self.values, dtype=np.float32), size)
        channels = [_resized(image[..., c].astype(np.float32), size) for c in range(3)]
        return overlay(np.stack(channels, axis=-1), values, limit, self.signed)

    def _outline(self, axes: Axes, line: float) -> None:
        if not self.outlined:
            return
        mask = np.asarray(self.mask, dtype=np.float64)
        y, x = ((np.arange(n) + 0.5) / n for n in mask.shape)
        drawn = axes.contour(x, y, mask, levels=[127.5], colors="black", linewidths=line)
        # A white line below the black one keeps it visible on dark colors.
        under: Any = patheffects.withStroke(linewidth=2.6 * line, foreground="white")
        drawn.set_path_effects([under])


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if (values.shape[1], values.shape[0]) == size:
        return values
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class Scale:
    """A color scale shared by cells.

    Attributes
    ----------
    limit : float
        Magnitude at the end of the scale.
    signed : bool
        Whether colors diverge from zero.
    ends : tuple of str
        Meanings of the ends.
    over : bool
        Whether all its maps are drawn over images.
    places : tuple of (int, int)
        Row and column of each cell.
    """

    limit: float
    signed: bool
    ends: tuple[str, str]
    over: bool
    places: tuple[tuple[int, int], ...]

    @property
    def columns(self) -> tuple[int, int]:
        """First and last column of the cells."""
        at = [column for _, column in self.places]
        return min(at), max(at)


Cells = Sequence[Sequence[Cell | None]]


def maps_in(cells: Cells) -> Iterator[tuple[int, int, Cell]]:
    """Yield row, column and cell of the cells with maps."""
    for r, row in enumerate(cells):
        for c, cell in enumerate(row):
            if cell is not None and cell.values is not None:
                yield r, c, cell


def find_scales(cells: Cells, scale: str) -> list[Scale]:
    """Find which maps share a color scale, and the limit of each scale.

    Parameters
    ----------
    cells : sequence of sequence of Cell or None
        Rows of cells.
    scale : {"figure", "row", "column", "cell"}
        What shares a scale.

    Returns
    -------
    list of Scale
        Scales in order of first appearance.

    Raises
    ------
    UnknownNameError
        If the rule is unknown.
    ProbeError
        If signed maps and magnitudes would share a scale.
    """
    if scale not in SCALES:
        raise UnknownNameError("scale", scale, SCALES)
    keys: dict[str, Callable[[int, int], Any]] = {
        "figure": lambda r, c: 0,
        "row": lambda r, c: r,
        "column": lambda r, c: c,
        "cell": lambda r, c: (r, c),
    }
    found: dict[Any, list[tuple[int, int, Cell]]] = {}
    for r, c, cell in maps_in(cells):
        found.setdefault(cell.group or keys[scale](r, c), []).append((r, c, cell))
    return [_scale(members) for members in found.values()]


def _scale(members: Iterable[tuple[int, int, Cell]]) -> Scale:
    members = list(members)
    cells = [cell for _, _, cell in members]
    if len({(cell.signed, cell.ends if cell.signed else None) for cell in cells}) > 1:
        raise ProbeError(
            "Maps with signs of different meaning, or with and without signs, would share one "
            "scale of colors. Give scale='column' or scale='cell'."
        )
    limit = limit_of(cell.values for cell in cells if cell.values is not None)
    places = tuple((r, c) for r, c, _ in members)
    return Scale(limit, cells[0].signed, cells[0].ends, all(cell.over for cell in cells), places)
