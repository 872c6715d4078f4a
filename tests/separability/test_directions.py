from __future__ import annotations

import numpy as np
import pytest

from probe.separability.directions import differences_of
from probe.stats import cluster_counts


def drawn(seed: int, shifts: np.ndarray, people: int = 12, each: int = 2, shared: bool = False):
    """Draw datasets, each of one method that adds its shift; people are in one or in all."""
    rng = np.random.default_rng(seed)
    rows = [
        (d, y, p if shared else d * people + p)
        for d in range(len(shifts))
        for p in range(people)
        for y in (0, 1)
        for _ in range(each)
    ]
    datasets, labels, who = (np.array(column) for column in zip(*rows, strict=True))
    faces = rng.normal(size=(who.max() + 1, shifts.shape[1]))
    values = (
        faces[who]
        + labels[:, None] * shifts[datasets]
        + rng.normal(size=(len(rows), shifts.shape[1]))
    )
    methods = np.array([f"m{d}" if y else "real" for d, y, _ in rows], dtype=object)
    names = tuple(f"d{d}" for d in range(len(shifts)))
    return values.astype(np.float32), labels == 1, datasets, methods, who, names


def slow_product(found, i: int, j: int, counts: np.ndarray) -> float:
    """Mean inner product of (fake − real) with (fake − real) over rows of different people."""
    total = 0.0
    for a, sign_a in (((found.weights[i] > 0), 1), ((found.weights[i] < 0), -1)):
        for b, sign_b in (((found.weights[j] > 0), 1), ((found.weights[j] < 0), -1)):
            top = bottom = 0.0
            for r in np.flatnonzero(a):
                for s in np.flatnonzero(b):
                    if found.people[r] != found.people[s]:
                        w = counts[found.people[r]] * counts[found.people[s]]
                        top += w * float(found.rows[r] @ found.rows[s])
                        bottom += w
            total += sign_a * sign_b * top / bottom
    return total


@pytest.mark.parametrize("shared", [False, True])
def test_products_are_the_double_loop(shared: bool) -> None:
    given = drawn(0, np.array([[1.0, 0, 0], [0.5, 0.5, 0]]), people=5, shared=shared)
    found = differences_of(*given)
    assert found is not None and found.names == (("d0", "m0"), ("d1", "m1"))
    n = int(found.people.max()) + 1
    counts = np.vstack([np.ones(n), cluster_counts(n, 3, 0)])
    products = found.products(counts)
    for c, table in zip(counts, products, strict=True):
        expected = [[slow_product(found, i, j, c) for j in (0, 1)] for i in (0, 1)]
        np.testing.assert_allclose(table, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("shifts", "share", "cosine"),
    [
        (np.tile([2.0, 0, 0, 0], (4, 1)), 0.0, 1.0),
        (2 * np.eye(4), 1.0, 0.0),
        # a + b_m with |a|² = |b_m|² and b_m at right angles: half is shared.
        (np.hstack([np.ones((4, 1)), np.eye(4)]), 0.5, 0.5),
        # One direction, two strengths: 1 − mean(s t) / mean(s²).
        (np.array([[1.0, 0], [1.0, 0], [2.0, 0], [2.0, 0]]), 1 - (13 / 6) / 2.5, 1.0),
    ],
)
def test_shares_of_planted_differences(shifts: np.ndarray, share: float, cosine: float) -> None:
    found = differences_of(*drawn(1, shifts, people=150))
    assert found is not None
    products = found.products()
    assert found.specific_share(products)[0] == pytest.approx(share, abs=0.06)
    assert found.shared_cosine(products)[0] == pytest.approx(cosine, abs=0.06)


def test_a_difference_that_is_not_there_has_square_zero_on_average() -> None:
    squares = []
    for seed in range(120):
        found = differences_of(*drawn(seed, np.zeros((2, 3)), people=8))
        assert found is not None
        squares.append(found.products()[0, 0, 0])
    assert abs(np.mean(squares)) < 3 * np.std(squares) / np.sqrt(120)
    assert np.std(squares) > 0.05  # the plain square would be as large as that, and never below 0


def test_the_angle_between_label_and_methods() -> None:
    apart = np.hstack([np.full((3, 1), 5.0), np.eye(3)])
    found = differences_of(*drawn(2, apart, people=400))
    assert found is not None
    share, null = found.angle_share()
    assert share < 0.05 and null == pytest.approx(2 / 4)
    # Methods that do the same with different strength: the label direction is that of methods.
    found = differences_of(*drawn(2, np.outer([1.0, 2.0, 3.0], [1.0, 0, 0, 0]), people=400))
    assert found is not None and found.angle_share()[0] > 0.95


def test_no_dataset_with_both_labels_gives_nothing() -> None:
    values, labels, datasets, methods, who, names = drawn(0, np.eye(2))
    assert (
        differences_of(
            values[labels], labels[labels], datasets[labels], methods[labels], who[labels], names
        )
        is None
    )
