"""Directions of forgery methods: differences between fakes and real images, and what they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from probe.stats import Floats

__all__ = ["Differences", "differences_of"]

#: Resamples per block.
BLOCK = 50


@dataclass(frozen=True)
class Differences:
    """Real-to-fake differences of methods, each against the real images of its own dataset.

    What is specific to a dataset (camera, people) is in both means and cancels.

    Attributes
    ----------
    names : tuple of (str, str)
        Dataset and forgery method of each difference.
    rows : numpy.ndarray
        Shape (rows, axes): mean features per person, dataset and method (or real).
    weights : numpy.ndarray
        Shape (methods, rows): a difference is ``weights @ rows``; each person has the same weight.
    people : numpy.ndarray
        Shape (rows,), codes of the person of each row.
    """

    names: tuple[tuple[str, str], ...]
    rows: Floats
    weights: Floats
    people: NDArray[np.int64]

    def products(self, counts: Floats | None = None) -> Floats:
        """Return unbiased inner products of differences, shape (resamples, methods, methods).

        Only pairs of different people are used. Their noise is independent, so that the expected
        square of a zero difference is 0.

        Parameters
        ----------
        counts : numpy.ndarray, optional
            Shape (resamples, people), multiplicity of each person.
        """
        c = np.ones((1, int(self.people.max()) + 1)) if counts is None else counts
        blocks = [self._products(c[i : i + BLOCK]) for i in range(0, len(c), BLOCK)]
        return np.concatenate(blocks)

    def _products(self, counts: Floats) -> Floats:
        """Sum over all pairs of rows, minus pairs of one person; fakes and reals averaged apart."""
        n, (methods, _) = len(counts), self.weights.shape
        of_rows = counts[:, None, self.people]
        sides = [np.maximum(sign * self.weights, 0) * of_rows for sign in (1, -1)]
        sums = [
            (side.reshape(n * methods, -1) @ self.rows).reshape(n, methods, -1) for side in sides
        ]
        sizes = [side.sum(axis=2) for side in sides]
        same, together = self._same_person()
        total = np.zeros((n, methods, methods))
        for i, j, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
            top = sums[i] @ sums[j].transpose(0, 2, 1) - _within(sides[i], same, sides[j])
            bottom = sizes[i][:, :, None] * sizes[j][:, None, :]
            bottom = bottom - _within(sides[i], together, sides[j])
            known = bottom > 1e-9 * (sizes[i].max() * sizes[j].max() + 1e-300)
            total += sign * np.divide(top, bottom, out=np.full(top.shape, np.nan), where=known)
        return total

    def _same_person(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return inner products between rows of the same person, and a mask of these pairs."""
        member = sparse.csr_array(
            (np.ones(len(self.people)), (np.arange(len(self.people)), self.people))
        )
        first, second = (member @ member.T).nonzero()
        products = np.einsum("ij,ij->i", self.rows[first], self.rows[second])
        shape = (len(self.people), len(self.people))
        return (
            sparse.csr_array((products, (first, second)), shape=shape),
            sparse.csr_array((np.ones(len(first)), (first, second)), shape=shape),
        )

    def specific_share(self, products: Floats) -> Floats:
        """Return the share of the squared differences that methods do not share, (resamples,).

        1 − (mean product of two methods / mean square). In [0, 1] up to noise: 0 if all differences
        are the same vector, 1 if they are orthogonal on average.
        """
        own, shared = _own_and_shared(products)
        ratio = np.divide(shared, own, out=np.full(own.shape, np.nan), where=own > 0)
        return np.asarray(1 - ratio)

    def shared_cosine(self, products: Floats) -> Floats:
        """Return the mean cosine between methods, (resamples,); NaN if a difference is zero."""
        squares = np.einsum("rii->ri", products)
        size = np.sqrt(np.where(squares > 0, squares, np.nan))
        cosine = products / (size[:, :, None] * size[:, None, :])
        off = ~np.eye(products.shape[1], dtype=bool)
        return (
            np.asarray(cosine[:, off].mean(axis=1)) if off.any() else np.full(len(cosine), np.nan)
        )

    def angle_share(self) -> tuple[float, float]:
        """Return the squared cosine between label direction and subspace of methods, and its null.

        The label direction is the mean difference; the subspace is spanned by the differences minus
        that mean. The null is the expectation for a random direction: dimensions of the subspace /
        axes. Unlike `specific_share`, both include the noise of the means.
        """
        found = self.weights @ self.rows
        mean = found.mean(axis=0)
        _, sizes, axes = np.linalg.svd(found - mean, full_matrices=False)
        kept = axes[sizes > 1e-9 * max(float(sizes.max(initial=0.0)), 1e-300)]
        square = float(mean @ mean)
        if len(found) < 2 or square == 0 or not len(kept):
            return np.nan, np.nan
        return float(((kept @ mean) ** 2).sum()) / square, len(kept) / len(mean)


def _within(one: Floats, matrix: sparse.csr_array, other: Floats) -> Floats:
    """Sum one[r, m, i] matrix[i, j] other[r, k, j], shape (resamples, methods, methods)."""
    flat = one.reshape(-1, one.shape[2])
    out = np.asarray((matrix.T @ flat.T).T).reshape(one.shape)
    return np.asarray(out @ other.transpose(0, 2, 1))


def _own_and_shared(products: Floats) -> tuple[Floats, Floats]:
    n = products.shape[1]
    own = np.einsum("rii->r", products) / n
    if n < 2:
        return own, np.full(len(products), np.nan)
    off = (products.sum(axis=(1, 2)) - own * n) / (n * (n - 1))
    return own, np.asarray(off)


def differences_of(
    values: NDArray[np.float32],
    labels: NDArray[np.bool_],
    datasets: NDArray[np.int64],
    methods: NDArray[Any],
    people: NDArray[np.int64],
    names: tuple[str, ...],
) -> Differences | None:
    """Average by person and set up the differences; None if no dataset has both labels.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n, axes), features.
    labels, datasets, methods, people : numpy.ndarray
        Shape (n,): True for fakes; dataset codes; method names; person codes.
    names : tuple of str
        Names of the datasets.
    """
    kinds = np.where(labels, methods.astype(object), "")
    keys = list(zip(datasets.tolist(), kinds.tolist(), people.tolist(), strict=True))
    known: dict[tuple[int, str, int], int] = {}
    row = np.array([known.setdefault(key, len(known)) for key in keys])
    member = sparse.csr_array((np.ones(len(row)), (row, np.arange(len(row)))))
    rows = (member @ values) / np.bincount(row)[:, None]
    of = list(known)
    groups, weights = [], []
    for dataset, kind in dict.fromkeys((d, k) for d, k, _ in of if k):
        fake = np.array([d == dataset and k == kind for d, k, _ in of])
        real = np.array([d == dataset and not k for d, k, _ in of])
        if real.any():
            groups.append((names[dataset], kind))
            weights.append(fake / fake.sum() - real / real.sum())
    if not groups:
        return None
    return Differences(
        tuple(groups), rows, np.array(weights), np.array([p for _, _, p in of], dtype=np.int64)
    )
