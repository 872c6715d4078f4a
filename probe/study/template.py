"""The commented file that `probe study init` writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from probe.errors import ProbeError

__all__ = ["template", "write_template"]


def template() -> str:
    """Return the text of a commented study file, which runs on the lab as it is."""
    return files("probe.study").joinpath("template.toml").read_text(encoding="utf-8")


def write_template(file: Path) -> Path:
    """Write the commented study file.

    Raises
    ------
    ProbeError
        If there is a file already, or it cannot be written.
    """
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(template())
    except FileExistsError as error:
        raise ProbeError(
            f"{str(file)!r} exists already and is left as it is. Give another name."
        ) from error
    except OSError as error:
        raise ProbeError(
            f"{str(file)!r} cannot be written ({error.strerror}). Give another place."
        ) from error
    return file
