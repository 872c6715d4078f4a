"""Calibration: every measure and rule of universality on detectors whose truth is planted."""

from probe.calibration.calibrating import Calibration, calibrate
from probe.calibration.rules import RULES, Draw, Verdict

__all__ = ["RULES", "Calibration", "Draw", "Verdict", "calibrate"]
