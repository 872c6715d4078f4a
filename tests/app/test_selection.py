"""The address: what is selected is read back as it was written, and bad values are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.selection import LEVELS, METRICS, Selection
from probe.errors import ProbeError, UnknownNameError

TEXT = st.text(max_size=60)


@given(TEXT, TEXT, TEXT, st.integers(0, 10**6), st.sampled_from(list(METRICS)))
def test_a_selection_survives_the_address(
    detector: str, layer: str, dataset: str, unit: int, metric: str
) -> None:
    chosen = Selection(
        detector=detector,
        layer=layer,
        dataset=dataset,
        unit=str(unit),
        metric=metric,
        level="video",
    )
    assert Selection.parse(chosen.search) == chosen


@pytest.mark.parametrize("search", ["", "?", None, "?&&", "?unknown=1", "?unit="])
def test_an_address_that_says_nothing_selects_nothing(search: str | None) -> None:
    assert Selection.parse(search) == Selection()


def test_the_first_is_shown_where_nothing_is_chosen() -> None:
    assert Selection().named("metric", list(METRICS)) == "auroc"
    assert Selection().named("level", list(LEVELS)) == "frame"
    assert Selection().unit_number([5, 3, 1]) == 5


def test_another_is_never_shown_in_place_of_one_that_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'auroc'"):
        Selection(metric="auro").named("metric", list(METRICS))


@pytest.mark.parametrize("unit", ["-1", "1.5", "x", "²", "१", "12", "9" * 150, "../0", "0x1"])
def test_a_unit_that_is_not_in_the_table_is_refused(unit: str) -> None:
    with pytest.raises(ProbeError, match="is not in this table; it holds the 12 units 0 to 11"):
        Selection.parse(f"?unit={unit}").unit_number(range(12))


@pytest.mark.parametrize("search", ["?detector=" + "a" * 100_000, "?" + "a=1&" * 10_000])
def test_absurd_addresses_are_refused(search: str) -> None:
    with pytest.raises(ProbeError):
        Selection.parse(search)
