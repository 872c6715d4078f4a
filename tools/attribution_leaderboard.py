"""Write docs/attribution-leaderboard.md: which methods find the forged area, on the lab.

A maintainer's script, from the repository's root, about half an hour on one core, after
``make demo``::

    python tools/attribution_leaderboard.py runs/demo docs/attribution-leaderboard.md
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from probe.attribution import METHODS
from probe.attribution.trust import TrustReport, trust_report
from probe.datasets import open_dataset
from probe.datasets.dataset import concatenate
from probe.detectors import load_detector
from probe.results import Provenance

DETECTORS = ("meso4-base", "mesoinception4-base")
DATASETS = ("deepfakes", "celebdf", "face2face", "faceswap", "neuraltextures", "dfd")
#: Fakes a dataset, each of another person, and detectors of random weights.
FAKES, RANDOM = 20, 5
CHECKS = ("mask_auroc", "pointing", "mask_mass", "mask_iou", "completeness")
QUICKER = {"lime": {"samples": 128}, "kernel_shap": {"samples": 128}}


def main(run: Path, page: Path) -> None:
    """Check all methods on both detectors and write the page."""
    torch.set_num_threads(1)
    data = concatenate(
        [open_dataset(f"lab:{name}", split="test").select(label=1) for name in DATASETS], "lab"
    )
    parts = []
    for name in DETECTORS:
        place = page.with_name(f"{name}-leaderboard.zarr")
        if place.is_dir():
            found = TrustReport.open(place)
        else:
            found = trust_report(
                load_detector(run / "detectors" / name),
                data,
                list(METHODS),
                checks=CHECKS,
                max_samples=FAKES,
                n_random=RANDOM,
                n_shifts=1,
                options=QUICKER,
            )
            found.save(place)
        parts.append(section(found.data))
    page.write_text("\n\n".join([HEAD.strip(), *parts]) + "\n", encoding="utf-8")


HEAD = f"""
# Which methods find the forged area, on the lab

Made by `python tools/attribution_leaderboard.py runs/demo docs/attribution-leaderboard.md`, of the
demo's detectors (trained on the lab's `deepfakes`), {FAKES} test fakes of as many identities per
dataset. The lab is a simulation, and its masks are exact; [reliability
checks](attribution-trust.md) describes the checks.

- The value is the AUROC of pixels by attribution against the mask of the forgery, mean over fakes,
  with its 95% interval over identities. A random map has .50.
- *random weights*: mean over fakes and {RANDOM} networks of the same architecture with random
  weights, and their range. **Values within that range are no evidence of what was learned.**
- *edges* is the Sobel magnitude of the image: a method that is not better needs no network.
- Methods in order of their value on `deepfakes`. Bold: above .5, above the range of random weights
  and above edges.
"""


def section(data: xr.Dataset) -> str:
    """Write the tables of one detector."""
    title = f"## {next(iter(Provenance.of(data.attrs).detectors))}"
    return "\n\n".join([title, auroc_table(data), places_table(data), refusals(data)])


def auroc_table(data: xr.Dataset) -> str:
    """Write pixel AUROC by method and dataset."""
    part = data.sel(check="mask_auroc")
    edges = part.sel({"method": "edges"})
    rows = []
    for name in ordered(part):
        at = part.sel({"method": name})
        if not np.isfinite(at["value"].sel(dataset="deepfakes")):
            continue
        whole = at.sel(dataset="all")
        weights = ""
        if np.isfinite(whole["randomized"]):
            low, high = (float(whole[f"randomized_{end}"]) for end in ("low", "high"))
            weights = f"{two(whole['randomized'])} ({two(low)} to {two(high)})"
        cells = [cell(at.sel(dataset=d), edges.sel(dataset=d)) for d in (*DATASETS, "all")]
        rows.append([str(name), *cells, weights])
    return table(["method", *DATASETS, "all", "random weights"], rows)


def ordered(part: xr.Dataset) -> Sequence[str]:
    """Methods by their value on deepfakes, the best first."""
    values = np.nan_to_num(part["value"].sel(dataset="deepfakes").values, nan=-1)
    return [str(part["method"].values[i]) for i in np.argsort(-values, kind="stable")]


def cell(at: xr.Dataset, edges: xr.Dataset) -> str:
    """Write a value with its interval; bold where it means something."""
    value, low, high = (float(at[name]) for name in ("value", "low", "high"))
    text = f"{two(value)} [{two(low)}, {two(high)}]"
    above = np.isfinite(at["randomized"]) and value > float(at["randomized_high"])
    return f"**{text}**" if low > 0.5 and above and value > float(edges["value"]) else text


def places_table(data: xr.Dataset) -> str:
    """Write the other checks of where, on all fakes together."""
    part = data.sel(dataset="all")
    rows = []
    for name in ordered(data.sel(check="mask_auroc")):
        at = part.sel({"method": name})
        if not np.isfinite(at["value"].sel(check="pointing")):
            continue
        row = [str(name)]
        for check in ("pointing", "mask_mass", "mask_iou"):
            one = at.sel(check=check)
            value, low, high, chance = (float(one[n]) for n in ("value", "low", "high", "chance"))
            row.append(f"{two(value)} [{two(low)}, {two(high)}], chance {two(chance)}")
        gap = float(at["value"].sel(check="completeness"))
        rows.append([*row, f"{gap:.1%}" if np.isfinite(gap) else ""])
    head = ["method", "pointing game", "mass inside", "IoU at matched area", "completeness gap"]
    return "All datasets together:\n\n" + table(head, rows)


def refusals(data: xr.Dataset) -> str:
    """Name the methods that could not be applied, and why."""
    part = data.sel(check="mask_auroc", dataset="all")
    texts = {
        str(at["reason"].values)
        for at in (part.sel({"method": name}) for name in part["method"].values)
        if not np.isfinite(at["value"])
    }
    return "\n".join(f"- {text}" for text in sorted(texts))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def two(value: object) -> str:
    """Write a share with two digits and no leading zero."""
    return f"{float(value):.2f}".replace("0.", ".", 1)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
