"""`Task`: what is to be computed, and the fingerprint that it is found by."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import probe
from probe.errors import ProbeError

__all__ = ["Task", "checked"]

_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"[a-z0-9]{1,20}\.[a-z0-9]{1,8}")


@dataclass(frozen=True)
class Task:
    """What is to be computed.

    Attributes
    ----------
    kind : str
        Name in `probe.jobs.kinds.KINDS`.
    params : mapping
        Arguments of the kind: numbers, texts and lists of them, checked before they come here.
    run : pathlib.Path
        Folder of the run.
    reads : mapping
        Fingerprints of what the kind reads, such as weights and images; if they change, it is
        another job.
    files : mapping
        Name to content of what is handed over, such as an image; names are plain ("image.png").
    roots : tuple of pathlib.Path
        Folders that whoever serves the run lets images be opened from.
    """

    kind: str
    params: Mapping[str, Any]
    run: Path
    reads: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    roots: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names of files that could lead out of the job's folder."""
        for name in self.files:
            if not _FILE.fullmatch(name):
                raise ProbeError(f"A file called {name!r} cannot be handed to a job.")

    @property
    def content(self) -> dict[str, Any]:
        """All that the job is, as it stands in ``job.json``."""
        return {
            "kind": self.kind,
            "params": dict(self.params),
            "run": str(self.run),
            "roots": [str(root) for root in self.roots],
            "reads": dict(self.reads),
            "files": {
                name: hashlib.blake2b(content, digest_size=16).hexdigest()
                for name, content in self.files.items()
            },
            "version": probe.__version__,
        }

    @property
    def fingerprint(self) -> str:
        """Hash of the content: 32 hexadecimal digits; the same question has the same."""
        text = json.dumps(self.content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def checked(fingerprint: object) -> str:
    """Return a fingerprint that came with a request, if it has the form of one.

    Raises
    ------
    ProbeError
        If it has not; it would become part of a path.
    """
    if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint):
        raise ProbeError("This names no job. Start it again from its page.")
    return fingerprint
