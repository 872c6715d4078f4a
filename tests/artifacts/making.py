"""Pictures, datasets and tables whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from probe.artifacts import MEASUREMENTS, ArtifactMeasurements, Picture
from probe.artifacts.controls import COVARIATES
from probe.artifacts.spectra import FREQUENCIES
from probe.datasets import Dataset, Samples
from probe.datasets.lab import FORGERIES, Clip
from tests.conftest import drawn_of


def disc(side: int = 128, radius: float = 30.0, height: int | None = None) -> np.ndarray:
    y, x = np.ogrid[: height or side, :side]
    rows, columns = y - ((height or side) - 1) / 2, x - (side - 1) / 2
    return np.asarray(np.hypot(rows, columns) < radius)


def picture(gray: np.ndarray, inside: np.ndarray | None = None) -> Picture:
    """Make a picture of gray levels or colors."""
    pixels = np.rint(np.clip(gray, 0, 255)).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return Picture(pixels, disc(pixels.shape[1], 30, pixels.shape[0]) if inside is None else inside)


def colored_noise(slope: float, shape: tuple[int, int] = (128, 128), seed: int = 0) -> np.ndarray:
    """Noise whose power falls as frequency to the −slope, of deviation 40 around 128."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    radius[0, 0] = 1
    white = np.fft.fft2(rng.normal(size=shape))
    noise = np.fft.ifft2(white * radius ** (-slope / 2)).real
    return 128 + 40 * (noise - noise.mean()) / noise.std()


def measured(
    values: np.ndarray,
    labels: np.ndarray,
    clusters: Sequence[object],
    *,
    datasets: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    controls: Mapping[str, np.ndarray] | None = None,
) -> ArtifactMeasurements:
    """Make a table of measurements without images; names are those registered first."""
    n, m = values.shape
    names = list(MEASUREMENTS)[:m]
    of = np.array(["one"] * n if datasets is None else list(datasets))
    control = np.full((n, len(COVARIATES)), np.nan)
    for name, column in (controls or {}).items():
        control[:, COVARIATES.index(name)] = column
    entries = [MEASUREMENTS[name] for name in names]
    text = {
        "dataset": of,
        "video": np.array([str(c) for c in clusters]),
        "method": np.where(labels == 1, of if methods is None else methods, "real"),
        "cluster": np.array([f"{d}|{c}" for d, c in zip(of, clusters, strict=True)]),
        "region": np.array(["central ellipse; no masks"] * n),
    }
    data = {
        "value": (("sample", "measurement"), values),
        "control": (("sample", "covariate"), control),
        "power": (("sample", "frequency"), np.tile(-np.log10(FREQUENCIES), (n, 1))),
        "label": ("sample", labels.astype(np.int8)),
        **{name: ("sample", value) for name, value in text.items()},
        **{
            f"measurement_{column}": ("measurement", [getattr(e, column) for e in entries])
            for column in ("unit", "source", "about", "needs")
        },
    }
    coords = {
        "sample": [f"s{i}" for i in range(n)],
        "measurement": names,
        "covariate": list(COVARIATES),
        "frequency": FREQUENCIES,
    }
    return ArtifactMeasurements(xr.Dataset(data, coords, drawn_of()))


def lab_images(
    root: Path,
    name: str,
    doses: Mapping[str, float] | None,
    *,
    people: int,
    seed: int,
    frames: Sequence[int] = (0,),
) -> Dataset:
    """Render a few frames of each person; None keeps the video's doses, else all others are 0."""
    rows = []
    for video in range(people):
        clip = Clip(name, "test", video, people, seed=seed)
        own = FORGERIES[name].doses
        used = None if doses is None else {one: doses.get(one, 0.0) for one in own}
        for number in frames:
            frame = clip.frame(number, used)
            key = f"{name}-{video}-{number}"
            for part, image in (("0", frame.real), ("1", frame.fake), ("mask", frame.mask)):
                (root / "images").mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(root / "images" / f"{key}-{part}.png")
            rows += [
                {
                    "sample": f"{key}-{label}",
                    "dataset": name,
                    "split": "test",
                    "label": label,
                    "method": name if label else "real",
                    "video": f"{name}-{video}-{label}",
                    "identity": f"{video}",
                    "source": "",
                    "frame": number,
                    "path": f"images/{key}-{label}.png",
                    "pair": f"{key}-{1 - label}",
                    "mask": f"images/{key}-mask.png" if label else "",
                }
                for label in (0, 1)
            ]
    return Dataset(name, Samples(pd.DataFrame(rows)), root, {})
