"""Draw the figures of docs/artifacts.md and print its tables.

A maintainer's script, from the repository's root, about a quarter of an hour on two cores::

    python tools/draw_artifacts.py docs/img

The measurements were designed on the lab of other seeds (0, and 1, 3 and 7 for the rim).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from probe.artifacts import ArtifactReport, artifact_report, measure_artifacts
from probe.datasets import Dataset, Samples
from probe.datasets.lab import FORGERIES, Clip, make
from probe.datasets.lab.forgery import ARTIFACTS
from probe.plots import STYLE, save_figure
from probe.plots.artifacts import draw_report
from probe.plots.style import colors_of, text_on
from probe.schema import DATASETS

SEED = 2
IMAGES = 200
#: Images of the other seeds under the null hypothesis: one of each of so many people a dataset.
NULL_SEEDS, PEOPLE = range(100, 120), 24
#: Which measurement is meant for which artifact.
MEANT = {
    "resampling": "fine_detail",
    "lowpass": "fine_detail",
    "warp": "fine_detail",
    "color": "color_mismatch",
    "transfer": "contrast",
    "smoothing": "lower_detail",
    "checkerboard": "grid_period_4",
    "feather": "rim_detail",
    "seam": "seam_line",
    "halo": "overshoot",
    "poisson": "color_mismatch",
}


def main(folder: Path) -> None:
    """Write figures into a folder and print tables."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        lab = make(root / "lab", seed=SEED, counts={"test": IMAGES})
        found = report_of(lab)
        draw_report(found, folder, ".png")
        ranking(found)
        without_masks(lab)
        alone = dict(each_alone(root))
        save_figure(alone_figure(alone), folder / "artifacts-alone.png")
        first_three(alone)
        poisson(root)
        confounded(lab, root)
        nulls(root)


def report_of(data: Dataset) -> ArtifactReport:
    """Measure and compare."""
    return artifact_report(measure_artifacts(data, n_workers=2))


def each_alone(root: Path) -> Iterator[tuple[str, xr.Dataset]]:
    """Make each dataset with one of its artifacts on and all others off."""
    for name in DATASETS:
        own = FORGERIES[name].doses
        for artifact in [one for one in own if one not in ("identity", "expression")]:
            off = {other: 0.0 for other in own if other != artifact}
            data = make(
                root / f"{name}-{artifact}",
                seed=SEED,
                datasets=(name,),
                doses=off,
                counts={"test": IMAGES},
            )
            yield f"{artifact} ({name})", report_of(data).data.isel(dataset=0)


def ranking(found: ArtifactReport) -> None:
    """Print what is largest in each dataset, its planted artifacts, and the shared one in all."""
    for name in map(str, found.data["dataset"].values):
        part = found.data.sel(dataset=name)
        planted = [one for one in FORGERIES[name].doses if one in MEANT]
        ranks = [f"{one} {int(part['rank'].sel(measurement=MEANT[one]))}" for one in planted]
        print(name, *_largest(part), ", ".join(ranks), sep=" | ")
    shared = found.data.sel(measurement="fine_detail")[["effect", "low", "high", "q"]]
    print(shared.to_dataframe().round(5).to_string())


def without_masks(lab: Dataset) -> None:
    """Print the shared artifact where the central ellipse stands for the region."""
    table = lab.samples.table.assign(mask="")
    found = report_of(Dataset(lab.name, Samples(table), lab.root, lab.card))
    print("without masks")
    ranking(found)


def first_three(alone: dict[str, xr.Dataset]) -> None:
    """Print what sees each artifact best when nothing else is there."""
    for title, data in alone.items():
        meant = MEANT[title.split()[0]]
        place = int(data["rank"].sel(measurement=meant))
        own = float(data["q"].sel(measurement=meant).max())
        print(title, f"{meant}: {place}, q {own:.2g}", *_largest(data), sep=" | ")


def _largest(data: xr.Dataset, most: int = 3) -> list[str]:
    part = data.sel(control="none").sortby("rank")
    cells = zip(part["measurement"].values, part["effect"].values, strict=True)
    return [f"{name} {effect:+.2f}" for name, effect in list(cells)[:most]]


def poisson(root: Path) -> None:
    """Print what blending gradients changes on faces of another identity and color.

    By itself it changes nothing: the gradients of the real frame, put into the real frame, are
    that frame.
    """
    parts = [
        make(
            root / f"poisson-{label}",
            seed=SEED,
            datasets=("celebdf",),
            counts={"test": IMAGES},
            doses={"resampling": 0.0} if label else {"resampling": 0.0, "poisson": 0.0},
        ).select(label=1)
        for label in (0, 1)
    ]
    tables = []
    for label, part in enumerate(parts):
        table = part.samples.table.assign(label=label, method=("real", "poisson")[label])
        table["sample"] += f"-{label}"
        for column in ("path", "mask"):
            table[column] = [str(part.root / one) for one in table[column]]
        tables.append(table)
    data = Dataset("poisson", Samples(pd.concat(tables)), root, {})
    found = report_of(data).data.isel(dataset=0)
    print("poisson on against off", *_largest(found), sep=" | ")
    print(found.sel(control="none")[["effect", "q"]].to_dataframe().round(3).to_string())


def alone_figure(alone: dict[str, xr.Dataset]) -> Figure:
    """Draw effects of every measurement on every artifact by itself; dots mark the meant one."""
    columns = [str(name) for name in next(iter(alone.values()))["measurement"].values]
    rows = sorted(alone, key=lambda title: (ARTIFACTS.index(title.split()[0]), title))
    effects = np.stack([alone[title]["effect"].sel(control="none").values for title in rows])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 4.1), layout="constrained")
        axes = figure.subplots()
        scale = mpl.colors.SymLogNorm(0.5, vmin=-10, vmax=10)
        drawn = axes.imshow(effects, cmap=colors_of(True), norm=scale, aspect="auto")
        for r, title in enumerate(rows):
            largest = int(np.nanargmax(np.abs(effects[r])))
            axes.text(
                largest,
                r,
                f"{effects[r, largest]:+.2g}",
                ha="center",
                va="center",
                fontsize=5,
                color=text_on(drawn.to_rgba(effects[r, largest])),
            )
            meant = columns.index(MEANT[title.split()[0]])
            box = mpl.patches.Rectangle((meant - 0.5, r - 0.5), 1, 1, fill=False, lw=0.9)
            axes.add_patch(box)
        axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=6)
        axes.set_yticks(range(len(rows)), rows, fontsize=6.5)
        axes.tick_params(length=0)
        bar = figure.colorbar(drawn, ax=axes, pad=0.01, fraction=0.04)
        bar.set_ticks([-10, -1, 0, 1, 10], labels=["−10", "−1", "0", "1", "10"])
        bar.set_label("fake − real, SDs of real images", fontsize=6.5)
        bar.ax.tick_params(labelsize=6)
    return figure


def confounded(lab: Dataset, root: Path) -> None:
    """Print what is found where fakes are real images that were saved at another quality."""
    rng = np.random.default_rng(0)
    table = lab.select(dataset="celebdf").samples.table
    reals = table[table["label"] == 0]
    masks = table[table["label"] == 1].set_index("pair")["mask"]
    rows = []
    for label, (low, high) in ((0, (70, 95)), (1, (55, 85))):
        for _, row in reals.iterrows():
            file = root / "saved" / f"{row['sample']}-{label}.jpg"
            file.parent.mkdir(exist_ok=True)
            quality = int(rng.integers(low, high, endpoint=True))
            Image.open(lab.root / row["path"]).save(file, quality=quality)
            rows.append(
                {
                    **row,
                    "sample": file.stem,
                    "label": label,
                    "method": ("real", "resaved")[label],
                    "path": str(file),
                    "mask": str(lab.root / masks[row["sample"]]),
                }
            )
    data = Dataset("saved", Samples(pd.DataFrame(rows)[list(table.columns)]), root, {})
    found = report_of(_undigested(data)).data.isel(dataset=0)
    wrong = (found["q"] <= 0.05).sum("measurement")
    worst = np.abs(found["effect"].drop_sel(measurement="jpeg_quality")).max("measurement")
    told = float(found["imbalance"].sel(covariate="quality"))
    print(f"resaved: quality tells the label at AUROC {told:.2f}")
    for control in found["control"].values:
        at = {"control": control}
        print(
            control,
            f"n {int(found['n_used'].sel(at))}",
            f"significant {int(wrong.sel(at))}",
            f"largest effect {float(worst.sel(at)):.2f}",
            sep=" | ",
        )


def _undigested(data: Dataset) -> Dataset:
    table = data.samples.table.drop(columns="digest")
    return Dataset(data.name, Samples(table), data.root, data.card)


def nulls(root: Path) -> None:
    """Print how many seeds have any finding where fakes are real frames, paired and unpaired."""
    with ProcessPoolExecutor(2) as pool:
        rows = list(pool.map(_null, [(root, seed) for seed in NULL_SEEDS]))
    frame = pd.DataFrame(rows)
    print(frame.to_string())
    print("seeds with any finding, of", len(frame))
    print((frame > 0).sum().to_string())


def _null(job: tuple[Path, int]) -> dict[str, int]:
    root, seed = job
    data = zero_doses(root / f"null-{seed}", seed, DATASETS, PEOPLE)
    out = {}
    for name, part in (("paired", data), ("unpaired", unpaired(data))):
        found = artifact_report(measure_artifacts(part, progress=False), progress=False).data
        for control in found["control"].values:
            out[f"{name} {control}"] = int((found["q"].sel(control=control) <= 0.05).sum())
    return out


def zero_doses(root: Path, seed: int, datasets: Sequence[str], people: int) -> Dataset:
    """Make one frame of each person, and the same with a forgery all of whose doses are 0."""
    rows = []
    for name in datasets:
        for video in range(people):
            clip = Clip(name, "test", video, people, seed=seed)
            frame = clip.frame(0, dict.fromkeys(FORGERIES[name].doses, 0.0))
            key = f"{name}-{video}"
            for label, image in (("0", frame.real), ("1", frame.fake), ("mask", frame.mask)):
                (root / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(root / name / f"{video}-{label}.png")
            for label in (0, 1):
                rows.append(
                    {
                        "sample": f"{key}-{label}",
                        "dataset": name,
                        "split": "test",
                        "label": label,
                        "method": name if label else "real",
                        "video": key,
                        "identity": key,
                        "source": "",
                        "frame": 0,
                        "path": f"{name}/{video}-{label}.png",
                        "mask": f"{name}/{video}-mask.png",
                    }
                )
    return Dataset("zero", Samples(pd.DataFrame(rows)), root, {})


def unpaired(data: Dataset) -> Dataset:
    """Keep the real image of every other person and the fake of the rest."""
    table = data.samples.table
    person = table["identity"].str.rsplit("-", n=1).str[1].astype(int)
    return data.take(np.flatnonzero(person % 2 == table["label"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
