"""Identity, expression and pose of the lab's heads, each from its own seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from probe.datasets.lab.head import load_basis

__all__ = ["Motion", "Person", "draw_motion", "draw_person", "interpolate"]

Floats = NDArray[np.float64]

#: Facial actions of a talking face, with their maximum activations.
ACTIONS = {
    "jawOpen": 0.35,
    "mouthSmileLeft": 0.6,
    "mouthSmileRight": 0.6,
    "browInnerUp": 0.6,
    "mouthFunnel": 0.35,
    "mouthPucker": 0.3,
    "mouthStretchLeft": 0.4,
    "mouthStretchRight": 0.4,
    "mouthFrownLeft": 0.4,
    "mouthFrownRight": 0.4,
    "browDownLeft": 0.5,
    "browDownRight": 0.5,
    "eyeSquintLeft": 0.5,
    "eyeSquintRight": 0.5,
    "cheekPuff": 0.25,
}

#: Share of the other identity's skin tone that a swap transfers.
KEPT_TONE = 0.15

SKINS = np.array(
    [
        [0.80, 0.64, 0.56],
        [0.75, 0.58, 0.49],
        [0.67, 0.50, 0.41],
        [0.54, 0.39, 0.31],
        [0.41, 0.29, 0.23],
        [0.83, 0.69, 0.62],
    ]
)
HAIRS = np.array(
    [
        [0.08, 0.06, 0.05],
        [0.20, 0.13, 0.08],
        [0.33, 0.23, 0.14],
        [0.47, 0.38, 0.27],
        [0.36, 0.35, 0.34],
    ]
)
IRISES = np.array([[0.25, 0.16, 0.09], [0.33, 0.24, 0.13], [0.30, 0.38, 0.42], [0.29, 0.36, 0.25]])


@dataclass(frozen=True)
class Person:
    """The appearance of an identity.

    Attributes
    ----------
    shape : numpy.ndarray
        Weights of the identity components, in standard deviations.
    skin, lips, hair, iris : numpy.ndarray
        Colors in linear light, shape (3,), in [0, 1].
    texture : numpy.ndarray
        Skin noise on a grid over the face, shape (64, 64), about unit variance.
    brow : float
        Relative thickness of the brows, about 1.
    hairline, volume : float
        Height of the hairline and thickness of the hair in decimeters.
    """

    shape: Floats
    skin: Floats
    lips: Floats
    hair: Floats
    iris: Floats
    texture: Floats
    brow: float
    hairline: float
    volume: float


@dataclass(frozen=True)
class Motion:
    """Expression and pose of a head in one frame.

    Attributes
    ----------
    expression : numpy.ndarray
        Activations of the facial actions.
    yaw, pitch, roll : float
        Pose angles in radians.
    """

    expression: Floats
    yaw: float
    pitch: float
    roll: float


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a random identity."""
    basis = load_basis()
    shape = np.clip(rng.normal(0, 1, len(basis.identity)), -1.8, 1.8)
    one, two = rng.choice(len(SKINS), 2, replace=False)
    skin = SKINS[one] + rng.uniform(0, 0.5) * (SKINS[two] - SKINS[one])
    lips = skin * np.array([0.93, 0.72, 0.73]) * rng.uniform(0.92, 1.04)
    hair = HAIRS[rng.integers(len(HAIRS))] * rng.uniform(0.8, 1.2)
    iris = IRISES[rng.integers(len(IRISES))] * rng.uniform(0.8, 1.2)
    # Colors are drawn with display gamma and stored in linear light.
    skin, lips, hair, iris = (np.clip(c, 0, 1) ** 2.2 for c in (skin, lips, hair, iris))
    return Person(
        shape,
        skin,
        lips,
        hair,
        iris,
        texture=rng.normal(0, 1, (64, 64)),
        brow=rng.uniform(0.75, 1.3),
        hairline=rng.uniform(0.62, 0.78),
        volume=rng.uniform(0.06, 0.16),
    )


def draw_motion(rng: np.random.Generator, frames: int) -> list[Motion]:
    """Draw the motion of a short video: drifting pose and changing expression, one per frame."""
    names = load_basis().expression_names
    pose = rng.normal(0, [0.20, 0.09, 0.06])
    drift = rng.normal(0, [0.05, 0.03, 0.02])
    first, last = (_expression(rng, names) for _ in range(2))
    out = []
    for frame in range(frames):
        share = frame / max(frames - 1, 1)
        yaw, pitch, roll = np.clip(pose + (share - 0.5) * 2 * drift, -0.45, 0.45)
        out.append(Motion((1 - share) * first + share * last, yaw, pitch, roll))
    return out


def _expression(rng: np.random.Generator, names: tuple[str, ...]) -> Floats:
    out = np.zeros(len(names))
    strength = rng.uniform(0, 1, len(ACTIONS)) * (rng.random(len(ACTIONS)) < 0.4)
    for (name, most), share in zip(ACTIONS.items(), strength, strict=True):
        # Faces move almost symmetrically.
        twin = names.index(name.replace("Left", "Right"))
        out[names.index(name)] = share * most
        out[twin] = max(out[twin], 0.85 * share * most)
    return out


def interpolate(one: Person, other: Person, dose: float) -> Person:
    """Interpolate between two identities: dose 0 gives the first, dose 1 the second.

    Hair is that of the first identity: a swap replaces the face, not the head.
    """

    def mixed(a: Floats, b: Floats) -> Floats:
        return np.asarray((1 - dose) * a + dose * b)

    return replace(
        one,
        shape=mixed(one.shape, other.shape),
        lips=one.lips + KEPT_TONE * (mixed(one.lips, other.lips) - one.lips),
        iris=mixed(one.iris, other.iris),
        skin=one.skin + KEPT_TONE * (mixed(one.skin, other.skin) - one.skin),
        texture=mixed(one.texture, other.texture),
        brow=(1 - dose) * one.brow + dose * other.brow,
    )
