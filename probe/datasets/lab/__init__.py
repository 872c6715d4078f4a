"""The lab: six simulated deepfake datasets of rendered heads, whose truth is known.

They are simulations: they stand in for the study's six where no real data are at hand, and judge
estimators by known doses, masks and pairs. No finding on them is a finding about real forgeries.
"""

from probe.datasets.lab.clip import FRAMES, Clip, Frame
from probe.datasets.lab.forgery import ARTIFACTS, FORGERIES, Forgery
from probe.datasets.lab.scene import DOMAINS, Domain
from probe.datasets.lab.writing import COUNTS, make, open_lab

__all__ = [
    "ARTIFACTS",
    "COUNTS",
    "DOMAINS",
    "FORGERIES",
    "FRAMES",
    "Clip",
    "Domain",
    "Forgery",
    "Frame",
    "make",
    "open_lab",
]
