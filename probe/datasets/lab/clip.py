"""`Clip`: one short video of the lab, as pairs of real and forged frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.datasets.lab.forgery import ARTIFACTS, FORGERIES, compose, masks_of
from probe.datasets.lab.person import Motion, Person, draw_motion, draw_person, interpolate
from probe.datasets.lab.rendering import Rendering, backdrop, face_regions, render
from probe.datasets.lab.scene import DOMAINS, Scene, capture, draw_scene
from probe.errors import DatasetError, UnknownNameError
from probe.schema import DATASETS, SPLITS

__all__ = ["FRAMES", "Clip", "Frame", "check_doses", "identity_name"]

#: Frames per video.
FRAMES = 4

#: Purposes of random draws; part of their seeds, so that draws are independent of each other.
PERSON, CLIP, MOTION, SCENE, DRIVER, FORGE, CAMERA = range(7)


@dataclass(frozen=True)
class Frame:
    """A pair of a real and a forged image, with the mask of the forgery.

    Attributes
    ----------
    real, fake : numpy.ndarray
        Images of shape (size, size, 3), RGB, 0 to 255.
    mask : numpy.ndarray
        Mask of shape (size, size), 255 where the forgery may have changed the real frame.
    """

    real: NDArray[np.uint8]
    fake: NDArray[np.uint8]
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """One video of the lab, completely determined by its attributes.

    Attributes
    ----------
    dataset, split : str
        Names of the dataset and the split.
    video : int
        Index of the video within the split, from 0.
    pool : int
        Number of identities in the split, at least 2; the video shows identity ``video % pool``.
    size : int
        Side of the images in pixels.
    seed : int
        Random seed of the lab.
    """

    dataset: str
    split: str
    video: int
    pool: int
    size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise UnknownNameError("lab dataset", self.dataset, DATASETS)
        if self.split not in SPLITS:
            raise UnknownNameError("split", self.split, SPLITS)
        if self.pool < 2 or self.video < 0:
            raise DatasetError(
                f"video={self.video} and pool={self.pool} were given; allowed are videos from 0 "
                "and pools of at least 2 identities, since a swap takes two."
            )

    @classmethod
    def of_plan(cls, plan: Mapping[str, Any], dataset: str, split: str, video: int) -> Clip:
        """Return a video of a lab on disk, by the plan in its card."""
        videos = {name: -(-count // (2 * FRAMES)) for name, count in plan["counts"].items()}
        total = sum(videos.values()) * len(plan["datasets"])
        own = videos[split]
        share = plan["identities"] * own / total if plan["identities"] else own
        return cls(dataset, split, video, max(2, round(share)), plan["size"], plan["seed"])

    @property
    def target(self) -> int:
        """Index of the identity that is shown."""
        return self.video % self.pool

    @cached_property
    def other(self) -> int:
        """Index of the identity that gives the face or the expression of the forgery."""
        step = int(self._rng(CLIP).integers(1, self.pool))
        return (self.target + step) % self.pool

    @cached_property
    def doses(self) -> dict[str, float]:
        """Doses of this video by artifact: those of the method times 0.8 to 1."""
        rng = self._rng(CLIP, 1)
        given = FORGERIES[self.dataset].doses
        return {
            name: float(given[name] * rng.uniform(0.8, 1.0)) if name in given else 0.0
            for name in ARTIFACTS
        }

    def frame(self, number: int, doses: Mapping[str, float] | None = None) -> Frame:
        """Render one pair of frames.

        Parameters
        ----------
        number : int
            0 to `FRAMES` − 1.
        doses : mapping, optional
            Doses by artifact that replace the video's own. Scene, motion and camera noise stay
            the same, so that a dose response shows the effect of the dose alone.

        Raises
        ------
        UnknownNameError, DatasetError
            If there is no such frame, a dose is not in [0, 1], or an artifact is unknown or not
            part of the method.
        """
        used = self._used(number, doses)
        real = self._real(number)
        image, support = compose(
            real, self._content(number, used, real), FORGERIES[self.dataset], used, self._rng(FORGE)
        )
        camera = DOMAINS[self.dataset]
        shots = [capture(i, camera, self._rng(CAMERA, number)) for i in (real.image, image)]
        return Frame(shots[0], shots[1], support.astype(np.uint8) * 255)

    def before_camera(
        self, number: int, doses: Mapping[str, float] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return the real and the forged frame in linear light, and the forgery's support."""
        used = self._used(number, doses)
        real = self._real(number)
        content = self._content(number, used, real)
        image, support = compose(real, content, FORGERIES[self.dataset], used, self._rng(FORGE))
        return real.image, image, support

    def regions(
        self, number: int, *, fake: bool = False, doses: Mapping[str, float] | None = None
    ) -> NDArray[np.int8]:
        """Return the region of the face that each pixel of a frame shows, exactly as rendered.

        Parameters
        ----------
        number : int
            0 to `FRAMES` − 1.
        fake : bool, default False
            Whether to return the regions of the forged frame: those of the forged head where its
            content has more weight than the real frame. Warping of the content (faceswap, by at
            most 1.4% of the side) is not applied to the regions.
        doses : mapping, optional
            As in `frame`; has an effect only with `fake`.

        Returns
        -------
        numpy.ndarray
            Index into `FACE_REGIONS`, shape (size, size); −1 for the background.
        """
        used = self._used(number, doses)
        real = self._real(number)
        if not fake:
            return face_regions(real)
        inside = masks_of(real, FORGERIES[self.dataset]).inside > 0.5
        forged = face_regions(self._forged(number, used, real))
        return np.where(inside, forged, face_regions(real))

    def _used(self, number: int, doses: Mapping[str, float] | None) -> dict[str, float]:
        if not 0 <= number < FRAMES:
            raise DatasetError(f"Frame {number} was given; allowed are 0 to {FRAMES - 1}.")
        check_doses(doses or {}, self.dataset)
        return {**self.doses, **(doses or {})}

    def _real(self, number: int) -> Rendering:
        return render(self._person, self._motions[number], self._scene, self.size, self._behind)

    def _content(
        self, number: int, doses: Mapping[str, float], real: Rendering
    ) -> NDArray[np.float64]:
        return self._forged(number, doses, real).image

    def _forged(self, number: int, doses: Mapping[str, float], real: Rendering) -> Rendering:
        """Return the head rendered with the forged identity or expression."""
        person, motion = self._person, self._motions[number]
        if not (doses["identity"] or doses["expression"]):
            return real
        if doses["identity"]:
            person = interpolate(person, self._draw(self.other), doses["identity"])
        if doses["expression"]:
            share, driver = doses["expression"], self._driver[number]
            mixed = (1 - share) * motion.expression + share * driver.expression
            motion = Motion(mixed, motion.yaw, motion.pitch, motion.roll)
        return render(person, motion, self._scene, self.size, self._behind)

    @cached_property
    def _person(self) -> Person:
        return self._draw(self.target)

    @cached_property
    def _behind(self) -> NDArray[np.float64]:
        return backdrop(self._scene, self._person, self.size)

    @cached_property
    def _motions(self) -> list[Motion]:
        return draw_motion(self._rng(MOTION), FRAMES)

    @cached_property
    def _driver(self) -> list[Motion]:
        return draw_motion(self._rng(DRIVER), FRAMES)

    @cached_property
    def _scene(self) -> Scene:
        return draw_scene(DOMAINS[self.dataset], self._rng(SCENE), self.size)

    def _draw(self, identity: int) -> Person:
        key = (self.seed, *self._place, identity, PERSON)
        return draw_person(np.random.default_rng(key))

    def _rng(self, purpose: int, number: int = 0) -> np.random.Generator:
        return np.random.default_rng((self.seed, *self._place, self.video, purpose, number))

    @property
    def _place(self) -> tuple[int, int]:
        return DATASETS.index(self.dataset), SPLITS.index(self.split)


def identity_name(dataset: str, split: str, number: int) -> str:
    """Return the name of an identity, unique over datasets and splits."""
    return f"lab-{DATASETS.index(dataset)}{SPLITS.index(split)}{number:04d}"


def check_doses(doses: Mapping[str, float], *datasets: str) -> None:
    """Raise if a dose is outside [0, 1], or its artifact is unknown or not in the datasets.

    Dose 0 is allowed for every known artifact.
    """
    for name, dose in doses.items():
        if name not in ARTIFACTS:
            raise UnknownNameError("artifact", name, ARTIFACTS)
        if not 0 <= dose <= 1:
            raise DatasetError(f"Dose {name}={dose} was given; allowed is 0 (none) to 1 (full).")
        own = dict.fromkeys(artifact for one in datasets for artifact in FORGERIES[one].doses)
        if dose and name not in own:
            raise DatasetError(
                f"Dose {name}={dose} was given for {', '.join(datasets)}, which does not have this "
                f"artifact. Allowed are doses of {', '.join(own)}."
            )
