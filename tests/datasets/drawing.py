"""Heads that YuNet finds, drawn; small videos of them; an official tree made of those."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def draw_face(
    x: float = 120,
    y: float = 80,
    radius: float = 30,
    width: int = 240,
    height: int = 180,
    seed: int = 0,
) -> Image:
    """Draw a head, shaded and noisy, on a plain background; radius 0 leaves it out."""
    image = np.full((height, width, 3), (90, 105, 120), np.uint8)
    skin, dark = (205, 160, 135), (160, 124, 105)

    def blob(dx: float, dy: float, rx: float, ry: float, color: tuple[int, int, int]) -> None:
        center = round(x + dx * radius), round(y + dy * radius)
        axes = max(1, round(rx * radius)), max(1, round(ry * radius))
        cv2.ellipse(image, center, axes, 0, 0, 360, color, -1, cv2.LINE_AA)

    if radius:
        blob(0, 2.6, 2.0, 1.3, (50, 60, 90))
        blob(0, 1.2, 0.45, 0.7, dark)
        blob(0, -0.25, 1.0, 1.25, (50, 35, 25))
        blob(0, 0, 0.85, 1.15, skin)
        for side in (-1, 1):
            blob(side * 0.36, -0.38, 0.25, 0.06, (60, 40, 30))
            blob(side * 0.36, -0.22, 0.24, 0.15, dark)
            blob(side * 0.36, -0.2, 0.19, 0.09, (240, 240, 240))
            blob(side * 0.36, -0.2, 0.085, 0.085, (40, 25, 20))
        blob(0, 0.14, 0.1, 0.34, (217, 170, 143))
        blob(0, 0.28, 0.19, 0.09, dark)
        blob(0, 0.62, 0.32, 0.12, (170, 80, 80))
    soft = cv2.GaussianBlur(image, (3, 3), 1.0)
    noise = np.random.default_rng(seed).normal(0, 2, soft.shape)
    return (soft + noise).clip(0, 255).astype(np.uint8)


def write_video(
    file: Path, images: Sequence[Image], gop: int = 12, faststart: bool = False
) -> Path:
    """Encode images as H.264 in MP4, with B-frames, 25 a second."""
    file.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(file), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "g": str(gop), "bf": "2", "preset": "ultrafast"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return file


def moving(frames: int, seed: int = 0, blank: Iterable[int] = ()) -> list[Image]:
    """Frames of a head that drifts to the right; those in `blank` show none."""
    empty = set(blank)
    return [
        draw_face(x=90 + 2 * i, radius=0 if i in empty else 28, seed=1000 * seed + i)
        for i in range(frames)
    ]


def make_tree(root: Path) -> Path:
    """Write a small FaceForensics++ tree: two originals, two fakes with and without masks."""
    original, fake = root / "original_sequences", root / "manipulated_sequences"
    write_video(original / "youtube/c23/videos/000.mp4", moving(20, 1))
    write_video(original / "youtube/c23/videos/003.mp4", moving(24, 2, blank=range(10, 14)))
    write_video(fake / "Deepfakes/c23/videos/000_003.mp4", moving(20, 3))
    write_video(fake / "Deepfakes/masks/videos/000_003.mp4", masks(20))
    write_video(fake / "Face2Face/c23/videos/003_000.mp4", moving(16, 4))
    splits = {"train": [["000", "003"]], "val": [], "test": [["100", "101"]]}
    for name, pairs in splits.items():
        (root / "splits").mkdir(exist_ok=True)
        (root / "splits" / f"{name}.json").write_text(json.dumps(pairs))
    return root


def masks(frames: int) -> list[Image]:
    """White discs where `moving` draws heads."""
    out = []
    for i in range(frames):
        image = np.zeros((180, 240, 3), np.uint8)
        cv2.circle(image, (90 + 2 * i, 80), 24, (255, 255, 255), -1)
        out.append(image)
    return out
