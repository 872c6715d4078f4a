from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples

from probe.separability.distances import distances, kernel_of, neighbors_of, silhouettes
from probe.stats import cluster_counts


def drawn(seed: int, n: int = 40, n_clusters: int = 8):
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.5
    labels[:4] = True, True, False, False
    clusters = np.r_[np.arange(n_clusters), rng.integers(0, n_clusters, n - n_clusters)]
    values = rng.normal(size=(n, 3)) + labels[:, None]
    return values, labels, clusters


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_silhouettes_are_scikit_learns_for_every_labeling(seed: int) -> None:
    values, labels, _ = drawn(seed)
    turned = np.random.default_rng(seed).permutation(labels)
    found = silhouettes(distances(values), np.stack([labels, turned]))
    np.testing.assert_allclose(found[0], silhouette_samples(values, labels), atol=1e-9)
    np.testing.assert_allclose(found[1], silhouette_samples(values, turned), atol=1e-9)


def test_a_sample_alone_with_its_label_has_silhouette_zero() -> None:
    values = np.arange(5.0)[:, None]
    labels = np.array([True, False, False, False, False])
    assert silhouettes(distances(values), labels)[0, 0] == 0


def test_purity_looks_at_other_people_only_and_weighs_labels_alike() -> None:
    values, labels, clusters = drawn(3)
    found = neighbors_of(distances(values), clusters, k=4)
    assert found is not None
    for i in range(40):
        order = sorted(
            (j for j in range(40) if clusters[j] != clusters[i]),
            key=lambda j: np.linalg.norm(values[i] - values[j]),
        )[:4]
        assert set(order) == set(found.index[i])
        weight = {j: 1 / (labels == labels[j]).sum() for j in order}
        same = sum(w for j, w in weight.items() if labels[j] == labels[i])
        assert found.purity(labels)[0, i] == pytest.approx(same / sum(weight.values()))


def test_purity_of_nothing_is_one_half_however_many_fakes_there_are() -> None:
    rng = np.random.default_rng(0)
    labels, values = rng.random(1500) < 0.15, rng.normal(size=(1500, 2))
    found = neighbors_of(distances(values), np.arange(1500))
    assert found is not None
    purity = found.purity(labels)[0]
    assert (purity[labels].mean() + purity[~labels].mean()) / 2 == pytest.approx(0.5, abs=0.03)


def test_too_few_of_other_people_give_no_neighbors() -> None:
    assert neighbors_of(distances(np.arange(12.0)[:, None]), np.arange(12) // 6, k=7) is None


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_mmd_is_the_double_loop_over_pairs_of_different_people(seed: int) -> None:
    values, labels, clusters = drawn(seed)
    kernel = kernel_of(distances(values), labels, clusters)
    counts = np.vstack([np.ones(8), cluster_counts(8, 3, seed)])
    for c, found in zip(counts, kernel.mmd2(counts=counts), strict=True):
        sums, pairs = np.zeros((2, 2)), np.zeros((2, 2))
        for i in range(40):
            for j in range(40):
                if clusters[i] == clusters[j]:
                    continue
                w = c[clusters[i]] * c[clusters[j]]
                k = np.exp(-((values[i] - values[j]) ** 2).sum() / (2 * kernel.bandwidth**2))
                sums[int(labels[i]), int(labels[j])] += w * k
                pairs[int(labels[i]), int(labels[j])] += w
        if (np.diag(pairs) == 0).any() or pairs[0, 1] == 0:
            assert np.isnan(found)
            continue
        mean = sums / pairs
        assert found == pytest.approx(mean[0, 0] + mean[1, 1] - 2 * mean[1, 0], abs=1e-9)


def test_mmd_of_gaussians_has_a_closed_form() -> None:
    """E k = (s / (s + 2))^(d/2) exp(−|Δ|² / (2 (s + 2))) for N(0, I), N(Δ, I), s = σ²."""
    rng, d, delta = np.random.default_rng(0), 4, 1.0
    labels = np.arange(2000) % 2 == 1
    values = rng.normal(size=(2000, d))
    values[labels, 0] += delta
    kernel = kernel_of(distances(values), labels, np.arange(2000))
    s = kernel.bandwidth**2
    expected = 2 * (s / (s + 2)) ** (d / 2) * (1 - np.exp(-(delta**2) / (2 * (s + 2))))
    assert kernel.mmd2()[0] == pytest.approx(expected, rel=0.08)


def test_mmd_of_one_distribution_is_zero_on_average_though_frames_depend() -> None:
    rng, found = np.random.default_rng(1), []
    for _ in range(150):
        clusters = np.repeat(np.arange(10), 6)
        labels = clusters % 2 == 1
        values = rng.normal(size=(10, 3))[clusters] + 0.1 * rng.normal(size=(60, 3))
        found.append(kernel_of(distances(values), labels, clusters).mmd2()[0])
    standard_error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * standard_error


def test_relabeled_rows_equal_a_kernel_of_relabeled_samples() -> None:
    values, labels, clusters = drawn(5)
    distance = distances(values)
    kernel = kernel_of(distance, labels, clusters)
    turned = np.where(clusters % 2 == 0, ~labels, labels)
    first = np.unique(kernel.row, return_index=True)[1]
    again = kernel_of(distance, turned, clusters)
    assert kernel.mmd2(turned[first])[0] == pytest.approx(again.mmd2()[0])
