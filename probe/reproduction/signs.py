"""Signs in a detector itself that its weights were not loaded as they were saved."""

from __future__ import annotations

import torch
from torch import nn

from probe.detectors.detector import Detector

__all__ = ["signs_of"]


def signs_of(detector: Detector) -> list[str]:
    """Return sentences on parts of a network that have the values of an untrained one.

    Parameters
    ----------
    detector : Detector
        The detector.

    Returns
    -------
    list of str
        Empty if there is no sign.
    """
    norms = [
        (name, one)
        for name, one in detector.module.named_modules()
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.running_mean is not None
    ]
    initial = [name for name, one in norms if _is_initial(one)]
    if not initial:
        return []
    return [
        f"the running statistics of {len(initial)} of {len(norms)} BatchNorm layers are initial "
        f"(mean 0, variance 1), the first {initial[0]!r}: were they loaded?"
    ]


def _is_initial(one: nn.modules.batchnorm._BatchNorm) -> bool:
    mean, variance = one.running_mean, one.running_var
    if mean is None or variance is None:
        return False
    return bool(torch.all(mean == 0)) and bool(torch.all(variance == 1))
