"""`Reproduction`: settings that were tried to reach published figures, as a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from probe.results import Result

__all__ = ["Reproduction"]

#: Candidates that the summary names.
NAMED = 5


@dataclass(frozen=True, repr=False)
class Reproduction(Result):
    """Settings that were tried to reach published figures.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``setting`` and ``figure``: ``value`` in [0, 1], its clustered interval ``low, high``
        (NaN below five clusters, and where ``confirmed`` is False: then the value is predicted
        from a drawn subset). Over ``setting``: ``changes`` (number), ``p`` (share of noise
        differences as far from the published figures), ``distance`` (root mean square difference
        from the authors' scores), ``holds``, ``confirmed``, ``n_samples, n_clusters``. Over
        ``figure``: ``published`` and ``half``, half a unit of its last digit. Attributes:
        ``verdict``, ``candidates`` (the smallest sets that hold the figures, the nearest and most
        plausible first), ``chance`` of a match by luck, ``not_tried``.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> found = probe.reproduce(detector, data, ".500", max_changes=1)
    >>> found.data.attrs["verdict"]
    'noise'
    >>> found.to_dataframe().columns[:4].tolist()
    ['setting', 'changes', 'figure', 'published']
    """

    KIND: ClassVar[str] = "a reproduction"
    REQUIRED: ClassVar[str] = "value"
    COMMAND: ClassVar[str] = "probe reproduce"
    PLOTS: ClassVar[tuple[str, ...]] = ("reproduction",)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The smallest sets of changes that hold the figures; empty if none does or none is due."""
        return tuple(self.data.attrs["candidates"])

    def _frame(self) -> pd.DataFrame:
        """Return one row per setting and figure, those that hold the figures first."""
        frame = self.data.to_dataframe().reset_index()
        order = ["holds", "confirmed", "changes"]
        frame = frame.sort_values(order, ascending=[False, False, True], kind="stable")
        first = ["setting", "changes", "figure", "published", "value", "low", "high"]
        rest = ["p", "distance", "holds", "confirmed", "n_samples", "n_clusters"]
        return frame[[*first, *rest]].reset_index(drop=True)

    def summary(self) -> str:
        """State the verdict, the chance of luck, and what was not tried, a line each."""
        attrs = self.data.attrs
        lines = [self._figures(), _VERDICTS[str(attrs["verdict"])](self)]
        chance = float(attrs["chance"])
        if self.candidates and chance == chance:
            lines.append(self._luck(chance))
        more = int(attrs["unconfirmed"])
        if more and attrs["verdict"] != "noise":
            lines.append(
                f"{more} more sets may give the figures by the subset of {attrs['subset']} images, "
                "but were not measured on all: raise max_samples to tell."
            )
        lines += [f"Sign: {one}" for one in attrs["signs"]]
        not_tried: Mapping[str, Any] = dict(attrs["not_tried"])
        if not_tried:
            each = "; ".join(f"{factor} ({why})" for factor, why in not_tried.items())
            lines.append(f"Not tried: {each}.")
        return "\n".join(lines)

    def _figures(self) -> str:
        given = self.data.isel(setting=0)
        told = []
        for k, name in enumerate(map(str, given["figure"].values)):
            one = given.isel(figure=k)
            value, published = float(one["value"]), float(one["published"])
            # With scores alone no figure was published.
            if published != published:
                continue
            low, high = float(one["low"]), float(one["high"])
            span = f" [{low:.3f}, {high:.3f}]" if low == low else ""
            told.append(f"{name}: {value:.4f}{span} as given, {published:g} published")
        if self.data.attrs["scores"]:
            told.append(f"scores: {float(given['distance']):.4f} away (root mean square)")
        return "; ".join(told) + "."

    def _luck(self, chance: float) -> str:
        n = int((self.data["changes"] > 0).sum())
        tries = f"Of figures as far away, {n} tries match {chance:.0%} by luck"
        if chance > 1 - float(self.data.attrs["ci"]):
            return (
                f"{tries}: this match may be luck. More figures (other metrics, the other level, "
                "other datasets) or the authors' scores would tell."
            )
        return f"{tries}."

    def _noise(self) -> str:
        attrs = self.data.attrs
        if attrs["scores"]:
            return "No fault: the scores are the authors', up to other decoders and devices."
        shared = float(attrs["shared"])
        of = (
            f"samples that share {shared:.0%} of their images" if shared else "samples of this size"
        )
        return (
            "No fault: the difference is within noise "
            f"(p = {float(self.data['p'][0]):.2g} for two {of})."
        )

    def _named(self) -> str:
        return f"One smallest set of changes gives the published figures: {self.candidates[0]}."

    def _candidates(self) -> str:
        these = self.candidates
        more = f", and {len(these) - NAMED} more" if len(these) > NAMED else ""
        told = "; ".join(these[:NAMED]) + more
        if len(these) == 1:
            return f"One smallest set of changes gives the published figures: {told}."
        return (
            f"{len(these)} sets of changes of the smallest size give the published figures, and "
            f"these figures cannot tell them apart: {told}."
        )

    def _none(self) -> str:
        n = int((self.data["changes"] > 0).sum())
        most = int(self.data["changes"].max())
        sets = f"{n} single changes" if most < 2 else f"{n} sets of up to {most} changes"
        return (
            f"None of {sets} gives the published figures: their cause "
            "is something that was not tried, or more changes at once."
        )

    def _undecided(self) -> str:
        n = int(self.data["n_clusters"][0])
        return (
            f"Undecided: {n} clusters, or one class only, give no interval, so that noise is "
            "unknown. Say which share of the images is the authors' (shared=1 if all are), or give "
            "their scores."
        )


_VERDICTS: Mapping[str, Any] = {
    "noise": Reproduction._noise,
    "named": Reproduction._named,
    "candidates": Reproduction._candidates,
    "none": Reproduction._none,
    "undecided": Reproduction._undecided,
}
