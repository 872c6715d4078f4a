"""What a store is given, it gives back: text, numbers, NaN, infinities, attributes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from probe.store import ActivationStore, StoreWriter

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
SIZES = st.tuples(st.integers(1, 13), st.integers(1, 5), st.integers(1, 6))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[pd.DataFrame, np.ndarray, dict[str, Any]]:
    """Draw a sample table, activations (n, unit) and attributes."""
    n, units, batch = draw(SIZES)
    dtype = draw(st.sampled_from(["float16", "float32"]))
    bits = 16 if dtype == "float16" else 32
    values = draw(hnp.arrays(dtype, (n, units), elements=st.floats(width=bits)))
    names = draw(st.lists(TEXT, min_size=n, max_size=n, unique=True))
    samples = pd.DataFrame(
        {
            "sample": pd.Series(names, dtype=object),
            "dataset": pd.Series(draw(st.lists(TEXT, min_size=n, max_size=n)), dtype=object),
            "label": draw(hnp.arrays(np.int8, n, elements=st.integers(0, 1))),
            "frame": draw(hnp.arrays(np.int32, n)),
            "dose": draw(hnp.arrays(np.float64, n)),
            "paired": draw(hnp.arrays(np.bool_, n)),
        }
    )
    attrs = {
        "detector": {"name": draw(TEXT), "fingerprint": "f", "spec": draw(JSON)},
        "dataset": {"name": draw(TEXT), "fingerprint": "g", "card": draw(JSON)},
        "layers": {"fc": "fc"},
        "reducer": "mean",
        "dtype": dtype,
        "batch_size": batch,
    }
    return samples, values, attrs


@settings(max_examples=30, deadline=None)
@given(recordings())
def test_a_store_round_trips(recording: tuple[pd.DataFrame, np.ndarray, dict[str, Any]]) -> None:
    samples, values, attrs = recording
    logits = values[:, 0].astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.zarr"
        writer = StoreWriter.begin(path, samples, {"fc": values.shape[1]}, attrs)
        for where in writer.missing:
            writer.write(where, {"fc": values[where]}, logits[where])
        writer.finish()
        store = ActivationStore.open(path)
        found = store["fc"]["activation"].load()
        table, moments = store.samples, store.moments("fc").load()
        store.tree.close()
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(table["logit"], logits)
    for name, column in samples.items():
        np.testing.assert_array_equal(table[name].to_numpy(), column.to_numpy())
        assert column.dtype == object or table[name].dtype == column.dtype
    assert {name: store.attrs[name] for name in attrs} == attrs
    _check_moments(moments, samples, values)


def _check_moments(moments: Any, samples: pd.DataFrame, values: np.ndarray) -> None:
    for name in samples["dataset"].unique():
        for label in (0, 1):
            own = moments.sel(dataset=name, label=label)
            rows = values[((samples["dataset"] == name) & (samples["label"] == label)).to_numpy()]
            assert int(own["count"]) == len(rows)
            if len(rows):
                np.testing.assert_array_equal(own["min"], rows.min(axis=0))
                np.testing.assert_array_equal(own["max"], rows.max(axis=0))
            else:
                assert np.isnan(own["mean"]).all() and np.isnan(own["min"]).all()
            _check_mean(own, rows.astype(np.float64))


def _check_mean(own: Any, rows: np.ndarray) -> None:
    for unit in range(rows.shape[1]) if len(rows) else ():
        column = rows[:, unit]
        if np.isfinite(column).all():
            scale = np.abs(column).max() + 1e-300
            assert abs(float(own["mean"][unit]) - column.mean()) <= 1e-12 * scale
            assert abs(float(own["variance"][unit]) - column.var()) <= 1e-10 * scale**2
