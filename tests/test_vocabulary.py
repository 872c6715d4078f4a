"""One vocabulary: names of arguments, options and modules over the whole public API."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import probe
from probe.cli import cli

ROOT = Path(__file__).parent.parent

#: Words that had several names, to the one that is used.
INSTEAD = {
    "workers": "n_workers",
    "n_jobs": "n_workers",
    "show": "progress",
    "verbose": "progress",
    "most": "max_samples",
    "limit": "max_samples",
    "confidence": "ci",
    "alpha_level": "ci",
    "resamples": "n_resamples",
    "n_boot": "n_resamples",
    "permutations": "n_permutations",
    "n_perm": "n_permutations",
    "batchsize": "batch_size",
    "random_state": "seed",
}

#: Arguments whose meaning is one: what their documentation has to say.
KINDS = {"ci": "float", "n_resamples": "int", "n_permutations": "int", "progress": "bool"}

#: Modules whose names are gerunds or participles of the field itself.
OF_THE_FIELD = {
    "cutting",
    "decoding",
    "embedding",
    "loading",
    "matching",
    "open",
    "paired",
    "planted",
    "published",
    "recording",
    "rendering",
    "screening",
    "tracing",
    "training",
}  # as in "face cropping", "paired difference", "planted truth", "published figure"


def functions() -> Iterator[tuple[str, inspect.Signature]]:
    for name in probe.__all__:
        one = getattr(probe, name)
        if inspect.isfunction(one):
            yield name, inspect.signature(one)
        elif inspect.isclass(one):
            for method, value in vars(one).items():
                if inspect.isfunction(value) and not method.startswith("_"):
                    yield f"{name}.{method}", inspect.signature(value)


def commands(group: click.Group, path: str = "probe") -> Iterator[tuple[str, click.Command]]:
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from commands(one, f"{path} {name}")
        else:
            yield f"{path} {name}", one


@pytest.mark.parametrize(("name", "signature"), list(functions()), ids=lambda one: str(one)[:40])
def test_an_argument_has_its_one_name(name: str, signature: inspect.Signature) -> None:
    for given, parameter in signature.parameters.items():
        assert given not in INSTEAD, f"{name}: {given} is called {INSTEAD.get(given)}"
        if given in KINDS:
            assert str(parameter.annotation) == KINDS[given], f"{name}: {given}"
        if given == "level":
            assert "str" in str(parameter.annotation), f"{name}: level is frame or video"


#: Order of positional arguments: who, on what, where.
WHO = {"detector", "detectors", "base", "store", "stores"}
WHAT = {"data", "images", "measurements", "source"}


@pytest.mark.parametrize(("name", "signature"), list(functions()), ids=lambda one: str(one)[:40])
def test_arguments_stand_in_one_order(name: str, signature: inspect.Signature) -> None:
    fixed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [key for key, one in signature.parameters.items() if one.kind in fixed]
    given = [key for key in given if key != "self"]
    assert len(given) <= 3, f"{name}{given}: at most three arguments are positional"
    places = {
        "who": [i for i, key in enumerate(given) if key in WHO],
        "what": [i for i, key in enumerate(given) if key in WHAT],
        "layer": [i for i, key in enumerate(given) if key in ("layer", "layers")],
    }
    assert places["who"] in ([], [0]), f"{name}{given}: the detector or store comes first"
    if places["who"] and places["what"]:
        assert places["what"][0] == 1, f"{name}{given}: the data come second"
    before = places["who"] + places["what"]
    assert all(one > max(before, default=-1) for one in places["layer"]), f"{name}{given}: layer"
    for other in {"dataset", "datasets"} & {*signature.parameters}:
        assert not places["who"], f"{name}: {other} is called data beside a detector"


@pytest.mark.parametrize(("name", "command"), list(commands(cli)), ids=lambda one: str(one)[:40])
def test_an_option_has_its_one_name_and_a_help(name: str, command: click.Command) -> None:
    assert command.help and len(command.help.split("\n")[0]) <= 72, name
    for one in command.params:
        # Further spellings are accepted, the first is the name.
        for option in one.opts[:1] if isinstance(one, click.Option) else ():
            word = option.lstrip("-").replace("-", "_")
            assert word not in INSTEAD, f"{name}: {option} is called {INSTEAD.get(word)}"
        if isinstance(one, click.Option):
            assert one.help, f"{name}: {one.opts[0]} has no help"


def test_modules_are_called_by_nouns() -> None:
    names = {file.stem for part in ("probe", "app") for file in (ROOT / part).rglob("*.py")}
    found = {name for name in names if re.search(r"(ing|ed|en)$", name)} - OF_THE_FIELD
    assert not found, f"name them by nouns: {sorted(found)}"


def test_spelling_is_american() -> None:
    wrong = re.compile(
        r"artefact|colour|\bgrey\b|behaviour|neighbour|normalis(?!e\"|e_)|licence", re.I
    )
    for part in ("probe", "app", "docs", "studies"):
        for file in (ROOT / part).rglob("*"):
            if file.suffix in (".py", ".md", ".toml", ".css", ".js", ".html"):
                hit = wrong.search(file.read_text(encoding="utf-8"))
                assert hit is None, f"{file.relative_to(ROOT)}: {hit and hit[0]}"


def test_lines_are_laid_out_by_the_formatter() -> None:
    for part in ("probe", "app"):
        for file in (ROOT / part).rglob("*.py"):
            assert "fmt: " not in file.read_text(encoding="utf-8"), file
