"""The registry of measurements: each from one picture to one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from probe.artifacts.picture import Bools, Floats, Picture
from probe.registry import Registry

__all__ = ["MEASUREMENTS", "Measurement", "log_mean", "log_ratio", "measurement"]

Compute = Callable[[Picture], float]


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Attributes
    ----------
    name : str
        In tables.
    about : str
        What it sees, in one sentence.
    unit : str
        Of its values.
    source : str
        The paper it is after.
    needs : str
        "region" if it compares inside with outside, else "".
    compute : callable
        From a `Picture` to a number, NaN where it is not defined.
    """

    name: str
    about: str
    unit: str
    source: str
    needs: str
    compute: Compute

    def __call__(self, picture: Picture) -> float:
        """Measure; NaN where the picture has too little inside or outside its region."""
        if self.needs and not picture.comparable:
            return float("nan")
        return float(self.compute(picture))


#: All measurements, by name, in the order of tables and figures.
MEASUREMENTS: Registry[Measurement] = Registry("measurement")


def measurement(
    name: str, about: str, unit: str, source: str, needs: str = ""
) -> Callable[[Compute], Compute]:
    """Register a function as a measurement."""

    def add(compute: Compute) -> Compute:
        MEASUREMENTS.register(name)(Measurement(name, about, unit, source, needs, compute))
        return compute

    return add


def log_mean(values: Floats, where: Bools) -> float:
    """Decimal logarithm of a mean over an area, NaN where that is empty.

    A thousandth of a gray level is added: a flat area has no detail, and its logarithm no bound.
    """
    return float(np.log10(values[where].mean() + 1e-3)) if where.any() else float("nan")


def log_ratio(values: Floats, inside: Bools, outside: Bools) -> float:
    """Decimal logarithm of the mean inside over the mean outside; 0 where they are equal."""
    return log_mean(values, inside) - log_mean(values, outside)
