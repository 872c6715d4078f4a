"""What the Sample page shows for an address: an image of the run, or one from elsewhere."""

from __future__ import annotations

from app.jobs import ABSENT, CANCELLED, DONE, FAILED
from app.queries.layers import known_detector
from app.queries.sample import SampleView, sample_view, worst_error
from app.queries.sample_place import OneMap, PlaceView, maps_view, place_view
from app.queries.sample_scores import ScoresView, scores_view
from app.queries.sample_units import (
    DeviationsView,
    measurements_view,
    stored_layer,
    units_of_sample,
)
from app.queries.uploads import (
    Dropped,
    dropped_measurements,
    dropped_of,
    dropped_scores,
    dropped_units,
    state_of,
)
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = [
    "NotYetError",
    "maps_shown",
    "measurements_shown",
    "place_shown",
    "scores_shown",
    "shown_image",
    "units_shown",
    "with_defaults",
]


class NotYetError(ProbeError):
    """A dropped image whose scores are still being computed."""


def with_defaults(run: Run, chosen: Selection) -> Selection:
    """Name the detector and the image that are shown where the address names none; for links."""
    label = known_detector(run, chosen)
    sample = chosen.sample or ("" if chosen.dropped else worst_error(run, label))
    return chosen.but(detector=label, sample=sample)


def shown_image(run: Run, chosen: Selection) -> SampleView | Dropped:
    """Read the image that the address names; the dropped one where it names one.

    Raises
    ------
    NotYetError
        If its scores are being computed.
    ProbeError
        If there is no such image.
    """
    if not chosen.dropped:
        return sample_view(run, chosen, known_detector(run, chosen))
    state = state_of(run, chosen.dropped)
    if state.name == DONE:
        return dropped_of(run, chosen.dropped)
    if state.is_open:
        raise NotYetError("This image is being scored. What was found stands here in a moment.")
    if state.name in (ABSENT, CANCELLED):
        raise ProbeError("The image that the address names was removed. Choose it again.")
    assert state.name == FAILED
    raise ProbeError(state.error or "This image could not be scored.")


def scores_shown(run: Run, chosen: Selection) -> ScoresView:
    """Read what all detectors say of it."""
    image = shown_image(run, chosen)
    return dropped_scores(run, image) if isinstance(image, Dropped) else scores_view(run, image)


def units_shown(run: Run, chosen: Selection) -> DeviationsView:
    """Read how unusual its activations in the chosen detector are."""
    image, label = shown_image(run, chosen), known_detector(run, chosen)
    if isinstance(image, Dropped):
        return dropped_units(run, label, image)
    return units_of_sample(run, label, stored_layer(run, label, chosen.layer), image)


def measurements_shown(run: Run, chosen: Selection) -> DeviationsView:
    """Read how unusual its measurements are."""
    image = shown_image(run, chosen)
    if isinstance(image, Dropped):
        return dropped_measurements(run, image)
    return measurements_view(run, image.dataset, image.sample)


def place_shown(run: Run, chosen: Selection) -> PlaceView:
    """Read where it lies in the picture of a layer."""
    image = shown_image(run, chosen)
    if isinstance(image, Dropped):
        raise ProbeError(
            "The pictures are of this run's images. A point cannot be added to UMAP or t-SNE "
            "without moving what it means."
        )
    return place_view(run, known_detector(run, chosen), image, chosen.layer, chosen.embedding)


def maps_shown(run: Run, chosen: Selection) -> list[OneMap]:
    """Read its attribution maps by the chosen detector."""
    image = shown_image(run, chosen)
    if isinstance(image, Dropped):
        raise ProbeError("Maps are made of this run's images only.")
    return maps_view(run, known_detector(run, chosen), image)
