"""Where networks run: the name of a device, resolved once and refused at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from probe.errors import ProbeError
from probe.progress import note

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Result = TypeVar("Result")

__all__ = [
    "AUTO",
    "DEVICE_PATTERN",
    "DEVICE_VARIABLE",
    "described",
    "devices",
    "on_device",
    "resolve_device",
    "to_device",
]

AUTO = "auto"

#: Environment variable that names the device where ``--device`` does not.
DEVICE_VARIABLE = "PROBE_DEVICE"

#: What a device may be called: "auto", "cpu", "mps", "cuda", or "cuda:1" for the second of several.
DEVICE_PATTERN = r"auto|cpu|mps|cuda(:\d+)?"


def resolve_device(name: str | torch.device = AUTO) -> torch.device:
    """Find a device by its name.

    Parameters
    ----------
    name : str or torch.device, default "auto"
        "auto" prefers CUDA, then MPS, then the CPU; or "cpu", "cuda", "cuda:1", "mps".

    Returns
    -------
    torch.device
        With its number, where there can be several.

    Raises
    ------
    ProbeError
        If there is no such device here.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    import torch

    there = devices()
    if str(name) == AUTO:
        return torch.device(next(one for one in reversed(there) if _is_first(one)))
    found = f"{name}:0" if str(name) == "cuda" else str(name)
    if found in there:
        return torch.device(found)
    known = re.fullmatch(DEVICE_PATTERN, str(name)) is not None
    raise ProbeError(
        f"Device {str(name)!r} was given, "
        + ("which is not here. " if known else "which is no name of a device. ")
        + f"Here: {', '.join(f'{one} ({what})' for one, what in there.items())}. Give one of "
        "these, or auto, which prefers an accelerator; a CUDA device needs an NVIDIA driver and a "
        "build of PyTorch for it."
    )


def devices() -> dict[str, str]:
    """List the devices that are here.

    Returns
    -------
    dict
        Name to what it is: the CPU first, then MPS, then CUDA from the last to the first.
    """
    import torch

    out = {"cpu": f"{torch.get_num_threads()} threads"}
    if torch.backends.mps.is_available():
        out["mps"] = "Apple GPU"
    for k in reversed(range(torch.cuda.device_count())):
        out[f"cuda:{k}"] = torch.cuda.get_device_name(k)
    return out


def described(device: torch.device, asked: str = AUTO) -> str:
    """Say in one line which device was taken, and why."""
    what = devices().get(str(device), "")
    if asked != AUTO:
        why = "as asked"
    elif device.type == "cpu":
        why = "no accelerator is here"
    else:
        why = "the first accelerator that is here"
    return f"Device: {device} ({what}), {why}."


def to_device(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Put images on a device as detectors take them; 8-bit on the way, converted there.

    Parameters
    ----------
    pixels : numpy.ndarray
        Shape (n, height, width, 3), 0 to 255.
    device : torch.device
        Where to.

    Returns
    -------
    Tensor
        Shape (n, 3, height, width), in [0, 1], float32, channels last in memory; the values of
        `Dataset.array`, on every device.
    """
    import torch

    held = torch.from_numpy(pixels)
    if device.type == "cuda":
        held = held.pin_memory()
    # Accelerators divide by a number as they multiply by its inverse, which is not the same.
    most = torch.full((), 255.0, device=device)
    return held.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(most)


def on_device(
    batches: Iterable[tuple[slice, NDArray[np.uint8]]],
    device: torch.device,
    run: Callable[[Tensor], Result],
) -> Iterator[tuple[slice, Result]]:
    """Run a network over batches of images, in smaller ones once an accelerator's memory ends.

    Parameters
    ----------
    batches : iterable of (slice, numpy.ndarray)
        As `probe.datasets.loader.Images.batches` gives them.
    device : torch.device
        Where the network is.
    run : callable
        From images, shape (n, 3, height, width), to what is asked of them.

    Yields
    ------
    slice
        Positions; a batch that was divided comes in several.
    object
        What `run` gave.

    Raises
    ------
    ProbeError
        If not one image fits.
    """
    import torch

    most: int | None = None
    for where, pixels in batches:
        start = 0
        while start < len(pixels):
            part = pixels[start : start + (most or len(pixels))]
            try:
                found = run(to_device(part, device))
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise ProbeError(
                        f"One image at a time is more than the memory of {device} holds. Free "
                        "some of it, or give a smaller input size or another device."
                    ) from error
                most = len(part) // 2
                note(f"The memory of {device} ended: batches of {most} images from here on.")
                continue
            yield slice(where.start + start, where.start + start + len(part)), found
            start += len(part)


def _is_first(name: str) -> bool:
    return ":" not in name or name.endswith(":0")
