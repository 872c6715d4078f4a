"""Run studies/paper.toml in short lengths on official trees made of the lab: `make paper`.

A maintainer's script, from the repository's root::

    python tools/short_paper.py runs/short-paper

The study's file is read and shortened here, so that no second file drifts from it: five
detectors, three variants, six datasets and every stage stay.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tools.official_trees import make_trees

STUDY = Path("studies/paper.toml")
#: People of FaceForensics++, Celeb-DF and DFD; frames a video and the side of the frames.
PEOPLE, FRAMES, SIZE = (48, 24, 12), 3, 288
#: What is shortened: all that only makes estimates better, and the side that detectors see, which
#: costs four times as much at 256 pixels.
SHORT: dict[str, Any] = {
    "title": "The study's shape in short lengths, on the lab's heads",
    "detectors": {
        "input_size": 128,
        "base": {
            "epochs": {
                "meso4": 12,
                "mesoinception4": 8,
                "shallownet": 4,
                "xception": 2,
                "efficientnet_b0": 2,
            },
            "batch_size": 16,
        },
        "tuned": {"epochs": 1, "steps": 4, "batch_size": 16},
    },
    "evaluation": {"resamples": 200},
    "neurons": {"untrained": 1, "random": 20},
    "separability": {"controls": 19, "pictures": ["pca"]},
    "attribution": {"images": 1, "similarity_images": 5, "random": 1},
}


def shortened(content: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten a study: its shape stays."""
    out = _merged(content, SHORT)
    for one in out["datasets"]:
        one["frames"] = FRAMES
    return out


def _merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    out = copy.deepcopy(dict(content))
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(out.get(key, {}), dict)
        out[key] = _merged(out.get(key, {}), value) if nested else value
    return out


def to_toml(content: Mapping[str, Any]) -> str:
    """Write a study as TOML: tables, lists of tables, and values that JSON writes alike."""
    lines = [f"{key} = {_value(value)}" for key, value in content.items() if not _table(value)]
    for key, value in content.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *(f"{k} = {_value(v)}" for k, v in value.items())]
        elif _table(value):
            for one in value:
                lines += ["", f"[[{key}]]", *(f"{k} = {_value(v)}" for k, v in one.items())]
    return "\n".join(lines) + "\n"


def _table(value: Any) -> bool:
    tables = isinstance(value, list) and any(isinstance(one, dict) for one in value)
    return tables or isinstance(value, dict)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--trees", type=click.Path(path_type=Path, file_okay=False), help="Where they are.")
def main(out: Path, trees: Path | None) -> None:
    """Make the trees if they are not there, and run the study on them."""
    trees = trees or out.with_name(out.name + "-trees")
    roots = make_trees(trees, PEOPLE, FRAMES, SIZE, 0, os.cpu_count() or 1)
    study = out.with_name(out.name + ".toml")
    content = shortened(tomllib.loads(STUDY.read_text(encoding="utf-8")))
    study.write_text(to_toml(content), encoding="utf-8")
    paths = {name: str(root.resolve()) for name, root in roots.items()}
    command = [sys.executable, "-m", "probe", "run", str(study), "--out", str(out)]
    sys.exit(subprocess.run(command, env=os.environ | paths, check=False).returncode)


if __name__ == "__main__":
    main()
