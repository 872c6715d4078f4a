"""Synthetic maps for tests of figures; plain arrays, the same on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from probe.attribution.maps import MAGNITUDE, TOWARDS, AttributionMap
from tests.conftest import drawn_of

SIDE = 32


def bump(x: float, y: float, wide: float = 0.25, side: int = SIDE) -> np.ndarray:
    """A smooth hill of height 1 on the unit square."""
    at = (np.arange(side) + 0.5) / side
    return np.exp(-((at[None] - x) ** 2 + (at[:, None] - y) ** 2) / (2 * wide**2))


def images_of(n: int, side: int = SIDE) -> np.ndarray:
    """Images of a slope with a square, shape (n, side, side, 3)."""
    slope = np.linspace(0, 255, side)
    out = np.empty((n, side, side, 3))
    for i in range(n):
        out[i] = np.stack(
            [
                np.tile(slope, (side, 1)),
                np.tile(slope[:, None], (1, side)),
                np.full((side, side), 40.0 * (i % 6)),
            ],
            axis=-1,
        )
        out[i, side // 3 : side // 2, side // 3 : side // 2] = 255
    return out.astype(np.uint8)


def masks_of(n: int, side: int = SIDE) -> list[np.ndarray | None]:
    """A disc for every other image."""
    disc = (255 * (bump(0.4, 0.6, 0.2, side) > 0.5)).astype(np.uint8)
    return [disc if i % 2 == 0 else None for i in range(n)]


def maps_of(
    n: int = 4,
    *,
    title: str = "Grad-CAM",
    signed: bool = True,
    height: float = 1.0,
    shift: float = 0.0,
    side: int = SIDE,
    detector: str = "meso4",
    **attrs: Any,
) -> AttributionMap:
    """Maps with a positive hill at the left and a negative one at the right."""
    values = np.stack(
        [
            height
            * (
                bump(0.3 + shift, 0.3 + 0.1 * (i % 4), 0.15, side)
                - 0.8 * bump(0.75, 0.7 - 0.1 * (i % 4), 0.12, side)
            )
            for i in range(n)
        ]
    )
    known = {
        "method": title.lower().replace(" ", "_"),
        "title": title,
        "target": "fake logit",
        "layer": "conv4",
        "sign": TOWARDS if signed else MAGNITUDE,
        "signed": signed,
        "complete": False,
        "baseline": "",
        "options": '{"steps": 8}',
        **drawn_of(detector, data=["noise"]),
        "notes": "",
    }
    label = [(i + 1) % 2 for i in range(n)]
    return AttributionMap(
        xr.Dataset(
            {
                "attribution": (
                    ("sample", "y", "x"),
                    (values if signed else np.abs(values)).astype(np.float32),
                ),
                "value": ("sample", np.linspace(-2, 3, n)),
                "gap": ("sample", np.full(n, np.nan)),
            },
            coords={
                "sample": [f"s{i}" for i in range(n)],
                "dataset": ("sample", ["one" if i < n / 2 else "two" for i in range(n)]),
                "label": ("sample", label),
                "forgery": ("sample", ["faceswap" if one else "real" for one in label]),
            },
            attrs={**known, **attrs},
        )
    )


def many(columns: int, n: int = 3) -> dict[str, AttributionMap]:
    """Maps of several methods, the third without signs, the last with a long title."""
    names = [
        "Grad-CAM",
        "Integrated gradients",
        "Saliency",
        "Occlusion",
        "DeepLIFT",
        "Attention rollout of a_very_long_name with (blurred) baselines",
    ]
    return {
        name: maps_of(n, title=name, signed=name != "Saliency", height=10.0 ** (1 - i))
        for i, name in enumerate(names[: columns - 1] + names[-1:] if columns < 6 else names)
    }
