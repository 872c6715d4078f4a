"""Job "map": attribution maps of some images by one method."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from probe.attribution import attribute
from probe.errors import DatasetError
from probe.jobs.kinds import Request

__all__ = ["RESULT", "explain"]

RESULT = "maps.zarr"


def explain(request: Request, out: Path) -> None:
    """Write an `AttributionMap` of samples by one method.

    Parameters of the request are ``detector``, ``samples`` (ids, in the order of the maps),
    ``method``, ``seed``, and optionally ``layer`` and ``target`` ("logit" or [layer, unit]), which
    default to those of the method.
    """
    given = request.params
    names = [str(name) for name in given["samples"]]
    table = request.data.samples.table["sample"].astype(str)
    place = {name: i for i, name in enumerate(table)}
    unknown = [name for name in names if name not in place]
    if unknown or not names:
        raise DatasetError(
            f"The run has no image {', '.join(map(repr, unknown[:3])) or '(none was given)'}. "
            "Choose images on the page."
        )
    target = given.get("target", "logit")
    maps = attribute(
        request.detector(str(given["detector"])),
        request.data.take(np.array([place[name] for name in names])),
        str(given["method"]),
        target=target if isinstance(target, str) else (str(target[0]), int(target[1])),
        layer=given.get("layer"),
        seed=int(given.get("seed", 0)),
        # The real image that a fake was made from may not be among the explained ones.
        pairs=request.data,
    )
    maps.save(out / RESULT)
