"""Kinds of jobs, each in a module that is imported when the job runs.

To add a kind, write a function that takes a `Request` and a folder and writes its result there,
and name it in `KINDS`. The folder becomes visible as the result when the function returns. Reports
through `probe.progress` are shown as progress of the job.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.errors import UnknownNameError
from probe.run import RunFolder

if TYPE_CHECKING:
    from probe.datasets.dataset import Dataset
    from probe.detectors.detector import Detector

__all__ = ["KINDS", "Request", "work_of"]

#: Name of a kind to its function, as "module:function".
KINDS = {
    "ablation": "probe.jobs.ablating:take_out",
    "map": "probe.jobs.mapping:explain",
    "score": "probe.jobs.scoring:score",
}


@dataclass(frozen=True)
class Request:
    """Request for a job.

    Attributes
    ----------
    params : dict
        Parameters of the kind.
    run : RunFolder
        Run to read from; never changed.
    files : pathlib.Path
        Folder of input files.
    device : str
        Device to run detectors on, as in `probe.compute.resolve_device`.
    roots : tuple of str
        Folders from which the server allows images to be read.
    """

    params: dict[str, Any]
    run: RunFolder
    files: Path
    device: str = "cpu"
    roots: tuple[str, ...] = ()

    @cached_property
    def data(self) -> Dataset:
        """All images of the run."""
        from probe.jobs.opening import data_of

        return data_of(self.run, self.roots)

    @cached_property
    def test(self) -> Dataset:
        """The images of the measured split."""
        from probe.jobs.opening import measured_on

        return measured_on(self.run, self.roots)

    def detector(self, label: str) -> Detector:
        """Load a detector of the run by its label, such as "meso4/base"."""
        from probe.jobs.opening import detector_of

        return detector_of(self.run, label, self.device)


def work_of(kind: str) -> Callable[[Request, Path], None]:
    """Return the function of a kind of job.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of job", kind, KINDS)
    module, _, name = KINDS[kind].partition(":")
    found: Callable[[Request, Path], None] = getattr(importlib.import_module(module), name)
    return found
