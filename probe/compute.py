"""Devices and precision: resolve device names, and run networks on devices."""

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

#: Precisions of forward passes; the deviation of the others from the first is measured on use.
PRECISIONS = (FLOAT32, "bfloat16", "float16")

#: Images per dataset on which the deviation of a precision is measured.
MEASURED_ON = 64

#: Environment variable with the device to use if ``--device`` is not given.
DEVICE_VARIABLE = "PROBE_DEVICE"

#: Allowed device names: "auto", "cpu", "mps", "cuda", or "cuda:1" for the second of several.
DEVICE_PATTERN = r"auto|cpu|mps|cuda(:\d+)?"


def resolve_device(name: str | torch.device = AUTO) -> torch.device:
    """Return the device of a given name.

    Parameters
    ----------
    name : str or torch.device, default "auto"
        Name of the device: "cpu", "cuda", "cuda:1", "mps", or "auto", which prefers CUDA, then
        MPS, then the CPU.

    Returns
    -------
    torch.device
        The device, with its index for CUDA.

    Raises
    ------
    ProbeError
        If the device is not available.

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
        + ("which is not available. " if known else "which is not the name of a device. ")
        + f"Available: {', '.join(f'{one} ({what})' for one, what in there.items())}. Give one of "
        "these, or auto, which prefers an accelerator; a CUDA device needs an NVIDIA driver and a "
        "build of PyTorch for it."
    )


def devices() -> dict[str, str]:
    """Return the available devices.

    Returns
    -------
    dict
        Name to description: the CPU first, then MPS, then CUDA from the last to the first.
    """
    import torch

    out = {"cpu": f"{torch.get_num_threads()} threads"}
    if torch.backends.mps.is_available():
        out["mps"] = "Apple GPU"
    for k in reversed(range(torch.cuda.device_count())):
        out[f"cuda:{k}"] = torch.cuda.get_device_name(k)
    return out


def described(device: torch.device, asked: str = AUTO) -> str:
    """Return one line that states which device is used, and why."""
    what = devices().get(str(device), "")
    if asked != AUTO:
        why = "as requested"
    elif device.type == "cpu":
        why = "no accelerator is available"
    else:
        why = "the first available accelerator"
    return f"Device: {device} ({what}), {why}."


def to_device(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Move images to a device as 8-bit values and convert them there to a detector's input.

    Parameters
    ----------
    pixels : numpy.ndarray
        Images of shape (n, height, width, 3), 0 to 255.
    device : torch.device
        Target device.

    Returns
    -------
    Tensor
        Images of shape (n, 3, height, width), in [0, 1], float32, channels last in memory; equal
        to `Dataset.array` on every device.
    """
    import torch

    held = torch.from_numpy(pixels)
    if device.type == "cuda":
        held = held.pin_memory()
    # A tensor, since accelerators replace division by a number with a less exact multiplication.
    most = torch.full((), 255.0, device=device)
    return held.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(most)


def on_device(
    batches: Iterable[tuple[slice, NDArray[np.uint8]]],
    device: torch.device,
    run: Callable[[Tensor], Result],
    precision: str = FLOAT32,
) -> Iterator[tuple[slice, Result]]:
    """Run a network over batches of images, and halve the batches if memory is exhausted.

    Parameters
    ----------
    batches : iterable of (slice, numpy.ndarray)
        Batches as yielded by `probe.datasets.loader.Images.batches`.
    device : torch.device
        Device of the network.
    run : callable
        Function from images, shape (n, 3, height, width), to a result.
    precision : str, default "float32"
        Precision of the forward passes; see `reduced`.

    Yields
    ------
    slice
        Positions of the images; a batch that was divided is yielded in parts.
    object
        Result of `run`.

    Raises
    ------
    ProbeError
        If a single image does not fit into memory.
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
                        f"One image at a time exceeds the memory of {device}. Free some of it, or "
                        "give a smaller input size or another device."
                    ) from error
                most = len(part) // 2
                note(f"The memory of {device} is exhausted: batches of {most} images from now on.")
                continue
            yield slice(where.start + start, where.start + start + len(part)), found
            start += len(part)


@contextmanager
def reduced(precision: str, device: torch.device) -> Iterator[None]:
    """Run networks in another precision while the context is open, by PyTorch's autocast.

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16"}
        Precision of convolutions and matrix products; sensitive operations stay in float32.
    device : torch.device
        Device of the networks.

    Raises
    ------
    ProbeError
        If the precision is not known, or the device does not support it.
    """
    import torch

    check_precision(precision, device)
    if precision == FLOAT32:
        yield
        return
    with torch.autocast(device.type, getattr(torch, precision)):
        yield


def check_precision(precision: str, device: torch.device) -> None:
    """Raise `ProbeError` for a precision that is unknown or not supported by the device."""
    import torch

    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    if (
        precision == "bfloat16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise ProbeError(
            f"precision='bfloat16' was given, which {device} does not support. Give float16 or "
            "float32."
        )


def deviation(
    run: Callable[[Tensor], dict[str, NDArray[np.float32]]],
    batches: Callable[[], Iterable[tuple[slice, NDArray[np.uint8]]]],
    device: torch.device,
    precision: str,
) -> dict[str, Any]:
    """Measure the deviation of a network's outputs in another precision from those in float32.

    Parameters
    ----------
    run : callable
        Function from images to named arrays, with samples on axis 0.
    batches : callable
        Function that returns an iterator over the images to measure on.
    device : torch.device
        Device of the network.
    precision : str
        Precision, as in `reduced`.

    Returns
    -------
    dict
        ``precision``, ``images`` (their number), and for each name ``largest`` and ``mean`` of the
        absolute differences, in standard deviations of the array's column over these images in
        float32 (for a constant column, in units of the values).
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
