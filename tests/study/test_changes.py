"""What each key of a study decides, by the declared table, and what is taken away for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from probe.run import PROVENANCE_FILE
from probe.study import Study, parse_study, stages, stages_of
from probe.study.stages import DECIDES, FOLLOWS, STAGES, accept, differences, hit_by
from tests.study.making import TEXT, write_study

#: Every key of a study but those of sources and detectors, to what it decides itself.
OWN = {
    "title": [],
    "out": [],
    "compute.device": [],
    "compute.n_workers": [],
    "evaluation.resamples": ["evaluation"],
    "evaluation.split": ["data"],
    "record.layers": ["activations"],
    "record.dtype": ["activations"],
    "neurons.measure": ["neurons"],
    "neurons.mode": ["neurons"],
    "neurons.order": ["neurons"],
    "neurons.values": ["neurons"],
    "neurons.untrained": ["neurons"],
    "neurons.top": ["neurons", "ablation"],
    "neurons.random": ["ablation"],
    "separability.controls": ["separability"],
    "artifacts.caliper": ["artifacts"],
    "artifacts.videos": ["responses"],
    "attribution.checks": ["attribution"],
    "figures.heatmaps": ["figures"],
    "budget.images": ["data"],
}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    file = write_study(tmp_path / "study")
    return parse_study(TEXT, file, tmp_path / "run")


def keys_of(study: Study) -> list[str]:
    return list(stages._flat(study.model_dump(mode="json")))


def test_every_key_decides_something_that_is_declared(study: Study) -> None:
    """A key that is new has to be put into the table, or stand in a table of the file that is."""
    fields = {*Study.model_fields}
    assert {key.partition(".")[0] for key in DECIDES} - {"images"} <= fields
    for name in fields:
        assert name in DECIDES or any(key.startswith(f"{name}.") for key in DECIDES), name
    for key in keys_of(study):
        own, _ = hit_by([key])
        # All stages would be the answer to a key that nobody knows.
        assert own != list(STAGES), key
    assert [one.name for one in stages_of(study)] == list(STAGES)
    assert {*FOLLOWS} | {s for those in FOLLOWS.values() for s in those} <= {*STAGES}


@pytest.mark.parametrize("key", OWN)
def test_what_a_key_decides_itself(key: str, study: Study) -> None:
    assert key in keys_of(study)
    assert hit_by([key])[0] == OWN[key]


def test_what_follows() -> None:
    assert hit_by(["title", "compute.device", "out"]) == ([], [])
    assert hit_by(["neurons.values"])[1] == ["neurons", "responses", "figures"]
    assert hit_by(["detectors.base.epochs"])[1] == [
        one for one in STAGES if one not in ("data", "audit", "artifacts")
    ]
    assert hit_by(["datasets[1].images"])[1] == list(STAGES)
    assert hit_by(["no.such.key"])[0] == list(STAGES)


PLACES = {
    "evaluation": ["tables/evaluation.zarr", "tables/evaluation.csv"],
    "activations": ["stores/meso4-base.zarr"],
    "neurons": ["tables/neurons/meso4-base.zarr", "tables/universality/meso4-base.zarr"],
    "ablation": ["tables/ablation/meso4-base.zarr"],
    "separability": ["tables/separability/meso4-base.zarr", "tables/similarity.zarr"],
    "artifacts": ["tables/artifacts.zarr"],
    "responses": ["tables/responses/meso4-base.zarr"],
    "attribution": ["tables/trust/meso4-base.zarr", "tables/map-similarity/meso4-authors.zarr"],
}
KEPT = [
    "detectors/meso4-base/card.json",
    "maps/meso4-base-gradcam.zarr",
    "tables/measurements.zarr",
    "data/samples.parquet",
]

CHANGES = {
    "resamples = 100": "resamples = 200",
    "untrained = 1": "untrained = 2",
    "[record]": '[record]\ndtype = "float16"',
    "controls = 9": "controls = 19",
    "random = 1": "random = 2",
    "epochs = 3": "epochs = 4",
    'title = "Tiny"': 'title = "Small"',
    "[evaluation]": "[evaluation]\nci = 0.9",
}


@pytest.mark.parametrize("old", CHANGES)
def test_what_other_settings_made_is_taken_away_and_nothing_else(
    old: str, study: Study, tmp_path: Path
) -> None:
    assert TEXT.count(old) == 1
    out = study.out
    for place in [*KEPT, *(one for those in PLACES.values() for one in those)]:
        (out / place).mkdir(parents=True)
        (out / place / "zarr.json").touch()
    content = {"study": study.model_dump(mode="json")}
    (out / PROVENANCE_FILE).write_text(json.dumps(content))
    assert accept(study) == ("", [])
    changed = parse_study(TEXT.replace(old, CHANGES[old]), tmp_path / "study/tiny.toml", out)
    said, stages = accept(changed)
    own, hit = hit_by(differences(content["study"], changed.model_dump(mode="json")))
    assert stages == hit and bool(said) == bool(hit)
    for stage, places in PLACES.items():
        assert all((out / place).exists() == (stage not in own) for place in places), stage
    assert all((out / place).exists() for place in KEPT)
    assert not list(out.rglob("*.old"))


def test_a_line_says_what_changed_and_what_is_made_again(study: Study, tmp_path: Path) -> None:
    study.out.mkdir()
    content = {"study": study.model_dump(mode="json")}
    (study.out / PROVENANCE_FILE).write_text(json.dumps(content))
    text = TEXT.replace("untrained = 1", "untrained = 5")
    said, _ = accept(parse_study(text, tmp_path / "study/tiny.toml", study.out))
    assert said == (
        "neurons.untrained 1 → 5: neurons, responses, figures are recomputed where this "
        "changes them."
    )
