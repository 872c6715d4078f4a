"""Study files: what is said of every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.demo import DemoPlan
from probe.errors import ProbeError
from probe.study import Study, load_study, parse_study
from probe.study.plan import heads_of, other_seeds, seeded_bases
from probe.study.study_file import template, write_template
from tests.study.making import TEXT, write_study

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study")


def test_paths_are_relative_to_the_file(file: Path) -> None:
    study = load_study(file)
    assert study.datasets[0].open == f"{file.parent}/data:one"
    assert study.out == Path("runs/tiny") and study.seeds == (3,)
    assert load_study(file, "elsewhere").out == Path("elsewhere")


def test_the_place_and_the_processes_do_not_count_as_another_study(file: Path) -> None:
    same = load_study(file, "elsewhere")
    more = parse_study(TEXT + '[compute]\nn_workers = 3\ndevice = "cpu"\n', file)
    other = parse_study(TEXT.replace("epochs = 3", "epochs = 4"), file)
    assert same.fingerprint == load_study(file).fingerprint == more.fingerprint
    assert other.fingerprint != same.fingerprint


BAD = {
    "unknown key": (
        ("resamples =", "resample ="),
        "evaluation.resample is not a key. Did you mean",
    ),
    "unknown table": (("[neurons]", "[neuron]"), "neuron is not a key. Did you mean 'neurons'"),
    "unknown detector": (('"meso4"', '"meso5"'), "'meso5' is not known. Did you mean 'meso4'"),
    "unknown variant": (('"deep"', '"depe"'), "detectors.variants[1] = 'depe': 'depe' is not"),
    "unknown mode": (("untrained = 1", 'mode = "author"'), "Did you mean 'authors'"),
    "too few": (
        ("resamples = 100", "resamples = 10"),
        "evaluation.resamples = 10: Input should be greater than or equal to 100",
    ),
    "not a number": (("epochs = 3", 'epochs = "three"'), "detectors.base.epochs"),
    "steps of base": (("epochs = 3", "epochs = 3\nsteps = 2"), "steps is for [detectors.tuned]"),
    "no source": (('source = "one"', ""), "training needs source"),
    "no target": (('target = ["second"]', ""), "the variants deep need target"),
    "no base": (('"base", ', ""), "start from base; add it to variants"),
    "no folder": (('"data:one"', '"nowhere"'), "nowhere' is not a dataset folder"),
    "both kinds": (('open = "data:one"', 'open = "data:one"\nlayout = "dfdc"'), "give either open"),
    "no root": (('open = "data:one"', 'layout = "dfdc"'), "layout = 'dfdc' needs root"),
    "unknown layout": (('open = "data:one"', 'layout = "dfcd"\nroot = "data"'), "'dfcd' is not"),
    "missing root": (
        ('open = "data:one"', 'layout = "dfdc"\nroot = "gone"'),
        "gone' does not exist",
    ),
    "foreign option": (
        ('open = "data:one"', 'open = "data:one"\nframes = 3'),
        "frames does not belong to a folder, which takes images, name, open",
    ),
    "images of no split": (
        ('open = "data:one"', 'open = "data:one"\nimages = { tset = 5 }'),
        "'tset' is not known. Did you mean 'test'",
    ),
    "images as a folder": (
        ('open = "data:one"', 'open = "data:one"\nimages = "pictures"'),
        "the folder to which the paths of a list are relative is image_root",
    ),
    "unset variable": (
        ('"data:one"', '"${NO_SUCH_ROOT}/x"'),
        "needs the environment variable NO_SUCH_ROOT, which is not set",
    ),
    "unset, once": (
        ('open = "data:one"', 'layout = "dfdc"\nroot = "${NO_SUCH_ROOT}"'),
        "cannot be run: datasets[0].root = '${NO_SUCH_ROOT}' needs the environment "
        "variable NO_SUCH_ROOT, which is not set.",
    ),
    "epochs of nobody": (("epochs = 3", "epochs = { meso5 = 3 }"), "'meso5' is not known. Did you"),
    "epochs of two kinds": (("epochs = 3", "epochs = [3]"), "detectors.base.epochs: Input should"),
    "negative seed": (("seeds = [3]", "seeds = [-1]"), "seeds[0] = -1: Input should be greater"),
    "finder": (
        ('open = "data:one"', 'layout = "dfdc"\nroot = "data"\nfinder = "yunt"'),
        "'yunt' is not known. Did you mean 'yunet'",
    ),
    "margin": (
        ('open = "data:one"', 'layout = "dfdc"\nroot = "data"\nmargin = -3.0'),
        "margin=-3.0 was given; allowed are 1 to 5",
    ),
    "frames and every": (
        ('open = "data:one"', 'layout = "dfdc"\nroot = "data"\nframes = 3\nevery = 3'),
        "they are two ways to choose frames",
    ),
    "option of another layout": (
        ('open = "data:one"', 'layout = "celebdf-v2"\nroot = "data"\ncompression = "c23"'),
        "compression is not for celebdf-v2, which takes none of these options",
    ),
    "one label twice": (
        (
            "[detectors.base]",
            '[[detectors.weights]]\nname = "meso4"\nfile = "base.h5"\n[detectors.base]',
        ),
        "two detectors would have the name 'meso4-base'; give names once",
    ),
    "seed twice": (("seeds = [3]", "seeds = [3, 3]"), "seeds contains a seed twice"),
    "no dataset": (("[[datasets]]", "[[dataset]]"), "Did you mean 'datasets'"),
    "no toml": (("title =", "title"), "is not valid TOML"),
    "timm without layers": (('"meso4"', '"timm:resnet18"'), "has no layers called"),
    "missing weights": (
        (
            "[detectors.base]",
            '[[detectors.weights]]\nname = "meso4"\nfile = "a.h5"\n[detectors.base]',
        ),
        "a.h5' does not exist",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_names_the_key_the_value_and_the_choices(case: str, file: Path) -> None:
    (old, new), words = BAD[case]
    assert old in TEXT
    with pytest.raises(ProbeError) as raised:
        parse_study(TEXT.replace(old, new), file)
    message = str(raised.value)
    assert words in message and "tiny.toml" in message and "\n\n" not in message


def test_a_key_of_the_last_version_is_read_and_said(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(file.read_text() + "\n[budget]\nworkers = 2\n")
    assert load_study(file).compute.n_workers == 2
    assert "budget.workers of the study is called compute.n_workers" in capsys.readouterr().err
    file.write_text(file.read_text() + "\n[compute]\nn_workers = 3\n")
    with pytest.raises(ProbeError, match=r"budget\.workers is not a key"):
        load_study(file)


def test_all_mistakes_are_said_at_once(file: Path) -> None:
    text = TEXT.replace("epochs = 3", "epochs = 0").replace('"meso4"', '"meso5"')
    with pytest.raises(ProbeError, match=r"meso5.*epochs|epochs.*meso5"):
        parse_study(text, file)


def test_names_that_contradict(file: Path) -> None:
    named = TEXT.replace('open = "data:one"', 'name = "one"\nopen = "data:one"')
    wrong = named.replace('source = "one"', 'source = "on"')
    with pytest.raises(ProbeError, match=r"detectors.source = 'on' is not known.*'one'"):
        parse_study(wrong, file)
    twice = named.replace('name = "second"', 'name = "one"')
    with pytest.raises(ProbeError, match="two datasets are named 'one'"):
        parse_study(twice, file)


def test_a_missing_file() -> None:
    with pytest.raises(ProbeError, match="cannot be read .*probe study init"):
        load_study("nowhere.toml")


def test_the_file_of_the_demo_is_the_demo() -> None:
    plan = DemoPlan(Path("runs/demo"), ("meso4", "mesoinception4"))
    assert load_study(ROOT / "studies/demo.toml") == plan.study()


@pytest.mark.parametrize("name", ["demo", "paper", "deepfakebench"])
def test_the_studies_that_come_with_it_load(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("FFPP_ROOT", "CELEBDF_ROOT", "DEEPFAKEBENCH_ROOT", "DEEPFAKEBENCH_WEIGHTS"):
        monkeypatch.setenv(variable, str(tmp_path))
    for weights in ("meso4_best", "meso4Incep_best", "xception_best"):
        (tmp_path / f"{weights}.pth").touch()
    study = load_study(ROOT / f"studies/{name}.toml")
    assert isinstance(study, Study)
    if name == "paper":
        assert len(study.datasets) == 6 and len(study.detectors.names) == 5
        assert study.detectors.base.epochs == 100 and study.neurons.mode == "authors"


def test_the_template_loads_and_overwrites_nothing(tmp_path: Path) -> None:
    file = write_template(tmp_path / "study.toml")
    assert load_study(file).title == "A first study"
    file.write_text("mine")
    with pytest.raises(ProbeError, match="already exists and is kept"):
        write_template(file)
    assert file.read_text() == "mine"


def test_the_template_names_every_key() -> None:
    """Whoever reads it knows what there is; options of layouts are in another guide."""
    text = template()
    for model in (Study, *(type(getattr(load_demo(), part)) for part in PARTS)):
        for key in model.model_fields:
            assert key in text, key


PARTS = ("detectors", "evaluation", "record", "neurons", "figures", "budget", "compute")


def load_demo() -> Study:
    return load_study(ROOT / "studies/demo.toml")


def test_heads_are_what_was_trained_first_with_the_first_seed(file: Path) -> None:
    text = TEXT.replace("seeds = [3]", "seeds = [3, 5]")
    text += '[[detectors.weights]]\nname = "meso4"\nfile = "own.h5"\nlabel = "own"\n'
    (file.parent / "own.h5").touch()
    study = parse_study(text, file, Path("out"))
    assert study.labels == [
        "meso4/base",
        "meso4/deep",
        "meso4/base-seed5",
        "meso4/deep-seed5",
        "meso4/own",
    ]
    assert heads_of(study) == ["meso4/base", "meso4/own"]
    assert other_seeds(study, "meso4") & {*study.labels} == {"meso4/base-seed5", "meso4/deep-seed5"}
    assert seeded_bases(study, "meso4") == ["meso4/base", "meso4/base-seed5"]
