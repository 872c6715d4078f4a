"""FaceForensics++'s test split as a table, in its real row counts, over few small files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from probe.datasets.dataset import Dataset, Samples
from probe.detectors import Detector, load_detector
from probe.evaluation.matrix import evaluate
from probe.neurons import neuron_importance, universal_neurons
from probe.neurons.ablation import ablate

METHODS = ("deepfakes", "face2face", "faceswap", "neuraltextures")
VIDEOS, FRAMES, FILES, SIZE = 140, 32, 16, 32


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four methods of 4,480 reals, then 4,480 fakes; the reals of all are the same files."""
    root, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for name in ("real", *METHODS):
        for k in range(FILES):
            pixels = rng.integers(0, 200, (SIZE, SIZE, 3)) + 40 * (name != "real") * (k % 3)
            file = root / f"{name}-{k}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    parts = [_rows(method, label) for method in METHODS for label in (0, 1)]
    return Dataset("ffpp", Samples(pd.concat(parts, ignore_index=True)), root)


def _rows(method: str, label: int) -> pd.DataFrame:
    of = method if label else "real"
    video, frame = (one.ravel() for one in np.indices((VIDEOS, FRAMES)))
    # Every video leans to some files of its own.
    drawn = np.random.default_rng(label).integers(0, 1 + FILES // 2, len(video))
    files = pd.Series(f"{of}-{k}" for k in (video + drawn) % FILES)
    names = pd.Series(f"{k:03d}" for k in video)
    ids = [f"{method}/{of}/{v:03d}/{f:02d}" for v, f in zip(video, frame, strict=True)]
    # A fake shows the face of the video's own pair.
    other = pd.Series(f"{k ^ 1:03d}" for k in video) if label else ""
    return pd.DataFrame(
        {
            "sample": ids,
            "dataset": method,
            "split": "test",
            "label": label,
            "method": of,
            "video": names + ("_" + other if label else ""),
            "identity": names,
            "source": other,
            "frame": frame,
            "path": files + ".png",
            "mask": "",
            "digest": files,
        }
    )


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("meso4", input_size=SIZE, seed=4)


def test_evaluation_scores_each_file_once_and_all_rows_count(
    faces: Dataset, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    plain = Detector.logits
    monkeypatch.setattr(
        Detector, "logits", lambda self, images: seen.append(len(images)) or plain(self, images)
    )
    found = evaluate(detector, faces, n_resamples=60)
    assert sum(seen) == FILES * (1 + len(METHODS))
    for method in METHODS:
        rows = found.scores[found.scores["dataset"] == method]
        assert rows["label"].value_counts().to_dict() == {0: 4480, 1: 4480}
        at = found.data.sel(detector=detector.name, dataset=method, metric="auroc")
        frame, video = at.sel(level="frame"), at.sel(level="video")
        assert float(frame["value"]) == pytest.approx(roc_auc_score(rows["label"], rows["logit"]))
        assert int(frame["n_samples"]) == 8960 and int(video["n_samples"]) == 2 * VIDEOS
        assert int(frame["n_clusters"]) == int(video["n_clusters"]) == VIDEOS
        assert float(frame["low"]) < float(frame["value"]) < float(frame["high"])


def test_authors_mode_finds_units_on_both_classes(faces: Dataset, detector: Detector) -> None:
    table = neuron_importance(
        detector,
        faces,
        mode="authors",
        n_untrained=1,
        n_random=1,
        n_resamples=20,
        n_permutations=199,
    )
    for method in METHODS:
        drawn = faces.select(
            sample=[str(one) for one in table.data.sel(dataset=method)["sample"].values]
        )
        assert len(drawn) == 30 * 64 and drawn.labels.mean() == 0.5
    assert np.isfinite(table.data["p"]).any("dataset").sum() > 8
    assert np.isfinite(universal_neurons(table).data["p"]).any()


@pytest.mark.slow
def test_ablation_of_all_rows_is_that_of_files_by_how_often_they_stand(
    faces: Dataset, detector: Detector
) -> None:
    units, few = [0, 3, 5], METHODS[:2]
    both = faces.select(dataset=list(few))
    found = ablate(detector, both, units=units, values="zero", n_random=5, n_resamples=50).data
    for method in few:
        part = faces.select(dataset=method)
        rows = part.samples.table["path"]
        files = sorted(set(rows))
        single = part.take([int(np.flatnonzero(rows == file)[0]) for file in files])
        images = single.array(range(len(single)), SIZE)
        full = detector.logits(images)

        def hook(module: object, inputs: object, output: object) -> object:
            out = output.clone()
            out[:, units] = 0.0
            return out

        handle = detector.module.leaky.register_forward_hook(hook)
        gone = detector.logits(images)
        handle.remove()
        where = np.searchsorted(files, rows)
        drop = roc_auc_score(part.labels, full[where]) - roc_auc_score(part.labels, gone[where])
        at = found.sel(set="units", dataset=method, metric="auroc")
        assert float(at["drop"]) == pytest.approx(drop, abs=2e-4)  # ties of rounded logits
        assert float(at["drop_low"]) <= float(at["drop"]) <= float(at["drop_high"])
