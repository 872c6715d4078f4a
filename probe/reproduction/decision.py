"""Decision: which settings hold published figures, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.stats import Floats

__all__ = ["DECOYS", "Noise", "chance_of_match", "pair_noise"]

#: Figures drawn to estimate how often a match is luck.
DECOYS = 400

#: Noise differences that are drawn for the same images.
SAME = 2000


def pair_noise(
    draws: Floats,
    half: Floats,
    shared: float = 0.0,
    seed: int = 0,
    decoder: Floats | None = None,
) -> Floats:
    """Return differences between published and measured figures that are noise alone.

    A published figure comes from a sample of its own. Two samples of this size that share a part
    `shared` of their images differ like two bootstrap resamples times sqrt(1 − shared). Rounding
    adds a uniform difference, and other decoders what they change.

    Parameters
    ----------
    draws : numpy.ndarray
        Figures on cluster resamples, shape (resamples, figures); NaN rows are left out. May be
        empty if `shared` is 1.
    half : numpy.ndarray
        Half a unit of the last digit, shape (figures,).
    shared : float, default 0
        Share of images that both samples have in common, in [0, 1].
    seed : int, default 0
        Random seed.
    decoder : numpy.ndarray, optional
        Differences of the figures by other decoders, shape (any, figures).

    Returns
    -------
    numpy.ndarray
        Shape (resamples, figures). Empty if there are no draws and `shared` is below 1.
    """
    rng = np.random.default_rng(seed)
    if shared >= 1:
        differences = np.zeros((SAME, len(half)))
    else:
        kept = draws[np.isfinite(draws).all(axis=1)]
        if len(kept) < 2:
            return np.empty((0, len(half)))
        # Each against the one half the resamples away: every resample is used twice.
        differences = (kept - np.roll(kept, len(kept) // 2, axis=0)) * np.sqrt(1 - shared)
    if decoder is not None and len(decoder):
        # Few draws give the covariance, but not the tails.
        spread = np.atleast_2d(np.cov(decoder.T))
        differences = differences + rng.multivariate_normal(
            decoder.mean(axis=0), spread, len(differences), method="eigh"
        )
    return np.asarray(differences + rng.uniform(-1, 1, differences.shape) * half)


@dataclass(frozen=True)
class Noise:
    """The distribution of noise differences, whitened.

    Attributes
    ----------
    root : numpy.ndarray
        Matrix that whitens a difference, shape (figures, figures).
    lengths : numpy.ndarray
        Squared lengths of noise differences once whitened, ascending.
    largest : bool
        Whether a length is that of the largest figure, not of all together.
    """

    root: Floats
    lengths: Floats
    largest: bool = False

    @classmethod
    def of(cls, noise: Floats, largest: bool = False) -> Noise | None:
        """Return the noise of differences, shape (n, figures); None without any.

        Resamples of few people do not give a covariance that can be inverted: with `largest`,
        figures are only scaled, and the largest one decides.
        """
        if not len(noise):
            return None
        if largest:
            scale = np.diag(1 / np.maximum(noise.std(axis=0), 1e-9))
            return cls(scale, np.sort(((noise @ scale) ** 2).max(axis=1)), True)
        covariance = np.atleast_2d(np.cov(noise.T))
        covariance = covariance + np.diag(1e-6 * np.diag(covariance) + 1e-12)
        values, vectors = np.linalg.eigh(covariance)
        root = (vectors / np.sqrt(np.maximum(values, 1e-12))).T
        return cls(root, np.sort(((noise @ root.T) ** 2).sum(axis=1)))

    def whitened(self, differences: Floats) -> Floats:
        """Return whitened differences, shape (..., figures)."""
        return np.asarray(differences @ self.root.T)

    def squared(self, whitened: Floats) -> Floats:
        """Return squared lengths of whitened differences, shape (...,)."""
        squares = whitened**2
        return np.asarray(squares.max(axis=-1) if self.largest else squares.sum(axis=-1))

    def p(self, difference: Floats) -> float:
        """Return the share of noise differences that are at least as far as this one."""
        length = float(self.squared(self.whitened(difference)))
        beyond = len(self.lengths) - int(np.searchsorted(self.lengths, length * (1 - 1e-12)))
        return (beyond + 1) / (len(self.lengths) + 1)

    def bound(self, ci: float) -> float:
        """Return the squared length that a share `ci` of noise does not exceed."""
        return float(np.quantile(self.lengths, ci))


def chance_of_match(
    moves: Floats, gap: Floats, noise: Noise, ci: float = 0.95, seed: int = 0
) -> float:
    """Estimate how often figures as far away as the published ones are matched by luck.

    Figures are drawn at .5 to 1.5 times the distance of the published ones, on the same side, in
    directions that are spread as the tried settings are. Counted are those of which at least one
    setting is within noise.

    Parameters
    ----------
    moves : numpy.ndarray
        How far each tried setting moves the figures, shape (settings, figures).
    gap : numpy.ndarray
        Published figures minus those as given, shape (figures,).
    noise : Noise
        Noise of the figures.
    ci : float, default 0.95
        Confidence level of a match.
    seed : int, default 0
        Random seed.

    Returns
    -------
    float
        Share in [0, 1]; NaN without settings.
    """
    moves = noise.whitened(moves[np.isfinite(moves).all(axis=1)])
    away = noise.whitened(gap)
    if not len(moves):
        return float("nan")
    decoys = _decoys(moves, away, np.random.default_rng(seed))
    bound = noise.bound(ci)
    kept = decoys[noise.squared(decoys) > bound]
    if not len(kept):
        return 1.0
    nearest = [float(noise.squared(moves - one).min()) for one in kept]
    return float(np.mean(np.asarray(nearest) <= bound))


def _decoys(moves: Floats, away: Floats, rng: np.random.Generator) -> NDArray[np.float64]:
    spread = moves.T @ moves / len(moves) + np.eye(len(away))
    drawn = rng.multivariate_normal(np.zeros(len(away)), spread, DECOYS)
    drawn *= np.where(drawn @ away < 0, -1, 1)[:, None]
    length = np.linalg.norm(away) * rng.uniform(0.5, 1.5, DECOYS)
    size = np.maximum(np.linalg.norm(drawn, axis=1), 1e-12)
    return np.asarray(drawn * (length / size)[:, None])
