"""Print how often `probe_differences` calls detectors different that tell the same.

Two detectors see the same people; their features are drawn apart, with the label at the same
distance in both. Probes are ridge regressions of one penalty over five folds of people.

    python tools/calibrate_probe_differences.py [DRAWS]
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from probe.separability.features import pairs_of, resampled
from probe.stats import inverted_level

FRAMES, FOLDS, PENALTY = 4, 5, 0.1
#: People, units, distance of the label in one detector and in the other.
CASES = (
    (12, 16, 1.0, 1.0),
    (25, 16, 1.0, 1.0),
    (25, 16, 0.0, 0.0),
    (25, 64, 1.0, 1.0),
    (50, 128, 1.0, 1.0),
    (100, 16, 1.0, 1.0),
    (25, 16, 1.5, 1.0),
    (25, 16, 2.0, 1.0),
)


def scored(
    values: NDArray[np.float64], labels: NDArray[np.bool_], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Score every sample by a ridge regression on the other folds."""
    out = np.empty(len(labels))
    for fold in range(FOLDS):
        fitted = folds != fold
        center = values[fitted].mean(axis=0)
        x, y = values[fitted] - center, np.where(labels[fitted], 1.0, -1.0)
        gram = x.T @ x + PENALTY * len(x) * np.eye(x.shape[1])
        out[~fitted] = (values[~fitted] - center) @ np.linalg.solve(gram, x.T @ y)
    return out


def levels(case: tuple[int, int, float, float], seed: int) -> tuple[float, float]:
    """Return p of one draw, from the resamples as they are, and widened."""
    people, units, *distances = case
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), 2 * FRAMES)
    labels = np.tile(np.repeat([False, True], FRAMES), people)
    folds = (rng.permutation(people) % FOLDS)[person]
    pairs = []
    for distance in distances:
        values = 0.5 * rng.normal(size=(people, units))[person]
        values += rng.normal(size=values.shape)
        values[:, 0] += distance * labels
        pairs.append(pairs_of(labels, scored(values, labels, folds), person))
    estimate = float(pairs[0].auroc()[0] - pairs[1].auroc()[0])
    draws = resampled(lambda c: pairs[0].auroc(c) - pairs[1].auroc(c), people, 1000, seed)
    widened = estimate + np.sqrt(1 + FOLDS / (FOLDS - 1)) * (draws - estimate)
    one, other = (float(inverted_level(each[None])[0]) for each in (draws, widened))
    return one, other


def main() -> None:
    """Print a table of Markdown."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    print(f"| people, units, δ, δ | resampled only | widened | ({n} draws)\n|---|---|---|")
    for case in CASES:
        p = np.array([levels(case, seed) for seed in range(n)])
        one, other = (p <= 0.05).mean(axis=0)
        print(
            f"| {', '.join(f'{part:g}' for part in case)} | {one:.3f} | {other:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()
