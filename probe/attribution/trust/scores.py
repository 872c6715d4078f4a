"""All checks of one method, or of a reference, on a batch of images: one value per image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from probe.attribution.maps import AttributionMap
from probe.attribution.trust.checks import CHECKS, EDGES, FILLS, RANDOM
from probe.attribution.trust.deletion import curve_area, pixel_ranks, replacement_curves
from probe.attribution.trust.metrics import (
    LIKENESS,
    MASK_CHECKS,
    edge_maps,
    mask_chance,
    random_maps,
    sensitivity,
    shifted_maps,
)
from probe.attribution.trust.randomization import Cascade, mprt, random_detector
from probe.detectors.detector import Detector
from probe.errors import ProbeError
from probe.stats import Floats

__all__ = ["Batch", "Score", "Scorer", "Settings"]

#: Maps a detector, images, and optionally their real images, to maps.
Explain = Callable[..., AttributionMap]
Maps = NDArray[np.float32]

#: Number of the draw that breaks ties; lower numbers are the random orders.
TIES = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Settings of the checks.

    Attributes
    ----------
    checks : tuple of str
        Names in `CHECKS`.
    seed, n_steps, n_orders, n_shifts, n_random, n_noise, n_stages : int
        Seed of all draws; number of steps of deletion and insertion, of random pixel orders, of
        shifts of a map, of detectors with random weights, of noisy copies, and of stages of the
        parameter randomization.
    radius : float
        Half-width of the noise.
    order : str
        Order of the parameter randomization.
    memory : str or int
        Memory limit of a pass.
    """

    checks: tuple[str, ...]
    seed: int = 0
    n_steps: int = 20
    n_orders: int = 5
    n_shifts: int = 2
    n_random: int = 5
    n_noise: int = 5
    radius: float = 0.02
    n_stages: int = 5
    order: str = "top_down"
    memory: str | int = "2G"


@dataclass(frozen=True)
class Batch:
    """A batch of images with labels, masks and pairs.

    Attributes
    ----------
    samples : numpy.ndarray
        Shape (n,), positions in the dataset.
    images : numpy.ndarray
        Shape (n, 3, height, width).
    fakes : numpy.ndarray
        Shape (n,), whether each image is fake.
    masks : numpy.ndarray
        Shape (n, height, width); all False without a mask.
    pairs : numpy.ndarray or None
        Shape of `images`: the real image of each fake, if a method uses it as baseline.
    """

    samples: NDArray[np.int64]
    images: Maps
    fakes: NDArray[np.bool_]
    masks: NDArray[np.bool_]
    pairs: Maps | None = None

    def bound(self, explain: Explain) -> Explain:
        """Return `explain` with each image's own real image as baseline, if there are pairs."""

        def own(
            detector: Detector, images: Maps, rows: NDArray[np.int64] | None = None
        ) -> AttributionMap:
            pairs = self.pairs if rows is None or self.pairs is None else self.pairs[rows]
            return explain(detector, images, pairs)

        return own

    @cached_property
    def masked(self) -> NDArray[np.int64]:
        """Positions of the fakes whose mask covers some pixels, but not all."""
        share = self.masks.reshape(len(self.masks), -1).mean(axis=1)
        return np.flatnonzero(self.fakes & (share > 0) & (share < 1))


class Score(NamedTuple):
    """Result of a check on n images; NaN where undefined.

    Attributes
    ----------
    top, bottom : numpy.ndarray
        The value over images is Σ top / Σ bottom; bottom is 1 if that is a mean.
    chance : numpy.ndarray
        Level of a map without information; NaN if there is none.
    shifted : numpy.ndarray
        Value of the shifted map; NaN if not computed.
    weights : numpy.ndarray
        Shape (n, draws): value of the method for detectors with random weights; no columns if not
        computed.
    """

    top: Floats
    bottom: Floats
    chance: Floats
    shifted: Floats
    weights: Floats


class Scorer:
    """Computes the checks, for references and methods, on batches of images.

    Parameters
    ----------
    detector : Detector
        Detector that the maps explain; it is not changed.
    settings : Settings
        Settings of the checks.
    """

    def __init__(self, detector: Detector, settings: Settings) -> None:
        self.detector, self.settings = detector, settings
        self._cascade: Cascade | None = None

    def references(self, batch: Batch) -> dict[str, dict[str, Score]]:
        """Score random maps (mean of several draws) and edges on mask and faithfulness checks."""
        shape = batch.images.shape[2:]
        draws = [
            random_maps(batch.samples, *shape, seed=self.settings.seed, draw=draw)
            for draw in range(self.settings.n_orders)
        ]
        chance = self._random_areas(batch, draws)
        edges = edge_maps(batch.images)
        return {
            RANDOM: {
                **_mean([self._masks(batch, draw) for draw in draws]),
                **{name: _score(areas, areas) for name, areas in chance.items()},
            },
            EDGES: self._where(batch, edges, chance),
        }

    def method(
        self, batch: Batch, explain: Explain, random: Mapping[str, Score]
    ) -> tuple[dict[str, Score], dict[str, str]]:
        """Score one method.

        Parameters
        ----------
        batch : Batch
            The images.
        explain : callable
            Maps a detector and images to maps.
        random : mapping
            Scores of the random reference on the same images.

        Returns
        -------
        tuple of dict
            Scores by check, and the reason by check if there is no score.

        Raises
        ------
        ProbeError
            If the method refuses the detector, or its maps are not finite.
        """
        explain = batch.bound(explain)
        found = explain(self.detector, batch.images)
        maps = found.values
        _require_finite(found)
        chance = {name: one.chance for name, one in random.items()}
        scores = self._placed(batch, maps, chance)
        scores |= self._random_weights(batch, explain, scores)
        scores |= self._completeness(found)
        reasons: dict[str, str] = {}
        for part in (self._sensitivity, self._randomization):
            try:
                scores |= part(batch, explain, maps)
            except ProbeError as error:
                reasons |= dict.fromkeys(PARTS[part.__name__], str(error))
        return {name: scores[name] for name in self.settings.checks if name in scores}, reasons

    def _placed(self, batch: Batch, maps: Maps, chance: Mapping[str, Floats]) -> dict[str, Score]:
        """Score mask and faithfulness checks, also for the shifted map."""
        shifts = [
            self._where(
                batch, shifted_maps(maps, batch.samples, seed=self.settings.seed, draw=k), chance
            )
            for k in range(self.settings.n_shifts)
        ]
        shifted = _mean(shifts)
        return {
            name: one._replace(shifted=shifted[name].top)
            for name, one in self._where(batch, maps, chance).items()
        }

    def _where(self, batch: Batch, maps: Maps, chance: Mapping[str, Floats]) -> dict[str, Score]:
        return {**self._masks(batch, maps), **self._faithfulness(batch, maps, chance)}

    def _asked(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.settings.checks]

    def _masks(self, batch: Batch, maps: Maps) -> dict[str, Score]:
        rows, out = batch.masked, {}
        for name in self._asked(list(MASK_CHECKS)):
            values = MASK_CHECKS[name](maps[rows], batch.masks[rows])
            chance = mask_chance(name, batch.masks[rows])
            out[name] = _score(*(_spread(one, rows, len(maps)) for one in (values, chance)))
        return out

    def _random_weights(
        self, batch: Batch, explain: Explain, scores: Mapping[str, Score]
    ) -> dict[str, Score]:
        """Add to mask checks the values of the method for detectors with random weights.

        A network with random weights has its own spatial preferences, which a constant or random
        map does not represent.
        """
        rows, asked = batch.masked, self._asked(list(MASK_CHECKS))
        if not asked or not len(rows) or not self.settings.n_random:
            return {}
        drawn: dict[str, list[Floats]] = {name: [] for name in asked}
        for draw in range(self.settings.n_random):
            other = random_detector(self.detector, batch.images[:1], self.settings.seed + draw)
            try:
                maps = explain(other, batch.images[rows], rows).values
            except ProbeError:
                maps = np.full((len(rows), *batch.masks.shape[1:]), np.nan, np.float32)
            for name, values in drawn.items():
                finite = np.isfinite(maps).all(axis=(1, 2))
                found = np.full(len(rows), np.nan)
                found[finite] = MASK_CHECKS[name](maps[finite], batch.masks[rows][finite])
                values.append(_spread(found, rows, len(batch.fakes)))
        return {
            name: scores[name]._replace(weights=np.stack(values, axis=1))
            for name, values in drawn.items()
        }

    def _faithfulness(
        self, batch: Batch, maps: Maps, chance: Mapping[str, Floats]
    ) -> dict[str, Score]:
        rows = np.flatnonzero(batch.fakes)
        asked = self._asked(FAITHFULNESS)
        if not len(rows) or not asked:
            return {}
        ties = random_maps(batch.samples[rows], *maps.shape[1:], seed=self.settings.seed, draw=TIES)
        ranks, out = pixel_ranks(maps[rows], ties), {}
        for name in asked:
            way, fill = name.split("_")
            areas = self._areas(batch.images[rows], ranks, fill, way == "insertion")
            out[name] = _score(_spread(areas, rows, len(maps)), chance[name])
        return out

    def _random_areas(self, batch: Batch, draws: Sequence[Maps]) -> dict[str, Floats]:
        """Return the area of random orders, by check, as the mean over draws.

        Insertion in an order is deletion in the reverse order, run backwards, and the reverse of a
        random order is random, so that the same passes serve both.
        """
        rows = np.flatnonzero(batch.fakes)
        out: dict[str, Floats] = {}
        for fill in FILLS:
            asked = self._asked([name for name in FAITHFULNESS if name.endswith(fill)])
            if not asked or not len(rows):
                continue
            areas = [
                self._areas(batch.images[rows], pixel_ranks(draw[rows], draw[rows]), fill, False)
                for draw in draws
            ]
            mean = _spread(np.mean(areas, axis=0), rows, len(batch.fakes))
            out |= dict.fromkeys(asked, mean)
        return out

    def _areas(self, images: Maps, ranks: NDArray[np.int64], fill: str, insert: bool) -> Floats:
        return curve_area(
            replacement_curves(
                self.detector,
                images,
                ranks,
                fill=fill,
                insert=insert,
                n_steps=self.settings.n_steps,
                memory=self.settings.memory,
            )
        )

    def _completeness(self, found: AttributionMap) -> dict[str, Score]:
        gap = np.asarray(found.data["gap"].values, dtype=np.float64)
        due = found.values.sum(axis=(1, 2), dtype=np.float64) - gap
        return {"completeness": _score(np.abs(gap))._replace(bottom=np.abs(due))}

    def _sensitivity(self, batch: Batch, explain: Explain, maps: Maps) -> dict[str, Score]:
        if not self._asked(PARTS["_sensitivity"]):
            return {}
        largest, mean = sensitivity(
            lambda images: explain(self.detector, images).values,
            batch.images,
            maps,
            samples=batch.samples,
            radius=self.settings.radius,
            n_draws=self.settings.n_noise,
            seed=self.settings.seed,
        )
        return {"max_sensitivity": _score(largest), "avg_sensitivity": _score(mean)}

    def _randomization(self, batch: Batch, explain: Explain, maps: Maps) -> dict[str, Score]:
        asked = self._asked(PARTS["_randomization"])
        if not asked:
            return {}
        if self._cascade is None:
            self._cascade = Cascade(
                self.detector,
                batch.images[:1],
                n_stages=self.settings.n_stages,
                order=self.settings.order,
                seed=self.settings.seed,
            )
        found = mprt(
            lambda detector, images: explain(detector, images).values,
            batch.images,
            maps,
            self._cascade,
            last_only=not any(name.endswith("area") for name in asked),
        )
        out = {"emprt": _score(found.rise, np.zeros(len(maps)))}
        for name in LIKENESS:
            ones = np.ones(len(maps))
            out[f"mprt_{name}"] = _score(found.likeness[name][:, -1], ones)
            out[f"mprt_{name}_area"] = _score(found.area(name), ones)
        return out


FAITHFULNESS = [name for name in CHECKS if CHECKS[name].group == "faithfulness"]
#: Checks that compute further maps, by method; a refusal there does not affect the others.
PARTS = {
    "_sensitivity": ["max_sensitivity", "avg_sensitivity"],
    "_randomization": [name for name in CHECKS if CHECKS[name].group == "randomization"],
}


def _score(top: Floats, chance: Floats | None = None) -> Score:
    none = np.full(len(top), np.nan)
    no_draws = np.empty((len(top), 0))
    return Score(top, np.ones(len(top)), none if chance is None else chance, none, no_draws)


def _spread(values: Floats, rows: NDArray[np.int64], n: int) -> Floats:
    out = np.full(n, np.nan)
    out[rows] = values
    return out


def _mean(draws: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    return {
        name: _score(np.mean([draw[name].top for draw in draws], axis=0), first.chance)
        for name, first in draws[0].items()
    }


def _require_finite(found: AttributionMap) -> None:
    finite = np.isfinite(found.values).all(axis=(1, 2))
    if not finite.all():
        raise ProbeError(
            f"{found.method} gave maps with infinite or undefined values on "
            f"{int((~finite).sum())} of {len(found)} images. Check the detector on them."
        )
