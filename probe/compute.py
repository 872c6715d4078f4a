"""Where networks run: the name of a device, resolved once and refused at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from probe.errors import ProbeError, UnknownNameError
from probe.progress import note

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Result = TypeVar("Result")

__all__ = [
    "AUTO",
    "DEVICE_PATTERN",
    "DEVICE_VARIABLE",
    "FLOAT32",
    "MEASURED_ON",
    "PRECISIONS",
    "check_precision",
    "described",
    "deviation",
    "devices",
    "on_device",
    "reduced",
    "resolve_device",
    "to_device",
]

AUTO = "auto"

FLOAT32 = "float32"

#: In what networks run forward; all but the first is measured against it where it is used.
PRECISIONS = (FLOAT32, "bfloat16", "float16")

#: Images of each dataset on which a precision is measured.
MEASURED_ON = 64

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
    precision: str = FLOAT32,
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
    precision : str, default "float32"
        In which it runs; see `reduced`.

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
                with reduced(precision, device):
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


@contextmanager
def reduced(precision: str, device: torch.device) -> Iterator[None]:
    """Run networks in another precision while the context is open, by PyTorch's autocast.

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16"}
        Convolutions and products run in it; what loses most by it stays in float32.
    device : torch.device
        Where they run.

    Raises
    ------
    ProbeError
        If the precision is not known, or the device has it not.
    """
    import torch

    check_precision(precision, device)
    if precision == FLOAT32:
        yield
        return
    with torch.autocast(device.type, getattr(torch, precision)):
        yield


def check_precision(precision: str, device: torch.device) -> None:
    """Raise `ProbeError` for a precision that is not known, or that a device has not."""
    import torch

    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    if (
        precision == "bfloat16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise ProbeError(
            f"precision='bfloat16' was given, which {device} has not. Give float16 or float32."
        )


def deviation(
    run: Callable[[Tensor], dict[str, NDArray[np.float32]]],
    batches: Callable[[], Iterable[tuple[slice, NDArray[np.uint8]]]],
    device: torch.device,
    precision: str,
) -> dict[str, Any]:
    """Measure how far a network's answers in another precision are from those in float32.

    Parameters
    ----------
    run : callable
        From images to named arrays, samples on axis 0: what is asked of the network.
    batches : callable
        Gives the images that it is measured on, each time from the first.
    device : torch.device
        Where the network is.
    precision : str
        As in `reduced`.

    Returns
    -------
    dict
        ``precision``, ``images`` (how many), and by name ``largest`` and ``mean``: of the absolute
        differences, in standard deviations of the array's column over these images in float32 (of
        a column that is constant, as they are).
    """
    both = []
    for one in (FLOAT32, precision):
        parts = [found for _, found in on_device(batches(), device, run, one)]
        both.append({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
    out: dict[str, Any] = {"precision": precision}
    for key, exact in both[0].items():
        rows = exact.reshape(len(exact), -1).astype(np.float64)
        spread = rows.std(axis=0)
        off = np.abs(both[1][key].reshape(rows.shape) - rows) / np.where(spread > 0, spread, 1.0)
        out["images"] = len(rows)
        out[key] = {"largest": float(off.max()), "mean": float(off.mean())}
    return out


def _is_first(name: str) -> bool:
    return ":" not in name or name.endswith(":0")
