"""Importance and universality against the study's procedure, written out as plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from probe.datasets import Samples
from probe.datasets.dataset import Dataset
from probe.detectors import Detector, load_detector
from probe.errors import ProbeError, UnknownNameError
from probe.neurons import NeuronTable, Universality, neuron_importance, ranks, universal_neurons


def hidden_of(detector: Detector, part: Dataset, layer: str) -> torch.Tensor:
    """Values of a layer by a plain forward hook, shape (n, units)."""
    kept = []
    handle = detector.module.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: kept.append(output.detach().clone())
    )
    size = detector.spec.input_size
    with torch.inference_mode():
        detector.module(torch.from_numpy(part.array(range(len(part)), size)))
    handle.remove()
    return torch.cat(kept)


def authors_loop(detector: Detector, hidden: torch.Tensor, n_values: int) -> np.ndarray:
    """The study's score of every unit: PROTOCOL's point 4, value by value, in doubles."""
    net = detector.module.double()
    hidden = hidden.double()
    scores = []
    with torch.inference_mode():
        for unit in range(hidden.shape[1]):
            low = min(float(hidden[:, unit].min()), 1.0)
            high = max(float(hidden[:, unit].max()), 0.0)
            means = []
            for value in np.linspace(low, high, n_values):
                changed = hidden.clone()
                changed[:, unit] = value
                out = net.fc2(net.dropout(net.bn(changed)))[:, 0]
                means.append(float(torch.sigmoid(-out).mean()))
            scores.append(max(means) - min(means))
    detector.module.float()
    return np.array(scores)


@pytest.fixture(scope="module")
def shallownet(noise: Dataset) -> Detector:
    """ShallowNet whose BatchNorm and head are not at their initial values."""
    detector = load_detector("shallownet", input_size=48, seed=1)
    rng = torch.Generator().manual_seed(0)
    state = detector.module.state_dict()
    for name, low in (("bn.running_mean", 0.0), ("bn.running_var", 0.2), ("bn.weight", 0.1)):
        state[name].uniform_(low, 1.0, generator=rng)
    state["fc2.weight"].normal_(0, 0.05, generator=rng)
    # Scores in the middle of the sigmoid, where a difference of procedures would show.
    images = noise.select(split="test").array(range(48), 48)
    logits = detector.logits(images)
    state["fc2.weight"] /= 3 * float(logits.std())
    state["fc2.bias"] -= float(detector.logits(images).mean())
    return detector


@pytest.mark.slow
def test_authors_mode_is_the_authors_loop_on_all_1024_units(
    shallownet: Detector, noise: Dataset
) -> None:
    test = noise.select(split="test")
    table = neuron_importance(shallownet, test, "relu", mode="authors", n_untrained=0)
    assert table.data.sizes["unit"] == 1024
    for name, part in test.by_dataset().items():
        slow = authors_loop(shallownet, hidden_of(shallownet, part, "relu"), n_values=4)
        np.testing.assert_allclose(table.data["effect"].sel(dataset=name), slow, atol=1e-6, rtol=0)
    assert slow.max() > 1e-3


def test_authors_mode_scores_real_or_fake_as_asked(shallownet: Detector, noise: Dataset) -> None:
    part = noise.select(split="test", dataset="one")
    real, fake = (
        neuron_importance(
            shallownet, part, "relu", mode="authors", output=output, n_untrained=0
        ).data
        for output in ("p_real", "p_fake")
    )
    np.testing.assert_allclose(real["response"], 1 - fake["response"], atol=1e-6)
    np.testing.assert_allclose(real["effect"], fake["effect"], atol=1e-6)


def test_default_effect_of_an_affine_head_is_weight_times_range(noise: Dataset) -> None:
    """On the logit the closed form is |w| × range: the trivial explanation, exactly."""
    detector = load_detector("meso4", input_size=32, seed=4)
    part = noise.select(split="test", dataset="two")
    table = neuron_importance(detector, part, n_untrained=0)
    hidden = hidden_of(detector, part, "leaky").numpy()
    weight = detector.module.fc2.weight[0].detach().numpy()
    expected = np.abs(weight) * (hidden.max(axis=0) - hidden.min(axis=0))
    np.testing.assert_allclose(table.data["effect"].sel(dataset="two"), expected, rtol=1e-4)
    rising = table.data["slope"].sel(dataset="two").values > 0
    np.testing.assert_array_equal(rising, weight > 0)


def test_a_convolution_is_swept_by_rerunning(noise: Dataset) -> None:
    """Channels are set over the whole map, by a hook, one value at a time."""
    detector = load_detector("meso4", input_size=32, seed=4)
    part = noise.select(split="test", dataset="one").take(range(6))
    table = neuron_importance(detector, part, "conv4", n_values=3, n_untrained=0)
    images = torch.from_numpy(part.array(range(6), 32))
    for unit in (0, 7, 15):
        for dose in range(3):
            value = float(table.data["value"].values[0, unit, dose])

            def overwrite(
                module: object,
                inputs: object,
                output: torch.Tensor,
                u: int = unit,
                v: float = value,
            ) -> torch.Tensor:
                changed = output.clone()
                changed[:, u] = v
                return changed

            handle = detector.module.conv4.register_forward_hook(overwrite)
            mean = float(detector.logits(images).mean())
            handle.remove()
            assert float(table.data["response"].values[0, unit, dose]) == pytest.approx(
                mean, abs=1e-4
            )


def test_batches_do_not_change_the_table(noise: Dataset) -> None:
    detector = load_detector("meso4", input_size=32)
    part = noise.select(split="test")
    one, two = (neuron_importance(detector, part, batch_size=n).data for n in (5, 64))
    np.testing.assert_allclose(one["response"], two["response"], atol=1e-5)
    np.testing.assert_allclose(one["null_effect"], two["null_effect"], atol=1e-5)


def test_the_null_of_another_variant_is_reused_only_where_it_is_the_same(noise: Dataset) -> None:
    part = noise.select(split="test")
    first = neuron_importance(load_detector("meso4", input_size=32, seed=1), part)
    other = load_detector("meso4", input_size=32, seed=2)
    again = neuron_importance(other, part, null_of=first)
    fresh = neuron_importance(other, part)
    np.testing.assert_array_equal(again.data["null_effect"], fresh.data["null_effect"])
    np.testing.assert_array_equal(again.data["effect"], fresh.data["effect"])
    elsewhere = neuron_importance(other, part, null_of=first, output="p_fake")
    assert elsewhere.data.attrs["null_key"] != first.data.attrs["null_key"]
    assert not np.array_equal(elsewhere.data["null_effect"], first.data["null_effect"])


def test_a_table_survives_the_disk(noise: Dataset, tmp_path: Path) -> None:
    table = neuron_importance(load_detector("meso4", input_size=32), noise.select(split="test"))
    table.save(tmp_path / "n.zarr")
    again = NeuronTable.open(tmp_path / "n.zarr")
    for name in table.data.data_vars:
        np.testing.assert_array_equal(again.data[name], table.data[name])
    found = universal_neurons(again)
    found.save(tmp_path / "u.zarr")
    np.testing.assert_array_equal(
        Universality.open(tmp_path / "u.zarr").data["n_datasets"], found.data["n_datasets"]
    )
    for suffix in (".csv", ".parquet", ".tex", ".md"):
        assert table.export(tmp_path / f"n{suffix}").stat().st_size > 100
        assert found.export(tmp_path / f"u{suffix}").stat().st_size > 100


def test_bad_input_is_answered(noise: Dataset) -> None:
    detector = load_detector("meso4", input_size=32)
    with pytest.raises(UnknownNameError, match="Layer 'leeky' .* Did you mean 'leaky'"):
        neuron_importance(detector, noise, "leeky")
    with pytest.raises(UnknownNameError, match="(?i)measure 'acee' .* Did you mean 'ace'"):
        neuron_importance(detector, noise, measure="acee")
    with pytest.raises(UnknownNameError, match="(?i)mode 'author' .* Did you mean 'authors'"):
        neuron_importance(detector, noise, mode="author")
    with pytest.raises(ProbeError, match="n_values=1 was given"):
        neuron_importance(detector, noise, n_values=1)


@settings(max_examples=40)
@given(
    hnp.arrays(
        float,
        st.tuples(st.integers(2, 6), st.integers(2, 24)),
        elements=st.floats(0, 4, width=16),
    ),
    st.floats(0.05, 0.95),
)
def test_counts_are_those_of_sets(effects: np.ndarray, top: float) -> None:
    """Counting said with Python sets; every list has exactly its length."""
    datasets, units = effects.shape
    found = universal_neurons(table_of(effects), top, n_draws=20).data
    kept = max(1, int(units * top))
    lists = [set(sorted(range(units), key=lambda u: (-row[u], u))[:kept]) for row in effects]
    counts = [sum(u in chosen for chosen in lists) for u in range(units)]
    np.testing.assert_array_equal(found["n_datasets"], counts)
    np.testing.assert_array_equal(found["observed"], [counts.count(c) for c in range(datasets + 1)])
    assert float(found["independence"].sum()) == pytest.approx(units)


def test_the_same_effects_everywhere_are_universal_in_any_network() -> None:
    """What the nulls are for: equal rankings make half of the units universal without meaning."""
    effects = np.tile(np.arange(64.0), (6, 1))
    found = universal_neurons(table_of(effects, null=effects[None]), 0.5).data
    assert int(found["observed"][-1]) == 32 == int(found["untrained"][0, -1])
    assert float(found["independence"][-1]) == pytest.approx(1.0)
    assert float(found["independence_high"][-1]) < 10


def test_top_is_a_share() -> None:
    with pytest.raises(ProbeError, match="top=1.5 was given; it is a share"):
        universal_neurons(table_of(np.ones((2, 4))), 1.5)
    with pytest.raises(ProbeError, match="at least two datasets"):
        universal_neurons(table_of(np.ones((1, 4))))


def table_of(effects: np.ndarray, null: np.ndarray | None = None) -> NeuronTable:
    import xarray as xr

    dims = ("dataset", "unit")
    empty = np.zeros((0, *effects.shape))
    return NeuronTable(
        xr.Dataset(
            {
                "effect": (dims, effects),
                "rank": (dims, ranks(effects)),
                "null_effect": (("draw", *dims), empty if null is None else null),
            },
            coords={
                "dataset": [f"d{i}" for i in range(len(effects))],
                "unit": np.arange(effects.shape[1]),
            },
        )
    )


@pytest.fixture(scope="module")
def reals_first(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two datasets of FaceForensics++'s row counts over 64 files: 4,480 reals, then as many fakes.

    A video has 32 frames; its frames and those of other videos share files.
    """
    root, rng = tmp_path_factory.mktemp("reals-first"), np.random.default_rng(0)
    rows = []
    for dataset in ("one", "two"):
        for label in (0, 1):
            for k in range(16):
                pixels = rng.integers(0, 200, (32, 32, 3)) + 50 * label * (k % 3)
                file = root / f"{dataset}-{label}-{k}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
            rows += [
                {
                    "sample": f"{dataset}/{label}/{video:03d}/{frame:02d}",
                    "dataset": dataset,
                    "split": "test",
                    "label": label,
                    "method": dataset if label else "real",
                    "video": f"{video:03d}",
                    "identity": f"{video:03d}",
                    "source": "",
                    "frame": frame,
                    "path": f"{dataset}-{label}-{(7 * video + frame) % 16}.png",
                    "mask": "",
                    "digest": f"{dataset}-{label}-{(7 * video + frame) % 16}",
                }
                for video in range(140)
                for frame in range(32)
            ]
    return Dataset("ff", Samples(pd.DataFrame(rows)), root)


def test_authors_mode_draws_from_both_classes_where_tables_list_reals_first(
    reals_first: Dataset,
) -> None:
    detector = load_detector("meso4", input_size=32, seed=4)
    table = neuron_importance(
        detector,
        reals_first,
        mode="authors",
        n_untrained=0,
        n_random=0,
        n_resamples=20,
        n_permutations=499,
    ).data
    for name, part in reals_first.by_dataset().items():
        assert part.labels[:4480].sum() == 0 and part.labels[4480:].all()
        at = table.sel(dataset=name)
        drawn = part.select(sample=[str(one) for one in at["sample"].values])
        rows = drawn.samples.table
        assert len(drawn) == 30 * 64 and int(drawn.labels.sum()) == 960
        assert set(rows.groupby(["label", "video"]).size()) == {6, 7}
        hidden = hidden_of(detector, drawn, "leaky").double()
        varies = np.ptp(hidden.numpy(), axis=0) > 0
        assert varies.sum() > 8
        assert np.isfinite(at["p"].values[varies]).all()
        assert np.isfinite(at["contribution"].values).all()
        effect, contribution = slow_scores(detector, hidden, drawn.labels == 1)
        np.testing.assert_allclose(at["effect"], effect, atol=1e-6, rtol=0)
        np.testing.assert_allclose(at["contribution"], contribution, atol=1e-6, rtol=0)
        assert np.abs(contribution).max() > 1e-3


def slow_scores(
    detector: Detector, hidden: torch.Tensor, fake: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Score Meso4's units in plain loops: the authors' range, and what detection gains by each."""
    weight, bias = (value.detach().double() for value in detector.module.fc2.parameters())

    def gap(values: torch.Tensor) -> float:
        logits = (values @ weight[0] + bias).numpy()
        return float(logits[fake].mean() - logits[~fake].mean())

    effects, contributions = [], []
    for unit in range(hidden.shape[1]):
        own, means = hidden[:, unit], []
        for value in np.linspace(min(float(own.min()), 1.0), max(float(own.max()), 0.0), 4):
            changed = hidden.clone()
            changed[:, unit] = value
            means.append(float(torch.sigmoid(-(changed @ weight[0] + bias)).mean()))
        effects.append(max(means) - min(means))
        without = hidden.clone()
        without[:, unit] = own.mean()
        contributions.append(gap(hidden) - gap(without))
    return np.array(effects), np.array(contributions)


def test_the_first_rows_are_an_option_that_says_what_they_lack(reals_first: Dataset) -> None:
    detector = load_detector("meso4", input_size=32, seed=4)
    options = {"mode": "authors", "order": "first", "n_untrained": 0, "n_random": 0}
    table = neuron_importance(detector, reals_first, n_resamples=0, **options)
    assert table.data["sample"].values[1].tolist() == [
        f"two/0/{row // 32:03d}/{row % 32:02d}" for row in range(30 * 64)
    ]
    assert np.isfinite(table.data["effect"]).all() and np.isnan(table.data["p"]).all()
    said = universal_neurons(table).test_sentence()
    for name in ("one", "two"):
        assert f"the first 1,920 rows of dataset '{name}', of 8,960, are all real" in said
    with pytest.raises(ProbeError) as caught:
        neuron_importance(detector, reals_first, measure="delta_logit", **options)
    assert "'one'" in str(caught.value) and "'two', of 8,960, are all real" in str(caught.value)
    with pytest.raises(UnknownNameError, match="drawn, first"):
        neuron_importance(detector, reals_first, order="last")


def test_a_table_says_where_a_dataset_has_one_class(noise: Dataset) -> None:
    detector = load_detector("meso4", input_size=32, seed=4)
    test = noise.select(split="test")
    rows = np.flatnonzero((test.samples.table["dataset"] == "one") | (test.labels == 1))
    table = neuron_importance(detector, test.take(rows), n_untrained=0, n_random=0)
    assert table.data.attrs["one_class"] == {"two": "dataset 'two' holds no real image"}
    assert "sample" not in table.data
    said = universal_neurons(table).test_sentence()
    assert "1 of 2 datasets have both" in said and "dataset 'two' holds no real image" in said
