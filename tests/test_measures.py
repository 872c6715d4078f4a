"""Every registered measure against a plain statement of it, by hooks and loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from probe.datasets.dataset import Dataset
from probe.detectors import Detector, load_detector
from probe.errors import ProbeError, UnknownNameError
from probe.neurons import MEASURES, Universality, neuron_importance, universal_neurons
from probe.stats import auroc, permutation_test

UNITS = 16


@pytest.fixture(scope="module")
def detector(noise: Dataset) -> Detector:
    """Meso4 whose logits lie around 0, so that probabilities are not all alike."""
    found = load_detector("meso4", input_size=32, seed=4)
    images = noise.select(split="test").array(range(48), 32)
    logits = found.logits(images)
    found.module.fc2.weight.data /= float(logits.std())
    found.module.fc2.bias.data -= float(found.logits(images).mean())
    return found


@pytest.fixture(scope="module")
def part(noise: Dataset) -> Dataset:
    return noise.select(split="test", dataset="one")


def hidden(detector: Detector, part: Dataset) -> torch.Tensor:
    kept = []
    handle = detector.module.leaky.register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    detector.logits(part.array(range(len(part)), 32))
    handle.remove()
    return kept[0]


def logits_without(detector: Detector, part: Dataset, unit: int, to: np.ndarray) -> np.ndarray:
    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        out = output.clone()
        out[:, unit] = torch.as_tensor(to, dtype=out.dtype)
        return out

    handle = detector.module.leaky.register_forward_hook(hook)
    try:
        return detector.logits(part.array(range(len(part)), 32)).astype(np.float64)
    finally:
        handle.remove()


def plain(name: str, detector: Detector, part: Dataset) -> np.ndarray:
    """Each measure, unit by unit, as its docstring says it."""
    h, y = hidden(detector, part).double().numpy(), part.labels
    full = detector.logits(part.array(range(len(part)), 32)).astype(np.float64)
    weight = detector.module.fc2.weight[0].detach().double().numpy()
    out = []
    for unit in range(UNITS):
        one = h[:, unit]
        without = logits_without(detector, part, unit, np.full(len(y), one.mean()))
        doses = np.linspace(one.min(), one.max(), 4)
        means = [logits_without(detector, part, unit, np.full(len(y), d)).mean() for d in doses]
        loss = lambda z: np.log1p(np.exp(np.where(y == 1, -z, z)))  # noqa: E731
        given = full - without
        out.append(
            {
                "ace": max(means) - min(means),
                "slope": means[-1] - means[0],
                "delta_logit": given[y == 1].mean() - given[y == 0].mean(),
                "delta_auroc": float(auroc(y, full)[0] - auroc(y, without)[0]),
                "delta_logloss": (loss(without) - loss(full)).mean(),
                "delta_accuracy": ((full >= 0) == y).mean() - ((without >= 0) == y).mean(),
                "gradient": weight[unit],
                "auroc": float(auroc(y, one)[0]),
                "dprime": (one[y == 1].mean() - one[y == 0].mean())
                / np.sqrt((one[y == 1].var() + one[y == 0].var()) / 2),
                "weight_range": abs(weight[unit]) * np.ptp(one),
                # An affine head: path integral from the black image's value.
                "conductance": weight[unit] * (one - black(detector)[unit]).mean(),
            }[name]
        )
    return np.array(out)


def black(detector: Detector) -> np.ndarray:
    kept = []
    handle = detector.module.leaky.register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    detector.logits(np.zeros((1, 3, 32, 32), dtype=np.float32))
    handle.remove()
    return kept[0][0].numpy()


@pytest.mark.parametrize("name", list(MEASURES))
def test_a_measure_is_what_it_says(name: str, detector: Detector, part: Dataset) -> None:
    table = neuron_importance(
        detector,
        part,
        measure=name,
        n_untrained=0,
        n_random=0,
        n_resamples=20,
        n_permutations=99,
    )
    loose = {"conductance": 0.03}.get(name, 2e-4)  # captum's path integral has 32 steps
    np.testing.assert_allclose(
        table.data["effect"].values[0], plain(name, detector, part), rtol=loose, atol=loose
    )


@pytest.mark.parametrize("ablation", ["mean", "zero", "resample"])
def test_contributions_and_their_test(ablation: str, detector: Detector, part: Dataset) -> None:
    table = neuron_importance(
        detector, part, ablation=ablation, n_untrained=0, n_random=0, n_permutations=499, seed=3
    ).data
    full = detector.logits(part.array(range(len(part)), 32)).astype(np.float64)
    h, y = hidden(detector, part).numpy(), part.labels
    order = np.random.default_rng((3, len(y))).permutation(len(y))
    donor = np.empty(len(y), dtype=int)
    donor[order] = np.roll(order, 1)
    given = np.empty((len(y), UNITS))
    for unit in range(UNITS):
        to = {
            "mean": np.full(len(y), h[:, unit].mean()),
            "zero": np.zeros(len(y)),
            "resample": h[donor, unit],
        }[ablation]
        given[:, unit] = full - logits_without(detector, part, unit, to)
    gap = given[y == 1].mean(axis=0) - given[y == 0].mean(axis=0)
    np.testing.assert_allclose(table["contribution"].values[0], gap, rtol=1e-3, atol=1e-4)
    slow = permutation_test(given, y, part.samples.clusters, 499, 3)
    np.testing.assert_allclose(table["p"].values[0], slow.p, atol=0.005)
    np.testing.assert_allclose(table["p_max"].values[0], slow.p_max, atol=0.005)


def test_intervals_resample_clusters(detector: Detector, part: Dataset) -> None:
    """The bootstrap of the slope, said as resampled lists of images."""
    table = neuron_importance(
        detector, part, measure="slope", n_untrained=0, n_random=0, n_resamples=300
    ).data
    values = table["value"].values[0]
    ends = [
        np.stack([logits_without(detector, part, u, v) for u, v in enumerate(values[:, end])], 1)
        for end in (0, -1)
    ]
    rng, groups = np.random.default_rng(0), part.samples.clusters
    draws = []
    for _ in range(300):
        counts = rng.multinomial(
            groups.max() + 1, np.full(groups.max() + 1, 1 / (groups.max() + 1))
        )
        rows = np.repeat(np.arange(len(groups)), counts[groups])
        draws.append(ends[1][rows].mean(axis=0) - ends[0][rows].mean(axis=0))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(table["effect_low"].values[0], low, atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(table["effect_high"].values[0], high, atol=1e-4, rtol=1e-3)


def test_quantile_doses(detector: Detector, part: Dataset) -> None:
    table = neuron_importance(detector, part, grid="quantile", n_untrained=0, n_random=0).data
    wanted = np.quantile(hidden(detector, part).numpy(), np.linspace(0.05, 0.95, 4), axis=0).T
    np.testing.assert_allclose(table["value"].values[0], wanted, rtol=1e-5)


def test_positions_are_units(detector: Detector, part: Dataset) -> None:
    """At a flattened map, channels at positions and the flat layer's units are the same."""
    some = part.take(range(12))
    options = {"n_untrained": 0, "n_random": 0, "n_permutations": 99, "n_resamples": 0}
    one = neuron_importance(detector, some, "pool4", positions=True, **options).data
    two = neuron_importance(detector, some, "flatten", **options).data
    np.testing.assert_allclose(one["effect"], two["effect"], atol=1e-5)
    np.testing.assert_allclose(one["contribution"], two["contribution"], atol=1e-5)


def test_random_heads_keep_the_weights(detector: Detector, noise: Dataset) -> None:
    data = neuron_importance(detector, noise.select(split="test"), n_untrained=0, n_random=3).data
    assert data["head_effect"].shape == (3, 2, UNITS)
    spans = data["effect"] / data["beside"].sel(measure="weight_range")
    np.testing.assert_allclose(spans, 1, rtol=1e-3)  # on the logit the effect is |w| × range
    weight = np.abs(detector.module.fc2.weight[0].detach().numpy())
    span = np.ptp(hidden(detector, noise.select(split="test", dataset="one")).numpy(), axis=0)
    for head in data["head_effect"].values[:, 0]:
        np.testing.assert_allclose(np.sort(head / span), np.sort(weight), rtol=1e-3)
        assert not np.allclose(head / span, weight, rtol=1e-2)


def test_detectors_that_saw_shuffled_labels_are_a_null(detector: Detector, noise: Dataset) -> None:
    other = load_detector("meso4", input_size=32, seed=9)
    test = noise.select(split="test")
    table = neuron_importance(detector, test, n_untrained=0, n_random=0, shuffled=[other])
    alone = neuron_importance(other, test, n_untrained=0, n_random=0)
    np.testing.assert_allclose(table.data["shuffled_effect"][0], alone.data["effect"], rtol=1e-5)
    found = universal_neurons(table)
    assert list(found.data["null"].values) == ["independence", "label_shuffled"]


def test_one_class_has_no_test(detector: Detector, noise: Dataset) -> None:
    test = noise.select(split="test")
    fakes = test.select(dataset="two").select(label=1)
    table = neuron_importance(detector, [test.select(dataset="one"), fakes], n_untrained=0)
    assert (
        np.isnan(table.data["p"].values[1]).all() and np.isfinite(table.data["p"].values[0]).all()
    )
    found = universal_neurons(table)
    assert found.tested == ("one",) and "q" not in found.data and not len(found.universal)
    with pytest.raises(ProbeError, match="holds no real image"):
        neuron_importance(detector, fakes, measure="delta_auroc")


def test_universality_says_both_things(detector: Detector, noise: Dataset) -> None:
    table = neuron_importance(detector, noise.select(split="test"))
    found: Universality = universal_neurons(table)
    q = found.data["q"].values[-1]
    assert set(found.universal) == set(np.flatnonzero(q <= 0.05))
    assert set(found.counted) == set(np.flatnonzero(found.data["n_datasets"].values == 2))
    nulls = found.nulls()
    assert list(nulls["null"]) == ["independence", "untrained", "random_head"]
    np.testing.assert_allclose(nulls["excess"], len(found.counted) - nulls["expected"])
    assert (nulls["excess_low"] <= nulls["excess"]).all()
    with pytest.raises(UnknownNameError, match="bonferoni"):
        universal_neurons(table, combination="bonferoni")
    with pytest.raises(ProbeError, match="alpha=2"):
        universal_neurons(table, alpha=2)


def test_a_detector_that_ignores_its_units_has_no_decoys(
    detector: Detector, noise: Dataset
) -> None:
    """All |weight| × range are 0, so none is in the upper half; and no set is of all units."""
    blind = load_detector("meso4", input_size=32, seed=4)
    blind.module.fc2.weight.data.zero_()
    dead = universal_neurons(neuron_importance(blind, noise.select(split="test"), n_untrained=0))
    assert not dead.data["weight_range"].values.any() and not len(dead.decoys)
    found = universal_neurons(neuron_importance(detector, noise.select(split="test")))
    size, none = found.data["weight_range"].values, ~found.data["significant"].values.any(axis=0)
    assert set(found.decoys) == set(np.flatnonzero((size >= np.median(size)) & none))
    everywhere = Universality(found.data.assign(n_datasets=("unit", np.full(UNITS, 2))))
    assert len(everywhere.counted) == UNITS and "counted" not in everywhere.sets()
