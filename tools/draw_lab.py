"""Draw the lab's contact sheet: real and fake side by side, and what lies between them.

A maintainer's script, from the repository's root::

    python tools/draw_lab.py docs/img/lab.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.datasets.lab import FORGERIES, Clip, Frame
from probe.plots import STYLE, save_figure
from probe.schema import DATASETS

VIDEOS = (0, 2, 3, 5)
#: Identities of the default test split.
POOL = 25
#: The difference is drawn this many times stronger, or it would hardly be seen.
GAIN = 4


def main(path: Path) -> None:
    """Write the figure; its suffix chooses the format."""
    columns = 2 * len(VIDEOS) + 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(columns + 0.35, len(DATASETS) + 0.2))
        grid = figure.subplots(len(DATASETS), columns, squeeze=False)
        for axes, name in zip(grid, DATASETS, strict=True):
            frames = [Clip(name, "test", video, POOL).frame(1) for video in VIDEOS]
            _row(axes, name, frames)
        for axis, title in zip(grid[0], ["real", "fake"] * len(VIDEOS), strict=False):
            axis.set_title(title, pad=2)
        grid[0, -1].set_title(f"{GAIN} × difference", pad=2)
        figure.subplots_adjust(
            left=0.04, right=0.998, top=0.97, bottom=0.002, wspace=0.02, hspace=0.02
        )
        # About one dot a pixel of the images.
        save_figure(figure, path, dpi=128)


def _row(axes: np.ndarray, name: str, frames: list[Frame]) -> None:
    pairs = [image for frame in frames for image in (frame.real, frame.fake)]
    last = frames[-1]
    difference = GAIN * np.abs(last.fake.astype(int) - last.real)
    for axis, image in zip(axes, [*pairs, np.clip(difference, 0, 255)], strict=True):
        _show(axis, image.astype(np.uint8))
    axes[-1].contour(last.mask, levels=[127], colors="white", linewidths=0.5)
    axes[0].set_ylabel(f"{name}\n({FORGERIES[name].area})", labelpad=2)


def _show(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, interpolation="antialiased")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
