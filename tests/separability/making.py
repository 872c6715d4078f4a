"""Stores of drawn activations, whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from probe.store import ActivationStore, StoreWriter


def write_store(
    path: Path,
    layers: dict[str, np.ndarray],
    *,
    dataset: list[str] | np.ndarray,
    label: np.ndarray,
    identity: list[str] | np.ndarray,
    method: list[str] | np.ndarray | None = None,
    video: list[str] | np.ndarray | None = None,
    logit: np.ndarray | None = None,
    name: str = "drawn",
    path_of: list[str] | None = None,
    card: dict | None = None,
) -> ActivationStore:
    """Write a complete store of these activations."""
    n = len(label)
    fakes = [f"m-{d}" if y else "real" for d, y in zip(dataset, label, strict=True)]
    table = pd.DataFrame(
        {
            "sample": [f"s{i}" for i in range(n)],
            "dataset": list(dataset),
            "split": "test",
            "label": np.asarray(label).astype(int),
            "method": fakes if method is None else method,
            "video": [f"v{i}" for i in identity] if video is None else video,
            "identity": list(identity),
            "source": "",
            "frame": np.arange(n),
            "path": path_of or "",
            "mask": "",
        }
    )
    attrs = {
        "detector": {"name": name, "fingerprint": f"fingerprint of {name}"},
        "dataset": {"name": "drawn", "fingerprint": "data", "card": card or {}},
        "layers": {layer: layer for layer in layers},
        "reducer": "mean",
        "dtype": "float32",
        "batch_size": 64,
    }
    units = {layer: values.shape[1] for layer, values in layers.items()}
    writer = StoreWriter.begin(path, table, units, attrs)
    logits = np.asarray(label, dtype=np.float32) if logit is None else logit
    for where in writer.missing:
        block = {k: v[where].astype(np.float32) for k, v in layers.items()}
        writer.write(where, block, logits[where])
    writer.finish()
    return ActivationStore.open(path)


def gaussians(
    n: int, units: int, delta: float, seed: int = 0, each: int = 2, people: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw independent samples, fakes shifted by `delta` along the first unit.

    Returns values (n, units), labels (n,), clusters (n,), where a cluster is `each` samples of
    either label.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 1
    clusters = np.arange(n) // (2 * each) if people is None else np.arange(n) % people
    values = rng.normal(size=(n, units))
    values[labels, 0] += delta
    return values.astype(np.float32), labels, clusters
