"""`Images`: the values and the order of `Dataset.array`, each file decoded once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from probe.compute import on_device, to_device
from probe.datasets import loader
from probe.datasets.dataset import Dataset, Samples, concatenate
from probe.datasets.loader import Images
from probe.datasets.work import worker_pool
from probe.errors import DatasetError, ImageError, ProbeError

SIZE = 24

#: Put before a program: every image file that is decoded, by whichever process, is noted; a
#: fingerprint reads files too.
COUNTING = """
import os, pathlib, sys
read = pathlib.Path.read_bytes
def counted(self):
    if self.suffix == ".png" and sys._getframe(1).f_code.co_name == "read_image":
        with open(os.environ["READ_IMAGES"], "a") as log:
            log.write(str(self) + "\\n")
    return read(self)
pathlib.Path.read_bytes = counted
"""


def floats(pixels: np.ndarray) -> np.ndarray:
    return to_device(pixels, torch.device("cpu")).numpy()


@pytest.fixture(params=["threads", "processes"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "processes":
        monkeypatch.setattr(loader, "FEW", 0)
    return str(request.param)


@pytest.mark.parametrize("keep", [False, True])
def test_values_and_order_are_those_of_arrays(noise: Dataset, by: str, keep: bool) -> None:
    images = Images(noise, SIZE, keep=keep, n_workers=2)
    for part in (noise, noise.select(split="test")):
        for batch in (7, 64, 1000):
            taken = list(images.batches(part, batch))
            assert [where.stop for where, _ in taken][-1] == len(part)
            found = np.concatenate([pixels for _, pixels in taken])
            np.testing.assert_array_equal(floats(found), part.array(range(len(part)), SIZE))
    order = np.random.default_rng(0).integers(0, len(noise), 150)
    sizes = [1, 50, 2, 97]
    taken = list(images.batches(noise, sizes, order))
    assert [len(pixels) for _, pixels in taken] == sizes
    found = np.concatenate([pixels for _, pixels in taken])
    np.testing.assert_array_equal(floats(found), noise.array(order, SIZE))


def test_all_values_are_divided_alike() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    wanted = np.arange(256, dtype=np.float32) / np.float32(255)
    np.testing.assert_array_equal(floats(pixels)[0, 0].ravel(), wanted)


def test_a_broken_image_is_named_and_the_rest_goes_on(noise: Dataset, by: str) -> None:
    table = noise.samples.table.copy()
    table.loc[table.index[40], "path"] = "images/none.png"
    broken = Dataset("broken", Samples(table), noise.root)
    with pytest.raises(ImageError, match="none.png' is missing"):
        list(Images(broken, SIZE, n_workers=2).batches(broken, 16))
    assert len(list(Images(noise, SIZE, n_workers=2).batches(noise, 16))) == -(-len(noise) // 16)


def test_what_is_left_early_does_no_harm(noise: Dataset, by: str) -> None:
    images = Images(noise, SIZE, n_workers=2)
    first = next(images.batches(noise, 16))[1]
    again = next(images.batches(noise, 16))[1]
    np.testing.assert_array_equal(first, again)


def test_batches_shrink_where_memory_ends(
    noise: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 5:
            raise torch.OutOfMemoryError("too much")
        return x.mean(dim=(1, 2, 3))

    batches = Images(noise, SIZE).batches(noise, 16)
    found = list(on_device(batches, torch.device("cpu"), run))
    assert [where.start for where, _ in found][1:] == [where.stop for where, _ in found][:-1]
    whole = to_device(next(Images(noise, SIZE).batches(noise, len(noise)))[1], torch.device("cpu"))
    torch.testing.assert_close(torch.cat([one for _, one in found]), whole.mean(dim=(1, 2, 3)))
    said = capsys.readouterr().err
    assert "batches of 8 images" in said and "batches of 4 images" in said
    with pytest.raises(ProbeError, match="One image at a time exceeds the memory of cpu"):
        list(on_device(Images(noise, SIZE).batches(noise, 4), torch.device("cpu"), lambda _: no()))


def test_a_disk_without_room_is_said(
    noise: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loader, "FEW", 0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match="cannot be allocated in .*No space left.*TMPDIR"):
        list(Images(noise, SIZE, n_workers=2).batches(noise, 16))
    disk = SimpleNamespace(free=1000)
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda _: disk)
    monkeypatch.setattr(loader, "FEW", 1 << 28)
    again = Images(noise, SIZE, keep=True, memory=0)
    assert len(list(again.batches(noise, 16))) == -(-len(noise) // 16)
    assert "they are decoded again for each pass" in " ".join(capsys.readouterr().err.split())


def no() -> None:
    raise torch.OutOfMemoryError("too much")


def twice(data: Dataset) -> Dataset:
    """Two datasets that share their real images."""
    one, two = data.by_dataset()["one"], data.by_dataset()["two"]
    reals = one.select(label=0).samples.table.assign(dataset="two")
    reals["sample"] = "shared-" + reals["sample"].astype(str)
    table = pd.concat([two.select(label=1).samples.table, reals], ignore_index=True)
    return concatenate([one, Dataset("two", Samples(table), data.root)], "both")


SCRIPT = """
import sys
from pathlib import Path
from probe.datasets import loader
from probe.datasets.dataset import read_native
loader.FEW = int(sys.argv[3])
from probe.neurons import sweep as sweeping
sweeping.MEMORY = 4096  # batches at the tap are hardly held
import probe
from tests.datasets.test_loader import twice
data = twice(read_native(Path(sys.argv[1]), "noise"))
test = data.select(split="test")
detector = probe.load_detector("meso4", input_size=32)
if sys.argv[2] == "neurons":
    heads = [probe.load_detector("meso4", input_size=32, seed=5)]
    probe.neuron_importance(
        detector, test, also=("conductance",), ablation="resample", n_resamples=0,
        n_permutations=9, shuffled=heads,
    )
elif sys.argv[2] == "record":
    probe.record(detector, test, Path(sys.argv[4]), layers=["fc1"], batch_size=16)
elif sys.argv[2] == "ablate":
    probe.ablate(detector, test, units={"a": [0, 1]}, n_random=2, n_resamples=10)
elif sys.argv[2] == "universal":
    from probe.neurons.ablation import ablate_universal
    found = ablate_universal(detector, test, n_random=2, n_resamples=10)
    assert found.data.sizes["set"]
elif sys.argv[2] == "evaluate":
    other = probe.load_detector("mesoinception4", input_size=32)
    probe.evaluate([detector, other], test)
"""


@pytest.mark.parametrize(
    "work",
    [
        "neurons",
        pytest.param("ablate", marks=pytest.mark.slow),
        pytest.param("universal", marks=pytest.mark.slow),
        "record",
        pytest.param("evaluate", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("few", [pytest.param(1 << 28, marks=pytest.mark.slow), 0])
def test_each_image_is_decoded_once(noise: Dataset, tmp_path: Path, work: str, few: int) -> None:
    """Counted where files are read, in whichever process: with all nulls, and shared originals."""
    (tmp_path / "sitecustomize.py").write_text(COUNTING)
    log = tmp_path / "read.txt"
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    env = {**os.environ, "PYTHONPATH": path, "READ_IMAGES": str(log)}
    words = [str(noise.root), work, str(few), str(tmp_path / "store.zarr")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    test = twice(noise).select(split="test")
    wanted = set(test.samples.table["path"])
    assert len(wanted) < len(test)
    assert Counter(log.read_text().split()) == dict.fromkeys(wanted, 1)


def test_workers_work_in_the_folder_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths of a notebook that changes its folder are not looked up in the first one."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with worker_pool(2) as pool:
            assert pool.submit(os.getcwd).result() == str(tmp_path / name)
