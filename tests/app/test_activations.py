"""One unit of all samples, read fast; what is worked out from tables is worked out once."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from app import activations
from app.activations import ArrangingError, column, stored_units
from app.run import Run, derived
from probe.errors import StoreError, UnknownNameError
from tests.app.making import DETECTORS, LAYER, UNITS, MadeRun

LABEL = DETECTORS[0]


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def test_a_column_is_the_unit_on_all_samples(made: MadeRun, run: Run) -> None:
    assert stored_units(run, LABEL, LAYER).tolist() == list(range(UNITS))
    for unit in (0, UNITS - 1):
        values = column(run, LABEL, LAYER, unit)
        assert values.dtype == np.float32 and not values.flags.writeable
        assert np.array_equal(values, made.activations[LABEL][:, unit])
    assert column(run, LABEL, LAYER, 0) is column(run, LABEL, LAYER, 0)
    with pytest.raises(StoreError, match=f"unit {UNITS} is not among them"):
        column(run, LABEL, LAYER, UNITS)
    with pytest.raises(UnknownNameError):
        column(run, LABEL, "nowhere", 0)


def test_columns_that_are_kept_take_no_more_than_they_may() -> None:
    kept = activations._Kept(100)
    arrays = [np.zeros(10, np.float32) for _ in range(4)]
    for name, array in enumerate(arrays):
        kept.put(name, array)
        assert kept.get(0) is not None or name > 1
    assert kept.get(3) is arrays[3] and kept.get(1) is None


def ready(run: Run, unit: int) -> np.ndarray:
    for _ in range(200):
        try:
            return column(run, LABEL, LAYER, unit)
        except ArrangingError:
            time.sleep(0.02)
    raise AssertionError("The store was never arranged.")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Treat every store as a large one, and keep copies in a folder of the test."""
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path))
    monkeypatch.setattr(activations, "SMALL", 0)
    monkeypatch.setattr(activations, "_COLUMNS", activations._Kept(1))
    monkeypatch.setattr(activations, "STRIP", 1)
    monkeypatch.setattr(activations, "_FAILED", set())
    return tmp_path / "dashboard" / "by-unit"


def test_a_large_store_is_arranged_by_unit_once(made: MadeRun, run: Run, large: Path) -> None:
    with pytest.raises(ArrangingError, match="arranged by unit"):
        column(run, LABEL, LAYER, 3)
    for unit in range(UNITS):
        assert np.array_equal(ready(run, unit), made.activations[LABEL][:, unit])
    (copy,) = large.iterdir()
    assert copy.stat().st_size == made.activations[LABEL].nbytes
    assert not list(made.root.rglob("*.bin"))


def test_without_room_the_store_is_read_as_it_is(
    made: MadeRun, run: Run, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "MOST", 10)
    assert np.array_equal(column(run, LABEL, LAYER, 2), made.activations[LABEL][:, 2])
    assert not list(large.glob("*"))


def test_a_copy_that_fails_leaves_nothing_and_the_store_is_read(
    made: MadeRun, run: Run, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(array: zarr.Array[Any], part: Path) -> None:
        part.touch()
        raise OSError("disk full")

    monkeypatch.setattr(activations, "_write", fail)
    assert np.array_equal(ready(run, 4), made.activations[LABEL][:, 4])
    assert not list(large.glob("*"))


def test_old_copies_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate(("new", "old")):
        file = tmp_path / f"{name}.bin"
        file.write_bytes(b"x" * 40)
        stamp = time.time() - 100 * age
        os.utime(file, (stamp, stamp))
    monkeypatch.setattr(activations, "MOST", 100)
    assert activations._has_room(tmp_path / "next.bin", 40)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["new.bin"]


def test_what_is_derived_is_made_once_for_the_same_tables() -> None:
    made: list[object] = []

    def make(source: list[int], factor: int) -> int:
        made.append(source)
        return factor * len(source)

    one, two = [1, 2], [1, 2]
    assert derived(make, (one,), 2) == derived(make, (one,), 2) == 4 and len(made) == 1
    assert derived(make, (one,), 3) == 6 and derived(make, (two,), 2) == 4 and len(made) == 3


def test_visitors_who_ask_at_once_wait_for_one_of_them() -> None:
    made: list[int] = []
    begun = threading.Barrier(4)

    def slow(source: list[int], number: int) -> int:
        made.append(number)
        time.sleep(0.05)
        return len(source) * number

    source = [0, 0]

    def ask() -> None:
        begun.wait()
        assert derived(slow, (source,), 3) == 6

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [3] and derived(slow, (source,), 4) == 8 and made == [3, 4]
