"""Detectors: five architectures, timm models, imported checkpoints, and training."""

from probe.detectors.architectures import ARCHITECTURES, Architecture, find_architecture
from probe.detectors.detector import Detector, DetectorSpec
from probe.detectors.loading import load_detector, save_detector

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Detector",
    "DetectorSpec",
    "find_architecture",
    "load_detector",
    "save_detector",
]
