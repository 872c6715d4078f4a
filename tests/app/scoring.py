"""A stand-in for the worker that scores dropped images: instant, without weights."""

from __future__ import annotations

import sys
from pathlib import Path

from app.jobs import Jobs

#: Writes what `probe.jobs.scoring` writes. A file "hold" beside the jobs keeps it waiting.
SCRIPT = """
import json, os, shutil, sys, time
root = sys.argv[1]
job = json.load(open(root + "/job.json"))
hold = os.path.join(os.path.dirname(root), "hold")
note = {"done": 1, "total": 4, "started": time.time(), "written": time.time() + 1,
        "message": "score the image"}
json.dump(note, open(root + "/progress.json", "w"))
while os.path.exists(hold):
    time.sleep(0.02)
os.mkdir(root + "/result.part")
shutil.copy(root + "/files/image.png", root + "/result.part/seen.png")
detectors = {
    label: {"logit": 1.5 - i, "layer": job["params"]["layers"].get(label, ""),
            "activation": [float(k) for k in range(12)]}
    for i, label in enumerate(job["params"]["detectors"])
}
content = {
    "rule": "the whole image", "notes": ["Made up."], "box": None, "faces": 0, "size": [40, 30],
    "seen_size": [16, 16], "detectors": detectors, "region": "central ellipse; no masks",
    "measurements": {"slope": 2.5, "npr": None, "seam_gradient": 1.0},
}
json.dump(content, open(root + "/result.part/scores.json", "w"))
os.rename(root + "/result.part", root + "/result")
"""


def fake_scoring(root: Path) -> Jobs:
    return Jobs(root, command=(sys.executable, "-S", "-c", SCRIPT))


def card_weights(root: Path, *labels: str) -> None:
    """Give a run the cards of detectors, which say that there are weights."""
    for label in labels:
        folder = root / "detectors" / label.replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.json").write_text('{"weights_hash": "w"}')
