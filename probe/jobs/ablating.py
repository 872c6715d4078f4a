"""Job "ablation": ablate a set of units, beside matched random sets."""

from __future__ import annotations

from pathlib import Path

from probe.jobs.kinds import Request
from probe.neurons import Ablation
from probe.neurons.ablation import ablate

__all__ = ["BY_HAND", "RESULT", "SET", "take_out"]

RESULT = "ablation.zarr"
#: Name of the set in the table.
SET = "chosen"

BY_HAND = "by hand, with these images in view"


def take_out(request: Request, out: Path) -> None:
    """Write an `Ablation` of a set of units of a layer.

    Parameters of the request are ``detector``, ``layer``, ``units``, ``n_random`` and ``seed``. The
    data are the measured split of the run, which was also visible when the units were selected;
    attribute ``chosen_on`` of the table states this.
    """
    given = request.params
    found = ablate(
        request.detector(str(given["detector"])),
        {SET: [int(unit) for unit in given["units"]]},
        request.test,
        str(given["layer"]),
        n_random=int(given["n_random"]),
        seed=int(given["seed"]),
    )
    Ablation(found.data.assign_attrs({"chosen_on": BY_HAND})).save(out / RESULT)
