"""TOML file of a study: reading, with errors that name the key, and a commented template."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from probe.errors import ProbeError, did_you_mean
from probe.progress import note
from probe.study.plan import Study

__all__ = ["load_study", "parse_study", "template", "write_template"]


def template() -> str:
    """Return the text of the commented study template, which runs on the lab unchanged."""
    return files("probe.study").joinpath("template.toml").read_text(encoding="utf-8")


def write_template(file: Path) -> Path:
    """Write the commented study template.

    Raises
    ------
    ProbeError
        If the file already exists, or cannot be written.
    """
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(template())
    except FileExistsError as error:
        raise ProbeError(
            f"{str(file)!r} already exists and is kept unchanged. Give another name."
        ) from error
    except OSError as error:
        raise ProbeError(
            f"{str(file)!r} cannot be written ({error.strerror}). Give another path."
        ) from error
    return file


#: Keys that hold paths, which are relative to the study file.
PATHS = ("root", "reals", "image_root", "file", "open")

#: Keys of studies of 0.2.0, which are still read, and where they stand now.
MOVED = {("budget", "workers"): ("compute", "n_workers")}


def load_study(file: str | Path, out: str | Path | None = None, device: str | None = None) -> Study:
    """Read a study file.

    Parameters
    ----------
    file : path
        TOML file. Paths in it are relative to its folder; ``${NAME}`` is replaced by the
        environment variable.
    out : path, optional
        Run folder; overrides ``out`` in the file (default ``runs/<name of the file>``).
    device : str, optional
        Device; overrides ``compute.device`` in the file.

    Returns
    -------
    Study
        Validated study, with absolute paths of data and weights.

    Raises
    ------
    ProbeError
        If the file is missing or not valid TOML, a key is unknown, a value is out of range, or data
        are missing. The error lists all problems.
    """
    file = Path(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProbeError(
            f"The study file {str(file)!r} cannot be read ({error}). Write one with `probe study "
            "init`."
        ) from error
    return parse_study(text, file, out, device)


def parse_study(
    text: str, file: Path, out: str | Path | None = None, device: str | None = None
) -> Study:
    """Read a study from its text; see `load_study`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProbeError(f"The study file {str(file)!r} is not valid TOML: {error}.") from error
    problems: list[str] = []
    content = _placed(content, file.resolve().parent, "", problems)
    if out is not None:
        content["out"] = str(out)
    content.setdefault("out", f"runs/{file.stem}")
    _move(content)
    if device is not None and isinstance(content.setdefault("compute", {}), dict):
        content["compute"]["device"] = device
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        problems += [_said(one) for one in _own(error.errors())]
    else:
        problems += _missing(study)
    if problems:
        raise ProbeError(
            f"The study file {str(file)!r} cannot be run: " + "; ".join(problems) + "."
        )
    return study


def _move(content: dict[str, Any]) -> None:
    """Move keys of 0.2.0 to where they stand now, and say so."""
    for (table, key), (now, name) in MOVED.items():
        old, new = content.get(table), content.get(now, {})
        if isinstance(old, dict) and key in old and isinstance(new, dict) and name not in new:
            content[now] = {**new, name: old.pop(key)}
            note(f"{table}.{key} of the study is called {now}.{name} now, and taken as that.")


def _placed(value: Any, folder: Path, key: str, problems: list[str]) -> Any:
    """Substitute environment variables, and make paths absolute."""
    if isinstance(value, Mapping):
        return {k: _placed(v, folder, f"{key}.{k}".strip("."), problems) for k, v in value.items()}
    if isinstance(value, list):
        return [_placed(v, folder, f"{key}[{i}]", problems) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value
    for name in re.findall(r"\$\{([^}]*)\}", value):
        if name not in os.environ:
            problems.append(
                f"{key} = {value!r} needs the environment variable {name}, which is not set"
            )
    text = re.sub(r"\$\{([^}]*)\}", lambda m: os.environ.get(m[1], m[0]), value)
    last = key.rpartition(".")[2]
    if last in PATHS and not (last == "open" and text.partition(":")[0] == "lab"):
        return str(folder / Path(text).expanduser())
    return text


def _own(errors: Sequence[Any]) -> list[Any]:
    """Drop errors that follow from others: a list without its invalid items is too short."""
    places = [error["loc"] for error in errors]
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(
            len(p) > len(error["loc"]) and p[: len(error["loc"])] == error["loc"] for p in places
        )
    ]


def _said(error: Any) -> str:
    """Format a validation error: the key, the value, and the choices or the range."""
    place = _dotted(error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        allowed = _allowed(error["loc"][:-1])
        near = did_you_mean(str(error["loc"][-1]), allowed, 40)
        return f"{place} is not a key. {near}".rstrip(".")
    if error["type"] == "missing":
        return f"{place} is missing"
    given = error.get("input")
    shown = f" = {given!r}" if isinstance(given, str | int | float | bool) else ""
    return f"{place or 'the study'}{shown}: {message}".rstrip(".")


def _dotted(loc: Sequence[str | int]) -> str:
    out = ""
    for part in loc:
        if isinstance(part, str) and ("[" in part or part.startswith("constrained-")):
            # pydantic's name for one of several types of a value, not a key.
            continue
        out += f"[{part}]" if isinstance(part, int) else f".{part}"
    return out.strip(".")


def _allowed(loc: Sequence[str | int]) -> list[str]:
    """Return the allowed keys of the table at a location."""
    model: Any = Study
    for part in loc:
        if isinstance(part, int):
            continue
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def _missing(study: Study) -> list[str]:
    """Return all data and weights that do not exist."""
    out = []
    for i, entry in enumerate(study.datasets):
        for key in ("root", "reals", "image_root"):
            value = getattr(entry, key)
            if value is not None and not (_is_unset(value) or Path(value).exists()):
                out.append(f"datasets[{i}].{key} = {value!r} does not exist")
        folder = entry.open is not None and not entry.is_lab
        if folder and not (_is_unset(entry.open) or _is_opened(entry.open)):
            out.append(f"datasets[{i}].open = {entry.open!r} is not a dataset folder")
    for i, brought in enumerate(study.detectors.weights):
        if not (_is_unset(brought.file) or Path(brought.file).is_file()):
            out.append(f"detectors.weights[{i}].file = {brought.file!r} does not exist")
    return out


def _is_unset(text: str | None) -> bool:
    # Reported already, with the name of the variable.
    return text is not None and "${" in text


def _is_opened(text: str | None) -> bool:
    if text is None:
        return False
    return Path(text).is_dir() or Path(text.rpartition(":")[0] or "/nowhere").is_dir()
