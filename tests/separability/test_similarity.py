from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probe.errors import ProbeError
from probe.separability import Similarity, compare_features
from probe.separability.similarity import cka, gram_of
from tests.separability.making import write_store


def slow_hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. (2012), eq. 4, word for word."""
    n = len(k)
    k, m, one = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
    trace = np.trace(k @ m)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (trace + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def slow_cka(x: np.ndarray, y: np.ndarray) -> float:
    k, m = x @ x.T, y @ y.T
    return slow_hsic(k, m) / np.sqrt(slow_hsic(k, k) * slow_hsic(m, m))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_cka_and_its_jackknife_are_the_slow_formula(seed: int, units: int) -> None:
    rng = np.random.default_rng(seed)
    clusters = np.r_[np.arange(6), rng.integers(0, 6, 18)]
    x = rng.normal(size=(24, units))
    y = x[:, :1] * rng.normal(size=(1, 3)) + rng.normal(size=(24, 3))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    found, low, high = cka(gram_of(x, clusters), gram_of(y, clusters), clusters)
    assert found == pytest.approx(slow_cka(x, y), abs=1e-9)
    # Centered once: the estimator itself does not depend on the origin.
    left = np.array([slow_cka(x[clusters != c], y[clusters != c]) for c in range(6)])
    half = stats.t.ppf(0.975, 5) * np.sqrt(5 / 6 * ((left - left.mean()) ** 2).sum())
    assert (low, high) == pytest.approx((found - half, found + half), abs=1e-7)


def test_cka_knows_rotation_and_scale_from_noise() -> None:
    rng = np.random.default_rng(0)
    clusters = np.arange(200) // 4
    x = rng.normal(size=(200, 5))
    turned = 3 * x @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + 7
    one = gram_of(x, clusters)
    assert cka(one, gram_of(turned, clusters), clusters)[0] == pytest.approx(1, abs=1e-9)
    found, low, high = cka(one, gram_of(rng.normal(size=(200, 300)), clusters), clusters)
    # The plain estimate of unrelated features of 300 units and 200 samples is far above 0.
    assert abs(found) < 0.05 and low < 0 < high


def test_cka_of_gaussians_has_a_closed_form() -> None:
    """For Y = X A + ε it is |Σxy|² / (|Σxx| |Σyy|) in Frobenius norms, however few samples."""
    rng = np.random.default_rng(2)
    root, mixing = rng.normal(size=(6, 6)), rng.normal(size=(6, 40))
    sigma = root @ root.T
    cross, other = sigma @ mixing, mixing.T @ sigma @ mixing + 144 * np.eye(40)
    expected = (cross**2).sum() / (np.linalg.norm(sigma) * np.linalg.norm(other))
    found = []
    for _ in range(60):
        x = rng.normal(size=(60, 6)) @ root.T
        y = x @ mixing + 12 * rng.normal(size=(60, 40))
        clusters = np.arange(60) // 2
        found.append(cka(gram_of(x, clusters), gram_of(y, clusters), clusters)[0])
    error = np.std(found) / np.sqrt(60)
    assert 0.3 < expected < 0.95
    assert np.mean(found) == pytest.approx(expected, abs=4 * error + 0.01)


def test_constant_features_are_like_nothing() -> None:
    clusters = np.arange(40) // 4
    one, flat = (
        gram_of(np.random.default_rng(0).normal(size=(40, 3)), clusters),
        gram_of(np.ones((40, 3)), clusters),
    )
    assert cka(one, flat, clusters) == (0, 0, 0) and cka(flat, flat, clusters) == (0, 0, 0)


def test_no_interval_below_five_clusters() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    clusters = np.arange(40) // 10
    found, low, high = cka(gram_of(x, clusters), gram_of(x, clusters), clusters)
    assert found == pytest.approx(1) and np.isnan(low) and np.isnan(high)


def stores(tmp_path, n: int = 96):
    rng = np.random.default_rng(0)
    label, identity = np.arange(n) % 2, [f"p{i // 8}" for i in range(n)]
    x = rng.normal(size=(n, 4))
    given = {"dataset": ["d"] * n, "label": label, "identity": identity}
    one = write_store(tmp_path / "a.zarr", {"fc": x, "conv": x[:, :2]}, name="a", **given)
    two = write_store(tmp_path / "b.zarr", {"fc": x[:, ::-1]}, name="b", **given)
    return one, two


def test_similarity_of_stores_by_layer(tmp_path) -> None:
    one, two = stores(tmp_path)
    found = compare_features({"one": one, "two": two})
    assert found.data["cka"].sel(layer="fc", detector="one", other="two") == pytest.approx(1)
    assert np.isnan(found.data["cka"].sel(layer="conv", detector="one", other="two"))
    assert found.data["cka"].sel(layer="conv", detector="one", other="one") == pytest.approx(1)
    assert found.data.attrs["n_clusters"] == 12
    found.save(tmp_path / "s.zarr")
    again = Similarity.open(tmp_path / "s.zarr")
    frame = again.to_dataframe()
    assert list(frame[["layer", "detector", "other"]].itertuples(index=False, name=None)) == [
        ("fc", "one", "two")
    ]


def test_similarity_wants_two_stores_of_the_same_samples(tmp_path) -> None:
    one, _ = stores(tmp_path)
    with pytest.raises(ProbeError, match="two or more of different labels"):
        compare_features([one])
    with pytest.raises(ProbeError, match="two or more of different labels"):
        compare_features([one, one])
    other = write_store(
        tmp_path / "c.zarr",
        {"fc": np.zeros((8, 2))},
        dataset=["d"] * 8,
        label=np.arange(8) % 2,
        identity=["p"] * 8,
        name="c",
    )
    with pytest.raises(ProbeError, match="holds other samples than that of 'a'"):
        compare_features([one, other])
