"""Where networks run: the name of a device, resolved once and refused at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from probe.errors import ProbeError

if TYPE_CHECKING:
    import torch

__all__ = ["AUTO", "DEVICE_PATTERN", "DEVICE_VARIABLE", "described", "devices", "resolve_device"]

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


def _is_first(name: str) -> bool:
    return ":" not in name or name.endswith(":0")
