from __future__ import annotations

import numpy as np
import pytest

from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.plots import save_figure
from probe.plots.embedding import figures_of
from probe.separability import METHODS, Embeddings, embed_layers, preservation, projector
from tests.separability.making import write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three well separated groups of people's frames in 8 units."""
    rng = np.random.default_rng(0)
    n = 150
    group = np.arange(n) % 3
    values = rng.normal(size=(n, 8)) + 8 * np.eye(8)[group]
    return write_store(
        tmp_path_factory.mktemp("e") / "s.zarr",
        {"fc": values},
        dataset=["d"] * n,
        label=np.arange(n) % 2,
        identity=[f"p{i // 10}" for i in range(n)],
    )


@pytest.fixture(scope="module")
def found(store) -> Embeddings:
    return embed_layers(store, max_samples=100)


def test_pictures_keep_groups_apart_and_say_how_well(found: Embeddings) -> None:
    data = found.data
    assert list(data["method"].values) == ["pca", "umap", "tsne"] == list(METHODS)
    assert int(data["fitted"].sum()) == 100 and data.attrs["n_fitted"] == 100
    group = np.arange(150) % 3
    for method in METHODS:
        one = data.sel({"layer": "fc", "method": method})
        places = one["position"].values
        centers = np.stack([places[group == g].mean(axis=0) for g in range(3)])
        nearest = np.linalg.norm(places[:, None] - centers, axis=2).argmin(axis=1)
        # Projected samples too.
        assert (nearest == group).mean() > 0.95, method
        assert 0.85 < one["trustworthiness"] <= 1 and 0.2 < one["preservation"] <= 1


def test_the_same_seed_gives_the_same_picture_and_new_samples_find_their_place(store) -> None:
    for method in METHODS:
        one = embed_layers(store, ["fc"], [method], max_samples=100)
        two = embed_layers(store, ["fc"], [method], max_samples=100)
        np.testing.assert_array_equal(one.data["position"], two.data["position"])
        place = projector(store, "fc", method, max_samples=100)
        new = np.array(store["fc"]["activation"].values[:6], dtype=float) + 0.01
        near = one.data["position"].values[0, 0, :6]
        spread = np.ptp(one.data["position"].values[0, 0], axis=0).max()
        assert np.median(np.abs(place(new) - near)) < 0.1 * spread, method


def test_a_random_picture_is_not_to_be_trusted(store) -> None:
    rng = np.random.default_rng(0)
    values = np.asarray(store["fc"]["activation"].values, dtype=float)
    assert preservation(values, rng.normal(size=(150, 2)), 15) < 0.25
    assert preservation(values, values, 15) == 1


def test_preservation_is_the_share_of_common_neighbors() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 2))
    shares = []
    for i in range(30):
        near = [
            set(
                np.argsort([np.linalg.norm(v[i] - v[j]) if i != j else np.inf for j in range(30)])[
                    :4
                ]
            )
            for v in (x, y)
        ]
        shares.append(len(near[0] & near[1]) / 4)
    assert preservation(x, y, 4) == pytest.approx(np.mean(shares))


def test_one_unit_and_constant_units_have_a_picture(tmp_path) -> None:
    values = np.stack([np.arange(30.0), np.ones(30)], axis=1)
    store = write_store(
        tmp_path / "s.zarr",
        {"one": values[:, :1], "flat": values[:, 1:]},
        dataset=["d"] * 30,
        label=np.arange(30) % 2,
        identity=[f"p{i}" for i in range(30)],
    )
    data = embed_layers(store, methods=["pca"]).data
    assert np.isfinite(data["position"]).all()
    assert (data["position"].sel(layer="flat") == 0).all()
    assert data["trustworthiness"].sel(layer="one") == pytest.approx(1)


def test_files_and_figures(found: Embeddings, store, tmp_path) -> None:
    found.save(tmp_path / "e.zarr")
    again = Embeddings.open(tmp_path / "e.zarr")
    np.testing.assert_array_equal(again.data["position"], found.data["position"])
    frame = again.to_dataframe()
    assert len(frame) == 450 and set(frame.columns) == {
        "layer",
        "method",
        "sample",
        "x",
        "y",
        "fitted",
    }
    first = frame[(frame["method"] == "umap") & (frame["sample"] == "s7")].iloc[0]
    one = found.data["position"].sel({"method": "umap", "sample": "s7", "layer": "fc"})
    assert (first["x"], first["y"]) == tuple(one.values)
    figures = figures_of(again, store.samples)
    assert set(figures) == {f"embedding-fc-{method}" for method in METHODS}
    file = save_figure(figures["embedding-fc-umap"], tmp_path / "e.png", dpi=60)
    assert file.stat().st_size > 4000


def test_what_cannot_be_drawn_is_said(store, tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="'tsn' is not known.*Did you mean 'tsne'"):
        embed_layers(store, methods=["tsn"])
    with pytest.raises(ProbeError, match="max_samples=5 was given"):
        embed_layers(store, methods=["pca"], max_samples=5)
    place = projector(store, "fc", "pca")
    with pytest.raises(ProbeError, match=r"shape \(2, 3\) were given; this embedding takes"):
        place(np.zeros((2, 3)))
    with pytest.raises(ProbeError, match="not finite"):
        place(np.full((2, 8), np.inf))
    few = write_store(
        tmp_path / "f.zarr",
        {"fc": np.zeros((8, 2))},
        dataset=["d"] * 8,
        label=np.arange(8) % 2,
        identity=list("aabbccdd"),
    )
    with pytest.raises(StoreError, match="the store holds 8"):
        embed_layers(few, methods=["pca"])
