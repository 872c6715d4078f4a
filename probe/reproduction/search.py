"""The planned search: settings on a drawn subset first, then those that may hold it on all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.subset import first_videos
from probe.reproduction.decision import Noise, chance_of_match, pair_noise
from probe.reproduction.figures import Figures, ScoreMatch
from probe.reproduction.scores import Scorer
from probe.reproduction.settings import (
    DECODER,
    Setting,
    combine,
    image_part,
    named,
    pairs_of,
    plausibility,
    rows_part,
)
from probe.stats import Floats, sigmoid

__all__ = ["Found", "Search", "Tolerance", "Tried"]

Integers = NDArray[np.int64]

#: Settings of each size that are confirmed on all images, at most: those nearest on the subset.
CONFIRMED = 24

#: Distance in standard errors of noise and subset up to which a setting may hold figures, and
#: number of settings that are confirmed however far they are.
FAR, ALWAYS = 3.0, 3

#: Draws of what other decoders change, and multiple of it up to which scores are the same.
DECODED, SPREAD = 50, 1.5

#: Sets are dropped beside the nearest one if they are less likely by a factor of 20 (this is the
#: difference of squared distances), or this many times as far from the authors' scores.
RATIO, CLOSER = 6.0, 1.4

#: Resamples for the standard errors of the subset.
FEW = 200

#: Share of names that a setting and the authors' scores must have in common.
COMMON = 0.98


@dataclass(frozen=True)
class Tolerance:
    """What counts as the same.

    Attributes
    ----------
    shared : float
        Share of images that the published figures were measured on too, in [0, 1].
    figure : float
        Difference of a figure that other devices make, in addition to what is measured of
        decoders: `Search.decoder`.
    score : float
        Root mean square difference of P(fake) that they make, at least.
    ci : float
        Confidence level.
    """

    shared: float = 0.0
    figure: float = 0.0005
    score: float = 0.0005
    ci: float = 0.95

    @property
    def excluded(self) -> float:
        """Share of noise below which a setting is excluded: a fifth of 1 − ci.

        So that what was given, and the true cause among hundreds, are rarely excluded by chance.
        """
        return (1 - self.ci) / 5


@dataclass(frozen=True)
class Tried:
    """A setting that was tried.

    Attributes
    ----------
    setting : Setting
        Its changes.
    values : numpy.ndarray
        Figures, shape (figures,); predicted from the subset unless `confirmed`.
    low, high : numpy.ndarray
        Clustered intervals, shape (figures,); NaN unless confirmed.
    p : float
        Share of noise differences that are as far from the published figures; NaN unless
        confirmed.
    distance : float
        Difference from the authors' scores; NaN without scores.
    holds : bool
        Whether it holds what was published.
    confirmed : bool
        Whether it was measured on all images.
    counted : tuple of int
        Numbers of images and clusters; 0 unless confirmed.
    """

    setting: Setting
    values: Floats
    low: Floats
    high: Floats
    p: float = float("nan")
    distance: float = float("nan")
    holds: bool = False
    confirmed: bool = False
    counted: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Found:
    """The outcome of a search.

    Attributes
    ----------
    verdict : {"noise", "named", "candidates", "none", "undecided"}
        "noise": what was given holds the published figures. "named": one smallest set of changes
        does, and luck is excluded. "candidates": several do, or luck is not excluded. "none": no
        set does. "undecided": there is no noise to compare with.
    tried : tuple of Tried
        All settings, as given first.
    candidates : tuple of Setting
        The smallest sets that hold the figures, nearest and most plausible first.
    chance : float
        How often figures at this distance would be matched by luck; NaN if not estimated.
    """

    verdict: str
    tried: tuple[Tried, ...]
    candidates: tuple[Setting, ...] = ()
    chance: float = float("nan")


class Search:
    """Searches the smallest set of changes that holds what was published.

    Parameters
    ----------
    scorer : Scorer
        Scores of the detector.
    figures : Figures
        How figures are computed from scores.
    match : ScoreMatch or None
        The authors' scores.
    tolerance : Tolerance
        What counts as the same.
    max_samples : int
        Images of the subset.
    max_changes : {1, 2}
        Largest number of changes in a set.
    """

    def __init__(
        self,
        scorer: Scorer,
        figures: Figures,
        match: ScoreMatch | None = None,
        tolerance: Tolerance | None = None,
        *,
        max_samples: int = 512,
        max_changes: int = 2,
    ) -> None:
        self.scorer, self.figures, self.match = scorer, figures, match
        self.tolerance = tolerance or Tolerance()
        self.max_changes, self.max_samples = max_changes, max_samples
        self.published = np.array([one.value for one in figures.figures])
        #: Settings that the subset leaves possible, beyond those that are confirmed.
        self.unconfirmed = 0
        self._lacks: dict[Setting, bool] = {}
        self._kept: dict[Setting, Floats] = {}
        self._screened: dict[Setting, Tried] = {}
        self._noises: dict[Setting, Floats] = {}
        self._decoded: dict[Setting, tuple[Floats, float]] = {}
        self.half = np.array([one.half for one in figures.figures]) + self.tolerance.figure
        self.subset = self._subset(max_samples)

    def run(self, published: Floats | None = None) -> Found:
        """Search, and return what was found.

        Parameters
        ----------
        published : numpy.ndarray, optional
            Other values of the figures, shape (figures,), such as planted ones.
        """
        if published is not None:
            self.published = np.asarray(published, dtype=np.float64)
        self.unconfirmed = 0
        changes = self.scorer.material.options.changes
        given = self.given()
        noise = self._noise(())
        singles = self._screen([(one,) for one in changes], "one change")
        tried = [given, *self._best(singles, noise, "confirm one change")]
        undecided = self.match is None and noise is None
        if undecided or given.holds:
            return Found("undecided" if undecided else "noise", tuple(tried))
        held = [one for one in tried if one.holds]
        if not held and self.max_changes > 1:
            pairs = self._screen(pairs_of(changes), "two changes")
            tried += self._best(pairs, noise, "confirm two changes")
            held = [one for one in tried if one.holds]
        return self._judged(tried, held, noise)

    def given(self) -> Tried:
        """Measure what was given."""
        return self._confirm([()], "score as given")[0]

    def value(self, setting: Setting) -> Floats:
        """Return the figures of a setting, predicted from the subset where it is one."""
        return self._screen([setting], named(setting))[0].values

    def same(self, one: Setting, other: Setting) -> bool:
        """Whether two settings' figures differ by no more than rounding and decoders change."""
        return bool(self.alike([one], other))

    def alike(self, settings: Sequence[Setting], other: Setting) -> list[Setting]:
        """Return the settings that no figure tells apart from another one."""
        decoder = self.decoder(other)[0]
        exact = pair_noise(self._draws(()), self.half, 1.0, self.figures.seed, decoder)
        noise, value = Noise.of(exact), self.value(other)
        if noise is None:
            return []
        gaps = [one.values - value for one in self._screen(settings, named(other))]
        near = [
            bool(np.isfinite(gap).all()) and noise.p(gap) >= self.tolerance.excluded for gap in gaps
        ]
        return [one for one, same in zip(settings, near, strict=True) if same]

    def with_scores(self, match: ScoreMatch) -> Search:
        """Return the same search for an authors' scores."""
        options = {"max_samples": self.max_samples, "max_changes": self.max_changes}
        return Search(self.scorer, self.figures, match, self.tolerance, **options)

    def _judged(self, tried: list[Tried], held: list[Tried], noise: Noise | None) -> Found:
        if not held:
            return Found("none", tuple(tried))
        held = self._likely(held)
        order = sorted(held, key=lambda one: -self._weight(one))
        chance = self._chance(tried, noise)
        known = self.match is not None or chance <= 1 - self.tolerance.ci
        verdict = "named" if len(held) == 1 and known else "candidates"
        return Found(verdict, tuple(tried), tuple(one.setting for one in order), chance)

    def _likely(self, held: list[Tried]) -> list[Tried]:
        """Keep the sets that are not far less likely than the nearest one."""
        far = np.array([self._length(one) for one in held])
        kept = far <= (far.min() + RATIO if self.match is None else far.min() * CLOSER)
        return [one for one, stays in zip(held, kept, strict=True) if stays]

    def _length(self, one: Tried) -> float:
        """Return the distance from the scores, or the squared distance in noise from figures."""
        if self.match is not None:
            return one.distance
        near = self._noise(one.setting)
        gap = self.published - one.values
        return float(near.squared(near.whitened(gap))) if near else 0.0

    def _weight(self, one: Tried) -> float:
        """Return how well a setting that holds the figures explains them: for the order only."""
        if self.match is not None:
            return -one.distance
        return plausibility(one.setting) - 0.5 * self._length(one)

    def _chance(self, tried: Sequence[Tried], noise: Noise | None) -> float:
        if self.match is not None or noise is None:
            return float("nan")
        first = tried[0].values
        moves = np.array([one.values - first for one in tried[1:]])
        gap = self.published - first
        return chance_of_match(moves, gap, noise, self.tolerance.ci, self.figures.seed)

    def score_tolerance(self, setting: Setting = ()) -> float:
        """Root mean square difference of P(fake) up to which scores are the same."""
        return max(self.tolerance.score, SPREAD * self.decoder(setting)[1])

    def decoder(self, setting: Setting) -> tuple[Floats, float]:
        """Return what one gray level changes: figures, shape (DECODED, figures), and P(fake).

        The changes of the subset's logits are dealt out anew to all images, with either sign.
        """
        key = setting if self.match is None else image_part(setting)
        if key not in self._decoded:
            self._decoded[key] = self._decode(setting)
        return self._decoded[key]

    def _decode(self, setting: Setting) -> tuple[Floats, float]:
        again = combine((*setting, DECODER))
        self._score([setting, again], "one gray level", self.subset)
        given, rng = self.scorer.logits(setting), np.random.default_rng(self.figures.seed)
        moved = self.scorer.logits(again)
        there = np.flatnonzero(np.isfinite(given) & np.isfinite(moved))
        if not len(there):
            return np.zeros((0, len(self.published))), 0.0
        change = (moved - given)[there]
        p = sigmoid(moved[there]) - sigmoid(given[there])
        values = self.figures.values(given, setting)
        out = np.zeros((DECODED, len(values)))
        for k in range(DECODED if self.match is None else 0):
            dealt = rng.choice(change, len(given)) * rng.choice([-1, 1], len(given))
            out[k] = self.figures.values(given + dealt, setting) - values
        return np.nan_to_num(out), float(np.sqrt(np.mean(p**2)))

    # Which rows ----------------------------------------------------------------------------------

    def _rows_of(self, setting: Setting) -> Integers:
        """Return the rows that a setting may need: those given, or of its split."""
        rows = self.scorer.material.rows
        within = np.zeros(len(rows.label), dtype=bool)
        for part in self.figures.parts.values():
            within |= part.rows
        return rows.chosen([one for one in setting if one.factor == "split"], within)

    def _score(self, settings: Sequence[Setting], text: str, within: Integers | None) -> None:
        """Score the rows that settings need, of those in `within` if given."""
        groups: dict[bytes, tuple[list[Setting], Integers]] = {}
        for setting in settings:
            rows = self._rows_of(setting)
            rows = rows if within is None else np.intersect1d(rows, within)
            groups.setdefault(rows.tobytes(), ([], rows))[0].append(setting)
        for those, rows in groups.values():
            self.scorer.score(those, rows, text)

    def _subset(self, max_samples: int) -> Integers:
        """Draw whole videos of each split, until it has enough images."""
        splits = [(one,) for one in self.scorer.material.options.changes if one.factor == "split"]
        everything = np.unique(np.concatenate([*map(self._rows_of, [(), *splits])]))
        material = self.scorer.material
        table = material.data.samples.table.iloc[everything]
        table = table.assign(row=everything, code=material.rows.video[everything])
        # Without a split, what was given is one.
        keys = table["split"] if splits else pd.Series("", index=table.index)
        kept = []
        for _, part in table.groupby(keys, sort=False):
            videos = part.drop_duplicates("code").sort_values("code")
            counts = np.asarray(part.groupby("code").size(), dtype=np.int64)
            chosen = videos["code"].to_numpy()[
                first_videos(videos, counts, max_samples, self.figures.seed)
            ]
            kept.append(part["row"].to_numpy()[np.isin(part["code"], chosen)])
        return np.sort(np.concatenate(kept))

    def _partial(self, setting: Setting) -> bool:
        """Whether the subset lacks some rows of a setting."""
        key = tuple(one for one in setting if one.factor == "split")
        if key not in self._lacks:
            self._lacks[key] = bool(len(np.setdiff1d(self._rows_of(key), self.subset)))
        return self._lacks[key]

    # Settings ------------------------------------------------------------------------------------

    def _screen(self, settings: Sequence[Setting], text: str) -> list[Tried]:
        """Predict the figures of settings from the subset."""
        plain = [rows_part(one) for one in settings]
        self._score([(), *plain], text, None)
        self._score(settings, text, self.subset)
        for one in settings:
            if one not in self._screened:
                self._screened[one] = self._predicted(one)
        return [self._screened[one] for one in settings]

    def _predicted(self, setting: Setting) -> Tried:
        """Return all's figures without the change to the image, plus its effect on the subset."""
        plain, none = rows_part(setting), np.full(len(self.published), np.nan)
        whole = self.figures.values(self.scorer.logits(plain), plain)
        distance = self._distance(setting)
        if image_part(setting) and self._partial(setting):
            inside = self._mask(self.subset)
            changed = self.figures.values(self.scorer.logits(setting), setting, inside)
            whole = whole + changed - self.figures.values(self.scorer.logits(plain), plain, inside)
            distance = self._distance(setting, inside)
        elif image_part(setting):
            whole = self.figures.values(self.scorer.logits(setting), setting)
        return Tried(setting, whole, none, none, distance=distance)

    def _distance(self, setting: Setting, within: NDArray[np.bool_] | None = None) -> float:
        if self.match is None:
            return float("nan")
        rms, common = self.match.distance(self.scorer.logits(setting), setting, within)
        # Other images are no nearer, however alike the scores of those in common are.
        return rms if common >= COMMON or within is not None else 1.0 + rms - common

    def _best(self, screened: list[Tried], noise: Noise | None, text: str) -> list[Tried]:
        """Confirm the settings that may hold the figures on all images; the others stay."""
        far = np.array([self._far(one, noise) for one in screened])
        order = np.argsort(far, kind="stable")
        self.unconfirmed += max(0, int((far <= FAR).sum()) - CONFIRMED)
        # Where the subset is all there is, to confirm costs little.
        always = ALWAYS if self._partial(()) else CONFIRMED
        near = [k for i, k in enumerate(order[:CONFIRMED]) if far[k] <= FAR or i < always]
        chosen = {int(k) for k in near if np.isfinite(far[k])}
        confirmed = iter(self._confirm([screened[k].setting for k in sorted(chosen)], text))
        return [next(confirmed) if k in chosen else one for k, one in enumerate(screened)]

    def _far(self, one: Tried, noise: Noise | None) -> float:
        """Return how far predicted figures are, in standard errors of noise and subset."""
        if self.match is not None:
            return one.distance / (3 * self.score_tolerance())
        if noise is None or not np.isfinite(one.values).all():
            return 0.0 if noise is None and len(one.setting) == 1 else np.inf
        spread = np.std(self._pair_noise(()), axis=0)
        if image_part(one.setting) and self._partial(one.setting):
            spread = np.hypot(spread, self._subset_error(one.setting))
        # Noise of another setting may be wider: twice that of the given one is allowed for.
        gap = (self.published - one.values) / np.maximum(2 * spread, 1e-9)
        return float(np.sqrt(np.mean(gap**2)))

    def _subset_error(self, setting: Setting) -> Floats:
        plain, inside = rows_part(setting), self._mask(self.subset)
        few = Figures(
            self.figures.rows, self.figures.figures, self.figures.parts, FEW, self.figures.seed
        )
        changed = few.draws(self.scorer.logits(setting), setting, inside)
        draws = changed - few.draws(self.scorer.logits(plain), plain, inside)
        kept = draws[np.isfinite(draws).all(axis=1)]
        return np.std(kept, axis=0) if len(kept) > 1 else np.full(len(self.published), np.inf)

    def _confirm(self, settings: Sequence[Setting], text: str) -> list[Tried]:
        self._score(settings, text, None)
        return [self._confirmed(one) for one in settings]

    def _confirmed(self, setting: Setting) -> Tried:
        logits = self.scorer.logits(setting)
        values = self.figures.values(logits, setting)
        low, high = self._bounds(setting)
        distance = self._distance(setting)
        noise = self._noise(setting)
        gap = self.published - values
        known = noise is not None and bool(np.isfinite(gap).all()) and len(gap) > 0
        p = noise.p(gap) if known and noise else float("nan")
        holds = p >= self.tolerance.excluded
        if self.match is not None:
            holds = distance <= self.score_tolerance(setting)
        counted = self.figures.counted(logits, setting)
        return Tried(setting, values, low, high, p, distance, bool(holds), True, counted)

    def _bounds(self, setting: Setting) -> tuple[Floats, Floats]:
        draws = self._draws(setting)
        tail = 100 * (1 - self.tolerance.ci) / 2
        out = np.full((2, draws.shape[1]), np.nan)
        for k, column in enumerate(draws.T):
            kept = column[np.isfinite(column)]
            if len(kept):
                out[:, k] = np.percentile(kept, [tail, 100 - tail])
        return out[0], out[1]

    def _draws(self, setting: Setting) -> Floats:
        """Return the figures of a setting on cluster resamples; it must be scored on all images."""
        if setting not in self._kept:
            self._kept[setting] = self.figures.draws(self.scorer.logits(setting), setting)
        return self._kept[setting]

    def _noise(self, setting: Setting) -> Noise | None:
        return Noise.of(self._pair_noise(setting), largest=self.tolerance.shared < 1)

    def _pair_noise(self, setting: Setting) -> Floats:
        if setting not in self._noises:
            half = self.half
            if self.tolerance.shared < 1:
                # Near 1, resamples vary less than samples do: by one image at least.
                half = half + self.figures.steps(self.scorer.logits(setting), setting)
            self._noises[setting] = pair_noise(
                self._draws(setting),
                half,
                self.tolerance.shared,
                self.figures.seed,
                self.decoder(setting)[0],
            )
        return self._noises[setting]

    def _mask(self, rows: Integers) -> NDArray[np.bool_]:
        out = np.zeros(self.scorer.n, dtype=bool)
        out[rows] = True
        return out
