"""`Rerun`: run the plain suffix again for every unit and value.

The suffix always gets the whole original batch, with one intervention at a time. Its result may
depend on the batch as a whole, so batches are never split or joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from probe.hooks.capture import State, asked_units, check_values, run_prefix, set_unit, units_first
from probe.hooks.costs import Cost

__all__ = ["Rerun"]


@dataclass(frozen=True)
class Rerun:
    """A program that runs the suffix again for every unit and value, each time on the whole batch.

    Attributes
    ----------
    layer : str
        Name of the tap.
    input_size : int
        Side of the images in pixels.
    prefix, suffix : torch.fx.GraphModule
        The parts of the detector before and after the tap.
    units : int
        Number of units.
    positions : bool
        Whether every scalar of the tapped value is a unit.
    cost : Cost or None
        Multiply-adds.
    reason : str
        Reason why no cheaper program is used.
    """

    layer: str
    input_size: int
    prefix: fx.GraphModule
    suffix: fx.GraphModule
    units: int
    positions: bool = False
    cost: Cost | None = None
    reason: str = "no cheaper program is known for the suffix"

    def state(self, images: Any) -> State:
        """Run images, shape (n, 3, h, w), up to the tap."""
        return run_prefix(self.prefix, images, self.suffix)

    def sweep(
        self, state: State, values: NDArray[np.float64], units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to values, shape (units, v) or (n, units, v); return logits (n, units, v)."""
        n, asked = len(state.value), asked_units(self.units, units)
        given = check_values(values, len(asked), n, state.value)
        out = np.empty((n, len(asked), given.shape[-1]), dtype=np.float32)
        for i, k in np.ndindex(*out.shape[1:]):
            some = given[..., i, k].expand(n)
            out[:, i, k] = self._run(state, self._with(state.value, int(asked[i]), some))
        return out

    def sums(
        self,
        state: State,
        values: NDArray[np.float64],
        probability: bool,
        units: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Return sums over the batch of the logit or P(fake) under each do(), shape (units, v)."""
        logits = torch.from_numpy(self.sweep(state, values, units)).double()
        score = logits.sigmoid() if probability else logits
        return np.asarray(score.sum(dim=0).numpy())

    def donate(
        self, state: State, donor: State, units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to their values (channels: maps) in the same row of `donor`.

        Returns logits, shape (n, units).
        """
        asked = asked_units(self.units, units)
        out = np.empty((len(state.value), len(asked)), dtype=np.float32)
        for i, unit in enumerate(asked.tolist()):
            value = state.value.clone(memory_format=torch.contiguous_format)
            self._by_unit(value)[:, unit] = self._by_unit(donor.value.contiguous())[:, unit]
            out[:, i] = self._run(state, value)
        return out

    def ablate_sets(
        self, state: State, sets: NDArray[np.bool_], values: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Set all units of each set, shape (sets, units), together; return logits (n, sets)."""
        out = np.empty((len(state.value), len(sets)), dtype=np.float32)
        for i, chosen in enumerate(sets):
            value = state.value.clone(memory_format=torch.contiguous_format)
            units = torch.from_numpy(np.flatnonzero(chosen)).to(value.device)
            by_unit = self._by_unit(value)
            to = torch.from_numpy(values[chosen]).to(value.dtype).to(value.device)
            by_unit[:, units] = to.view(-1, *[1] * (by_unit.ndim - 2))
            out[:, i] = self._run(state, value)
        return out

    def explain(self) -> str:
        """Describe what is run again, why, and its cost."""
        nodes = [node for node in self.suffix.graph.nodes if node.op.startswith("call")]
        return (
            f"{self.layer}: {self.reason}, so its {len(nodes)} operations are run again for each "
            f"of {self.units} units and every value." + (f"\n  {self.cost}" if self.cost else "")
        )

    def _by_unit(self, value: Tensor) -> Tensor:
        """Return a view of a contiguous value with the units on axis 1."""
        return value.view(len(value), -1) if self.positions else units_first(value)

    def _with(self, value: Tensor, unit: int, to: Tensor) -> Tensor:
        if not self.positions:
            return set_unit(value, unit, to)
        out = value.clone(memory_format=torch.contiguous_format)
        self._by_unit(out)[:, unit] = to.to(out)
        return out

    def _run(self, state: State, value: Tensor) -> NDArray[np.float32]:
        # Copies, since the suffix may change them in place and the next unit needs them again.
        rest = [b.clone() if isinstance(b, Tensor) else b for b in state.bypass]
        with torch.inference_mode():
            logits: Tensor = self.suffix(value, *rest)[0]
        return np.asarray(logits.float().cpu().numpy())
