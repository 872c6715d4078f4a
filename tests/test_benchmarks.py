"""Benchmarks run at a tiny size here, so that they cannot rot; their figures mean nothing then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import attribution, ingest, memory, suffixes, sweep
from benchmarks.__main__ import NAMES, main

# The dashboard's opens every page of a run, which takes longer than what it would find is worth.
SLOW = {"dashboard": pytest.mark.slow}


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in NAMES])
def test_a_benchmark_runs(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--tiny"], catch_exceptions=False)
    assert done.exit_code == 0 and "ratio" in done.output


def test_the_sweep_compares_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = sweep.measure(70, 32, 8, repeats=1)
    assert measured.samples == 70 and measured.units == 8
    assert measured.loop > 0 and measured.ours > 0 and measured.difference <= sweep.TOLERANCE

    def off(*args: object) -> np.ndarray:
        return np.full((8, sweep.N_VALUES), 0.1)

    monkeypatch.setattr(sweep, "plain_loop", off)
    with pytest.raises(RuntimeError, match="The closed form differs from the plain loop by"):
        sweep.measure(70, 32, 8, repeats=1)


@pytest.mark.slow
def test_the_sweep_is_hundreds_of_times_faster() -> None:
    """Measured above 1000 on a machine at rest; half of that must be left on a busy one."""
    measured = sweep.measure(30 * sweep.BATCH, 96, 1024)
    assert measured.ratio >= 500 and measured.passes <= 1.5


@pytest.mark.slow
def test_channels_are_ten_times_faster() -> None:
    assert suffixes.measure_meso(256, 32).ratio >= 10
    assert suffixes.measure_xception(128, 4, 48).ratio >= 10


def test_captum_gets_the_same_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = suffixes.measure_xception(71, 2, 3, apart=False)
    assert measured.theirs > 0 and measured.difference <= suffixes.TOLERANCE

    def off(size: int, samples: int) -> suffixes.Ways:
        return [lambda: np.full((samples, 16, 4), 9.0)], 1

    monkeypatch.setattr(suffixes, "_meso_rerun", off)
    with pytest.raises(RuntimeError, match="Ours differs from the peer by .* on meso4 conv4"):
        suffixes.measure_meso(32, 1, apart=False)


def test_the_peer_has_to_agree_on_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = attribution.measure_speed(3, 64)
    assert measured.images == 3 and measured.peer > 0 and measured.difference < 1e-4
    monkeypatch.setattr(attribution, "scaled", lambda maps: 1 - maps)
    with pytest.raises(RuntimeError, match="Our maps differ from pytorch-grad-cam's by"):
        attribution.measure_speed(3, 64)


@pytest.mark.slow
def test_maps_cost_no_more_than_bare_passes() -> None:
    assert attribution.measure_speed(40, 256).ratio >= 0.8


@pytest.mark.slow
def test_integrated_gradients_stay_within_what_they_may_take() -> None:
    measured = attribution.measure_memory(attribution.ours, "ours", 256, 2, 1024)
    assert measured.taken <= measured.asked


@pytest.mark.slow
@pytest.mark.real
def test_ingest_keeps_pace_with_the_bare_work(real_data: Path) -> None:
    measured = ingest.measure(real_data / "ffpp-mini")
    assert measured.videos == 7 and measured.frames == 7 * ingest.FRAMES
    assert measured.ratio >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "most", "grows"),
    [("bootstrap", 300e6, None), ("ablate", 1e9, None), ("compare maps", 300e6, 1.1)],
)
def test_memory_is_bounded_at_the_size_of_real_studies(
    work: str, most: float, grows: float | None
) -> None:
    few, many = memory.measure(work, memory.SIZES[work], repeats=1)
    assert 0 < many.taken < most
    assert grows is None or many.peak <= grows * few.peak


@pytest.mark.slow
def test_matched_sets_cost_no_more_than_their_units() -> None:
    few, many = memory.measure("ablate", memory.SIZES["ablate"])
    assert many.seconds < 4.5 * few.seconds
