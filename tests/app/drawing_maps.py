"""Maps, trust, similarity of maps and attention of a drawn run, from drawn numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from probe.attribution.findings import (
    BINS,
    MapSimilarity,
    RegionAttention,
)
from probe.attribution.maps import TOWARDS, AttributionMap
from probe.attribution.trust import CHECKS, TrustReport
from probe.datasets.dataset import Dataset
from probe.run import RunFolder
from tests.conftest import drawn_of

#: Methods, and whether they promise a sum; only the first is there for all detectors.
METHODS = {"gradcam": False, "integrated_gradients": True}
CHECKED = ("mask_auroc", "pointing", "deletion_blur", "mprt_spearman")
REGIONS = ("eyes", "mouth", "background")
SIDE = 16

Rng = np.random.Generator


def write_maps(folder: RunFolder, rng: Rng, detectors: tuple[str, ...], data: Dataset) -> None:
    """Write maps of first frames; only the first detector is checked and has all methods."""
    table = data.samples.table
    part = data.take(np.flatnonzero(table["frame"].to_numpy() == 0))
    for i, label in enumerate(detectors):
        for name, complete in METHODS.items():
            if i == 0 or not complete:
                make_maps(rng, part, name, complete, label).save(folder.path("maps", label, name))
    names, first = list(dict.fromkeys(table["dataset"])), detectors[0]
    make_trust(rng, names, first).save(folder.path("trust", first))
    make_attention(rng, names, first).save(folder.path("attention", first))
    for mode in ("corrected", "authors"):
        made = make_map_similarity(rng, part, detectors, mode)
        made.save(folder.path("map_similarity", detectors[0].split("/")[0], mode))


def make_maps(
    rng: Rng, data: Dataset, method: str, complete: bool, label: str = "drawn"
) -> AttributionMap:
    """Draw maps with a heavy tail, so that the scale's end is not the largest magnitude."""
    n, table = len(data), data.samples.table
    maps = rng.standard_t(3, (n, SIDE, SIDE)).astype(np.float32)
    gap = rng.normal(size=n) if complete else np.full(n, np.nan)
    coords = {
        "sample": [str(name) for name in table["sample"]],
        "dataset": ("sample", [str(name) for name in table["dataset"]]),
        "label": ("sample", table["label"].to_numpy()),
    }
    attrs = {
        "method": method,
        "title": method.replace("_", " "),
        "paper": "drawn",
        "target": "fake logit",
        "layer": "leaky",
        "sign": TOWARDS,
        "signed": True,
        "complete": complete,
        "relative_gap": 0.25 if complete else float("nan"),
        **drawn_of(label),
    }
    variables = {
        "attribution": (("sample", "y", "x"), maps),
        "gap": ("sample", gap),
        "value": ("sample", np.zeros(n, np.float32)),
    }
    return AttributionMap(xr.Dataset(variables, coords=coords, attrs=attrs))


def make_trust(rng: Rng, datasets: list[str], label: str = "drawn") -> TrustReport:
    """Draw a report in which, on all images, checks of Grad-CAM end in four different ways."""
    methods, where = [*METHODS, "random", "edges"], [*datasets, "all"]
    references = ["random", "edges", "shifted"]
    dims = ("method", "check", "dataset")
    shape = (len(methods), len(CHECKED), len(where))
    value = rng.uniform(0.4, 0.9, shape)
    gain = rng.uniform(0.1, 0.3, (*shape, 3))
    q = np.full((*shape, 3), 0.01)
    # Not tested at all; and not better than the last reference.
    q[:, 3] = np.nan
    q[:, 1, :, 2], gain[:, 1, :, 2] = 0.4, -0.1
    random = np.full((2, *shape), np.nan)
    random[0, :, 0], random[1, :, 0] = 0.1, 0.2
    # Networks that learned nothing reach the area under the deletion curve.
    random[0, :, 2], random[1, :, 2] = 0.0, 1.0
    numbers: dict[str, Any] = {
        "value": value,
        "low": value - 0.05,
        "high": value + 0.05,
        "chance": value * 0 + 0.5,
        "randomized": random.mean(axis=0),
        "randomized_low": random[0],
        "randomized_high": random[1],
        "n_samples": np.full(shape, 18),
        "n_clusters": np.full(shape, 6),
        "reason": np.full(shape, "", dtype=object),
    }
    gains = {"gain": gain, "gain_low": gain - 0.02, "gain_high": gain + 0.02, "p": q / 2, "q": q}
    checks = [CHECKS[name] for name in CHECKED]
    texts = {
        "title": [one.title for one in checks],
        "group": [one.group for one in checks],
        "better": [one.better for one in checks],
        "chance_is": [one.chance for one in checks],
        "paper": [one.paper for one in checks],
    }
    return TrustReport(
        xr.Dataset(
            {name: (dims, values) for name, values in numbers.items()}
            | {name: ((*dims, "reference"), values) for name, values in gains.items()},
            coords={
                "method": methods,
                "check": list(CHECKED),
                "dataset": where,
                "reference": references,
                **{k: ("check", v) for k, v in texts.items()},
            },
            attrs={**drawn_of(label, data=datasets), "n_random": 5},
        )
    )


def make_attention(rng: Rng, datasets: list[str], label: str = "drawn") -> RegionAttention:
    """Draw concentrations; of real images there is no change, and one region is never seen."""
    groups = [f"{name}: {kind}" for name in datasets for kind in ("real", "fake")]
    dims, shape = ("group", "part", "region"), (len(groups), 2, len(REGIONS))
    numbers: dict[str, Any] = {"area": rng.uniform(0.05, 0.3, shape)}
    for name in ("share", "concentration", "change"):
        value = rng.normal(size=shape)
        if name == "change":
            value[::2] = np.nan
        else:
            value[0, :, 0] = np.nan
        numbers |= {name: value, f"{name}_low": value - 0.4, f"{name}_high": value + 0.4}
    of_change = ("change_p", "change_q", "other_p", "other_q")
    for name in ("p", "q", *of_change):
        of = "change" if name in of_change else "concentration"
        drawn = rng.choice([0.01, 0.6], shape)
        numbers[name] = np.where(np.isfinite(numbers[of]), drawn, np.nan)
    counts = {"n_samples": 6, "n_clusters": 6, "n_pairs": 6, "n_faceless": 1}
    n = 6 * len(groups)
    return RegionAttention(
        xr.Dataset(
            {name: (dims, values) for name, values in numbers.items()}
            | {name: ("group", np.full(len(groups), n)) for name, n in counts.items()}
            | {
                "reason": ("group", np.full(len(groups), "", dtype=object)),
                "image_share": (("sample", "part", "region"), np.zeros((n, 2, len(REGIONS)))),
                "image_area": (("sample", "region"), np.full((n, len(REGIONS)), 0.1)),
            },
            coords={
                "group": groups,
                "part": ["positive", "negative"],
                "region": list(REGIONS),
                "sample": [f"drawn-{i}" for i in range(n)],
                "of": ("sample", np.repeat(groups, 6).astype(object)),
                "cluster": ("sample", [f"person-{i // 2}" for i in range(n)]),
                "dataset": ("group", np.repeat(datasets, 2).astype(object)),
                "label": ("group", np.tile([0, 1], len(datasets))),
                "forgery": ("group", np.repeat(datasets, 2).astype(object)),
            },
            attrs={
                **drawn_of(label),
                "source": "lab",
                "rule": "drawn",
                "method": "gradcam",
                "layer": "leaky",
                "target": "fake logit",
                "faceless": ["drawn-0"],
            },
        )
    )


def make_map_similarity(
    rng: Rng, data: Dataset, detectors: tuple[str, ...], mode: str
) -> MapSimilarity:
    """Draw similarities above their nulls, but in one dataset without interval."""
    table = data.samples.table
    where = [*dict.fromkeys(table["dataset"]), "all"]
    mean = rng.uniform(0.6, 0.8, len(where))
    off = np.where(np.array(where) == "gamma", np.nan, 0.05)
    numbers: dict[str, Any] = {}
    drawn = {"": mean, "null_": mean - 0.3, "over_null_": np.full(len(where), 0.3)}
    names = {"": "mean", "null_": "null_mean", "over_null_": "over_null"}
    for start, value in drawn.items():
        prefix = names[start]
        numbers |= {prefix: value, f"{start}low": value - off, f"{start}high": value + off}
    none = np.full(len(where), np.nan)
    for name in (
        "retrained_mean",
        "retrained_low",
        "retrained_high",
        "over_retrained",
        "over_retrained_low",
        "over_retrained_high",
        "over_retrained_p",
    ):
        numbers[name] = none
    n = np.array([len(table) // (len(where) - 1)] * (len(where) - 1) + [len(table)])
    numbers |= {
        "over_null_p": np.full(len(where), 0.004),
        "n_samples": n,
        "n_clusters": n // 2,
        "reason": np.where(np.isnan(off), "few clusters", "").astype(object),
    }
    counts = np.stack([n // 2, n - n // 2, n * 0], axis=1)
    shape = (len(table), 1)
    return MapSimilarity(
        xr.Dataset(
            {name: ("dataset", values) for name, values in numbers.items()}
            | {
                "count": (("dataset", "bin"), counts),
                "similarity": (("sample", "pair"), rng.uniform(0.5, 0.9, shape)),
                "null": (("sample", "pair"), rng.uniform(0.2, 0.5, shape)),
                "retrained": ("sample", np.full(len(table), np.nan)),
            },
            coords={
                "dataset": where,
                "bin": list(BINS),
                "pair": ["|".join(one.split("/")[1] for one in detectors)],
                "sample": [str(name) for name in table["sample"]],
                "of": ("sample", [str(name) for name in table["dataset"]]),
                "label": ("sample", table["label"].to_numpy()),
                "cluster": ("sample", [str(name) for name in table["identity"]]),
            },
            attrs={
                "mode": mode,
                "rule": f"drawn, {mode}",
                "range": 1.0,
                "layer": "leaky",
                **drawn_of(*detectors),
            },
        )
    )
