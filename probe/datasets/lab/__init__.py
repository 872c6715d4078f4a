"""The lab: six simulated deepfake datasets of rendered heads with known ground truth.

They are simulations. They replace the study's six datasets if no real data are available, and test
estimators by known doses, masks and pairs. No result on them is a result about real forgeries.
"""

from probe.datasets.lab.clip import FRAMES, Clip, Frame
from probe.datasets.lab.files import COUNTS, make, open_lab
from probe.datasets.lab.forgery import ARTIFACTS, FORGERIES, Forgery
from probe.datasets.lab.scene import DOMAINS, Domain

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
