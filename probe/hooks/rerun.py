"""`Rerun`: the suffix as it is, again for every unit and value.

Samples stay together and doses apart: a suffix that is only known to work on the batch as it came
is given no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from probe.hooks.costs import Cost
from probe.hooks.taps import State, asked_units, check_values, run_prefix, set_unit, units_first

__all__ = ["Rerun"]


@dataclass(frozen=True)
class Rerun:
    """The suffix is run again for every unit and value, on the whole batch each time.

    Attributes
    ----------
    layer : str
        The tap.
    input_size : int
        Side in pixels of the images.
    prefix, suffix : torch.fx.GraphModule
        The two parts of the detector.
    units : int
        Number of units.
    positions : bool
        Whether every scalar of the tapped value is a unit.
    cost : Cost or None
        Multiply-adds.
    reason : str
        Why no shorter form is used.
    """

    layer: str
    input_size: int
    prefix: fx.GraphModule
    suffix: fx.GraphModule
    units: int
    positions: bool = False
    cost: Cost | None = None
    reason: str = "no shorter form is known for what follows"

    def state(self, images: Any) -> State:
        """Run images up to the tap."""
        return run_prefix(self.prefix, images, self.suffix)

    def sweep(
        self, state: State, values: NDArray[np.float64], units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to values, shape (units, v) or (n, units, v); give logits (n, units, v)."""
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
        """Sum over the batch of the logit or of P(fake) under each do(); shape (units, v)."""
        logits = torch.from_numpy(self.sweep(state, values, units)).double()
        score = logits.sigmoid() if probability else logits
        return np.asarray(score.sum(dim=0).numpy())

    def donate(
        self, state: State, donor: State, units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Give units the value (a channel its map) of the donor's same row; logits (n, units)."""
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
        """Set all units of each set, shape (sets, units), at once; fake logits (n, sets)."""
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
        """Say what is rerun."""
        nodes = [node for node in self.suffix.graph.nodes if node.op.startswith("call")]
        return (
            f"{self.layer}: {self.reason}, so its {len(nodes)} operations are run again for each "
            f"of {self.units} units and every value." + (f"\n  {self.cost}" if self.cost else "")
        )

    def _by_unit(self, value: Tensor) -> Tensor:
        """View a contiguous value with units on axis 1."""
        return value.view(len(value), -1) if self.positions else units_first(value)

    def _with(self, value: Tensor, unit: int, to: Tensor) -> Tensor:
        if not self.positions:
            return set_unit(value, unit, to)
        out = value.clone(memory_format=torch.contiguous_format)
        self._by_unit(out)[:, unit] = to.to(out)
        return out

    def _run(self, state: State, value: Tensor) -> NDArray[np.float32]:
        # Copies: the suffix may work on them in place, and the next unit needs them again.
        rest = [b.clone() if isinstance(b, Tensor) else b for b in state.bypass]
        with torch.inference_mode():
            logits: Tensor = self.suffix(value, *rest)[0]
        return np.asarray(logits.float().cpu().numpy())
