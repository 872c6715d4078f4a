"""Two actors in a frame, as in DeepFakeDetection: the crop of a fake shows the forged one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from probe.datasets import ingest, open_dataset
from tests.datasets.drawing import draw_face, write_video

SMALL, LARGE = (250, 70, 24), (80, 80, 38)
NAME = "01_02__walking_outside__YVGY8LOK"


def scene(seed: int) -> np.ndarray:
    """A large head on the left, a small one on the right."""
    large = draw_face(*LARGE, width=320, seed=seed)
    small = draw_face(*SMALL, width=320, seed=seed + 100)
    large[:, 170:] = small[:, 170:]
    return large


def masks(x: int, y: int, radius: int, size: tuple[int, int] = (180, 320)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    cv2.circle(image, (x, y), radius, (255, 255, 255), -1)
    return image


def made(root: Path, mask: list[np.ndarray] | None) -> Path:
    frames = [scene(i) for i in range(6)]
    write_video(root / "original_sequences/actors/c23/videos/01__walking_outside.mp4", frames)
    fakes = root / "manipulated_sequences/DeepFakeDetection"
    write_video(fakes / f"c23/videos/{NAME}.mp4", frames)
    if mask is not None:
        write_video(fakes / f"masks/videos/{NAME}.mp4", mask)
    return root


def centers(root: Path, out: Path) -> dict[int, list[float]]:
    """Centers of the followed boxes, for reals and fakes."""
    report = ingest("dfd", root, out, n_workers=1, frames=6, size=64)
    table = open_dataset(out).samples.table
    middle = table["box_x"] + table["box_w"] / 2
    assert report.frames_without_face == 12 - len(table)
    return {label: middle[table["label"] == label].tolist() for label in (0, 1)}


@pytest.mark.parametrize(("forged", "x"), [(SMALL, 250), (LARGE, 80)])
def test_the_forged_actor_is_followed(tmp_path: Path, forged: tuple[int, int, int], x: int) -> None:
    found = centers(made(tmp_path / "in", [masks(*forged)] * 6), tmp_path / "out")
    assert found[1] == pytest.approx([x] * 6, abs=12)
    assert found[0] == pytest.approx([80] * 6, abs=12)


def test_without_masks_the_largest_is(tmp_path: Path) -> None:
    found = centers(made(tmp_path / "in", None), tmp_path / "out")
    assert found[1] == pytest.approx([80] * 6, abs=12)


def test_black_masks_continue_and_foreign_ones_leave_out(tmp_path: Path) -> None:
    """Frame 1 has a black mask, frame 4 one where nobody is."""
    given = [masks(*SMALL)] * 6
    given[1], given[4] = masks(0, 0, 0) * 0, masks(170, 160, 8)
    found = centers(made(tmp_path / "in", given), tmp_path / "out")
    assert found[1] == pytest.approx([250] * 5, abs=12)


def test_masks_of_another_size_decide_nothing(tmp_path: Path) -> None:
    given = [masks(125, 35, 12, (90, 160))] * 6
    found = centers(made(tmp_path / "in", given), tmp_path / "out")
    assert found[1] == pytest.approx([80] * 6, abs=12)
