"""The demo's stages on a tiny lab; `make demo` itself is run by .ci/run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probe import demo
from probe.errors import ProbeError, UnknownNameError
from probe.neurons import NeuronTable, Universality
from probe.run import RunFolder
from probe.schema import DATASETS
from probe.separability import Embeddings


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.DemoPlan]:
    """The demo with little of everything; the machine's cache is left alone."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBE_CACHE", str(folder / "cache"))
        patch.setattr(demo, "BASE_EPOCHS", {"meso4": 2})
        patch.setattr(demo, "TUNED_STEPS", 2)
        patch.setattr(demo, "TUNED_EPOCHS", 1)
        patch.setattr(demo, "SIZE", 64)
        patch.setattr(demo, "COUNTS", {"train": 16, "val": 8, "test": 16})
        yield demo.DemoPlan(folder / "run", ("meso4",), seed=1)


@pytest.fixture(scope="module")
def outcome(plan: demo.DemoPlan) -> demo.Outcome:
    return demo.run_demo(plan)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_makes_all_it_names_and_reuses_it(
    plan: demo.DemoPlan, outcome: demo.Outcome
) -> None:
    folder = RunFolder(plan.out)
    manifest = folder.read_manifest()
    assert manifest["complete"] and all(stage["done"] for stage in manifest["stages"])
    assert manifest["detectors"] == ["meso4/base", "meso4/shallow", "meso4/deep"]
    assert all(Path(place).exists() for place in outcome.places.values())
    assert list(outcome.matrix.data["dataset"].values) == list(DATASETS)
    for label in manifest["detectors"]:
        table = NeuronTable.open(folder.path("neurons", label))
        assert table.data.sizes["draw"] == 3
        found = Universality.open(folder.path("universality", label))
        assert int(found.data["observed"].sum()) == 16
    provenance = json.loads((plan.out / "provenance.json").read_text())
    for label in manifest["detectors"]:
        assert list(outcome.separability[label].data["layer"].values) == ["conv4", "leaky"]
        assert set(outcome.separability[label].data["dataset"].values) == set(DATASETS)
        # Two people a dataset: units are related to nothing, and the record says why.
        assert outcome.responses[label].has_doses and not outcome.responses[label].has_correlations
        assert "No dataset is left" in provenance["no_correlations"][label]
        assert Embeddings.open(folder.path("embeddings", label)).data.sizes["method"] == 3
    assert outcome.artifacts is not None and outcome.artifacts.data.sizes["dataset"] == 6
    for name in (
        "heatmaps-meso4",
        "zero-shot-matrix",
        "universal-neurons-meso4",
        "probes-meso4",
        "transfer-leaky-meso4",
        "embedding-leaky-umap-meso4",
        "artifacts-spectra",
        "artifacts-effects",
        "responses-doses-meso4",
    ):
        assert (folder.figures / f"{name}.pdf").read_bytes()[:4] == b"%PDF"
        with Image.open(folder.figures / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 10
    kept = {
        file: file.stat().st_mtime_ns
        for part in ("data", "detectors", "stores", "tables/neurons")
        for file in (plan.out / part).rglob("*")
        if file.is_file()
    }
    again = demo.run_demo(plan)
    assert all(file.stat().st_mtime_ns == then for file, then in kept.items())
    np.testing.assert_array_equal(again.matrix.data["value"], outcome.matrix.data["value"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_figures_are_the_same_bytes_for_the_same_data(
    plan: demo.DemoPlan, outcome: demo.Outcome
) -> None:
    from probe import plots as figures

    for suffix in (".pdf", ".svg", ".png"):
        files = [
            figures.save_figure(figures.plot_matrix(outcome.matrix), plan.out / f"{n}{suffix}")
            for n in "ab"
        ]
        assert files[0].read_bytes() == files[1].read_bytes()
    with pytest.raises(UnknownNameError, match="Figure format '.jpg' is not known"):
        figures.save_figure(figures.plot_matrix(outcome.matrix), plan.out / "a.jpg")


def test_detectors_are_named_or_all() -> None:
    assert demo.DemoPlan.parse("meso4, xception,meso4") == ("meso4", "xception")
    assert len(demo.DemoPlan.parse("all")) == 5
    with pytest.raises(
        UnknownNameError, match="Detector 'mes4' is not known. Did you mean 'meso4'"
    ):
        demo.DemoPlan.parse("mes4")
    with pytest.raises(ProbeError, match="No detector was named"):
        demo.DemoPlan.parse(" ,")
