"""Options that commands share: detectors, devices, numbers and output paths."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probe import report
from probe.compute import AUTO, DEVICE_VARIABLE, FLOAT32, PRECISIONS, described, resolve_device
from probe.errors import ProbeError, UnknownNameError

if TYPE_CHECKING:
    import torch

__all__ = [
    "COUNT",
    "DETECTOR",
    "DEVICE",
    "DRAWN",
    "FOLDER",
    "FRAMES",
    "Output",
    "PRECISION",
    "SEED",
    "SHARE",
    "TABLES",
    "WORKERS",
    "detector_of",
    "detectors_of",
    "say_deviation",
    "taken",
    "write_table",
]

#: Number types: a count, a random seed, a fraction between 0 and 1 (both excluded).
COUNT, SEED = click.IntRange(1), click.IntRange(0)
SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)

#: Number of processes; the second spelling is short for the command line.
WORKERS = click.option(
    "--n-workers",
    "--workers",
    "n_workers",
    type=COUNT,
    help="Number of processes.  [default: one per core]",
)

DETECTOR = "NAME|FOLDER|NAME=WEIGHTS"

DEVICE = click.option(
    "--device",
    default=AUTO,
    show_default=True,
    envvar=DEVICE_VARIABLE,
    metavar="auto|cpu|cuda|cuda:1|mps",
    help="Device to run networks on; auto prefers an accelerator.",
)

PRECISION = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=FLOAT32,
    show_default=True,
    help="Precision to run networks in; the deviation from float32 is measured and printed.",
)


def say_deviation(attrs: Mapping[str, Any]) -> None:
    """Print how far a result computed in a lower precision deviates from float32."""
    found = attrs.get("deviation")
    if not found:
        return
    each = list(found.values()) if "images" not in found else [found]
    largest = max(one["logit"]["largest"] for one in each)
    mean = sum(one["logit"]["mean"] for one in each) / len(each)
    report.note(
        f"In {attrs['precision']}, logits differ from those in float32 by {mean:.2g} standard "
        f"deviations on average and {largest:.2g} at most, on a sample of {each[0]['images']} "
        "images."
    )


def taken(device: str) -> torch.device:
    """Return the requested device and print one line that describes it.

    Raises
    ------
    ProbeError
        If the device is not available.
    """
    found = resolve_device(device)
    report.note(described(found, device))
    return found


def detectors_of(texts: Sequence[str], device: str) -> list[Any]:
    """Load detectors by name, folder or name and weights; print the device they run on."""
    from probe.detectors import load_detector

    place, out = resolve_device(device), []
    for text in texts:
        name, _, weights = text.partition("=")
        out.append(load_detector(name, weights=weights or None, device=place))
    taken(device)
    return out


def detector_of(text: str, device: str) -> Any:
    """Load one detector; see `detectors_of`."""
    return detectors_of([text], device)[0]


#: File formats of data frames; of tables (frames, or labeled arrays as Zarr); of figures.
FRAMES = (".csv", ".parquet", ".tex", ".md")
TABLES = (*FRAMES, ".zarr")
DRAWN = (".pdf", ".png", ".svg")


if TYPE_CHECKING:
    _Type = click.ParamType[Path]
else:
    # Older supported versions of click have no generic types.
    _Type = click.ParamType


class Output(_Type):
    """A file or folder that a command will write.

    Parameters
    ----------
    kind : str
        Name of the format in error messages, such as "table format".
    formats : sequence of str
        Allowed suffixes of a file; empty to allow any. Folders have no suffix.
    folder : bool, default False
        Whether the output is a folder, or may be one.
    """

    name = "path"

    def __init__(self, kind: str = "", formats: tuple[str, ...] = (), folder: bool = False) -> None:
        self.kind, self.formats, self.folder = kind, formats, folder

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """Return the path.

        Raises
        ------
        UnknownNameError
            If the suffix is not an allowed format.
        ProbeError
            If the path cannot be written.
        """
        path = Path(value)
        if self.formats and path.suffix not in self.formats:
            raise UnknownNameError(self.kind, path.suffix or path.name, self.formats)
        # A Zarr table is a folder, which a new table replaces.
        if not self.folder and path.suffix != ".zarr" and path.is_dir():
            raise ProbeError(f"{value!r} is a folder; give the name of a file.")
        self._require_writable(path)
        return path

    def _require_writable(self, path: Path) -> None:
        inside = path if self.folder and path.suffix != ".zarr" else path.parent
        # `exists` raises if a parent of the path is a file.
        there = next(one for one in (inside, *inside.parents) if os.path.lexists(one))
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return
        why = "is not writable" if there.is_dir() else "is not a folder"
        raise ProbeError(
            f"{str(path)!r} cannot be written: {str(there)!r} {why}. Choose another place."
        )


FOLDER = Output(folder=True)


def write_table(found: Any, out: Path | None, end: str = "") -> None:
    """Write a table and print its path; `end` is appended to the stem of the file name."""
    if out is None:
        return
    place = out.with_name(f"{out.stem}{end}{out.suffix}")
    if place.suffix == ".zarr":
        found.save(place)
    else:
        found.export(place)
    report.written(place)
