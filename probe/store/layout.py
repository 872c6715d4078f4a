"""What makes a folder an activation store: its attributes, and what they have to agree on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probe.errors import StoreError
from probe.schema import SCHEMA_VERSION

__all__ = [
    "BROKEN",
    "DTYPES",
    "IDENTITY",
    "KIND",
    "MOMENTS",
    "RESERVED",
    "check_same",
    "damaged",
    "plain",
    "read_attrs",
]

#: Number formats that activations can be kept in.
DTYPES = ("float16", "float32")

#: What a store is recorded from; a recording goes on only where all of it is the same.
IDENTITY = ("detector", "dataset", "layers", "reducer", "dtype", "batch_size")

#: Attribute of the root that tells an activation store from other Zarr groups.
KIND = "activations"

#: Name of a tap's child group.
MOMENTS = "moments"

#: Names at the root that no column of the sample table may have.
RESERVED = ("logit", "written", "unit")

#: What libraries raise on files that are not what they should be.
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)


def plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce attributes to what JSON gives back as it was."""
    out: dict[str, Any] = json.loads(json.dumps(dict(attrs), default=str))
    return out


def read_attrs(path: Path) -> dict[str, Any]:
    """Read the root's attributes and check that this is a store of our schema."""
    if not path.exists():
        raise StoreError(f"There is no activation store at {str(path)!r}. Run `probe record`.")
    file = path / "zarr.json"
    if not file.is_file():
        raise StoreError(
            f"{str(path)!r} is no activation store: it holds no zarr.json. Give the folder that "
            "`probe record` wrote, or an empty one to record into."
        )
    try:
        attrs: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["attributes"]
        kind, version = attrs.get("kind"), attrs.get("schema_version")
    except BROKEN as error:
        raise damaged(path, str(error)) from error
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"The store {str(path)!r} has schema version {version}; this version reads "
            f"{SCHEMA_VERSION}. Record it again, or install the version that wrote it."
        )
    if kind != KIND or not {"complete", *IDENTITY} <= set(attrs):
        raise StoreError(
            f"{str(path)!r} is no activation store but a Zarr group of kind {kind!r}. Give the "
            "folder that `probe record` wrote."
        )
    return attrs


def check_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `StoreError` unless both name the same detector, dataset, layers and format."""
    pairs = ((key, _identity(key, found[key]), _identity(key, wanted[key])) for key in IDENTITY)
    differences = [f"{key} {there} (now {here})" for key, there, here in pairs if there != here]
    if differences:
        raise StoreError(
            f"The store {str(path)!r} is another recording: {'; '.join(differences)}. A store "
            "holds one recording: choose another folder, or remove this one."
        )


def _identity(key: str, value: Any) -> str:
    """Word what has to be the same."""
    if key in ("detector", "dataset"):
        return f"{value['name']} [{value['fingerprint'][:12]}]"
    return ", ".join(sorted(value)) if isinstance(value, dict) else str(value)


def damaged(path: Path, why: str) -> StoreError:
    """Word the error about a store whose files are not what they should be."""
    return StoreError(
        f"The store {str(path)!r} is damaged ({why}). Remove it and run `probe record` again."
    )
