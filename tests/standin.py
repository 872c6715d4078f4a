"""A device that is not there: tensors on it are kept apart from those on the CPU, and computed.

PyTorch lets a further backend be written in Python. This one computes on the CPU, but its tensors
say that they are elsewhere: an operation that is given some of here and some of there fails as it
would on a GPU, and so does ``numpy()``. Operations of networks that run on plain tensors are noted,
with the place they were called from.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.accelerators import ACCELERATOR_REGISTRY, Accelerator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from probe import compute

NAME = "standin"
ROOT = Path(__file__).parent.parent

#: What only networks do here; closed forms of affine heads work on the CPU in doubles.
NETWORK = (
    "aten.convolution.",
    "aten.convolution_backward.",
    "aten.native_batch_norm.",
    "aten._native_batch_norm",
    "aten.addmm.",
)

#: Operations that may take plain tensors beside others, as on a GPU.
BETWEEN = ("aten.copy_.", "aten._to_copy.", "aten.index.", "aten.index_put")


class Elsewhere(torch.Tensor):
    """A tensor on the stand-in."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device(NAME, 0),
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    name = str(func)
    flat = tree_flatten((args, kwargs))[0]
    there = [one for one in flat if isinstance(one, Elsewhere)]
    here = [one for one in flat if isinstance(one, torch.Tensor) and not isinstance(one, Elsewhere)]
    if there and any(one.ndim for one in here) and not name.startswith(BETWEEN):
        raise RuntimeError(f"{name} was given tensors on {NAME} and on the CPU")
    target = next((one for one in flat if isinstance(one, torch.device)), None)
    elsewhere = target.type == NAME if target is not None else bool(there)

    def here_of(one: Any) -> Any:
        if isinstance(one, torch.device):
            return torch.device("cpu")
        return one.inner if isinstance(one, Elsewhere) else one

    inner = tree_map(here_of, (args, kwargs))
    if name.startswith(NETWORK):
        _note(elsewhere)
    found = func(*inner[0], **inner[1])
    same = {id(one.inner): one for one in there}
    if not elsewhere:
        return found

    def put(one: Any) -> Any:
        if not isinstance(one, torch.Tensor):
            return one
        return same[id(one)] if id(one) in same else Elsewhere(one)

    return tree_map(put, found)


class Watching(TorchDispatchMode):
    """Sends what makes tensors on the stand-in there, and notes what networks do where."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Accelerator(Accelerator):
    """Lets Lightning Fabric train there."""

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device(NAME, 0)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


#: Stage that is running, and by stage how often a network ran there, and from where it ran here.
stage = [""]
ran_there: dict[str, int] = {}
ran_here: dict[str, set[str]] = {}


def _note(elsewhere: bool) -> None:
    if elsewhere:
        ran_there[stage[0]] = ran_there.get(stage[0], 0) + 1
        return
    own = [one for one in traceback.extract_stack() if one.filename.startswith(str(ROOT / "probe"))]
    ran_here.setdefault(stage[0], set()).add(f"{Path(own[-1].filename).name}:{own[-1].name}")


@contextmanager
def standing_in() -> Iterator[None]:
    """Make the stand-in a device like any other; for the rest of this process."""
    torch.utils.rename_privateuse1_backend(NAME)
    _setup_privateuseone_for_python_backend(NAME)
    ACCELERATOR_REGISTRY.register(NAME, _Accelerator)
    # Views of a tensor that is wrapped cannot be inference tensors.
    torch.inference_mode = lambda mode=True: torch.no_grad()  # type: ignore[assignment,misc]
    known = compute.devices()
    compute.devices = lambda: {**known, f"{NAME}:0": "not there"}
    with Watching():
        yield


def main(file: Path, out: Path, forget: str) -> None:
    """Run a study there and print what ran where; `forget` names a stage that forgets it."""
    from probe.study import plan
    from probe.study import run as running

    plan.DEVICE_PATTERN += f"|{NAME}(:0)?"
    before = running._Run.stage

    def named(self: Any, name: str, work: Any) -> Any:
        stage[0] = name
        return before(self, name, work)

    running._Run.stage = named  # type: ignore[method-assign]
    if forget:
        forgetful(forget)
    study = running_study(file, out)
    with standing_in():
        running.run_study(study)
    print(json.dumps({"there": ran_there, "here": {k: sorted(v) for k, v in ran_here.items()}}))


def running_study(file: Path, out: Path) -> Any:
    from probe.study import load_study

    return load_study(file, out, f"{NAME}:0")


def forgetful(name: str) -> None:
    """Let one stage put its detectors on the CPU."""
    from probe.study import run as running

    method = {"neurons": "count", "ablation": "ablate", "activations": "record"}.get(name, name)
    method = {"evaluation": "evaluate", "attribution": "explain", "responses": "respond"}.get(
        method, method
    )
    whole = getattr(running._Run, method)

    def forgotten(self: Any, detectors: Any, *rest: Any) -> Any:
        import copy
        from dataclasses import replace

        moved = [replace(one, module=copy.deepcopy(one.module)).to("cpu") for one in detectors]
        return whole(self, moved, *rest)

    setattr(running._Run, method, forgotten)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
