"""Tables of images as people write them: encodings, separators and names of columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from probe.errors import DatasetError

__all__ = ["COLUMNS", "Table", "named", "plain", "read_table", "unreadable"]

#: Columns of a manifest, each with other names that it has in public tables, without case, spaces
#: and punctuation.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": (
        *("filepath", "imagepath", "imgpath", "relativepath", "relpath", "file", "filename"),
        *("fname", "image", "img", "imagefile", "imagename", "imgname", "framepath", "videopath"),
        *("videofile", "videoname", "uri", "video"),
    ),
    "label": (
        *("labels", "labelstr", "labelname", "class", "classname", "target", "groundtruth", "gt"),
        *("isfake", "fake", "isreal", "realfake", "realorfake", "category", "y", "type"),
    ),
    "dataset": (),
    "split": ("splits", "set", "subset", "partition", "phase", "usage"),
    "method": ("methods", "manipulation", "generator", "forgery", "forgerymethod", "attack"),
    "video": ("videoid", "clip", "clipid", "sequence", "sequenceid"),
    "identity": ("identityid", "person", "personid", "subject", "subjectid", "actor", "group"),
    "source": ("sourceidentity", "sourceid"),
    "frame": ("frameid", "frameidx", "frameindex", "framenumber", "frameno"),
    "mask": ("maskpath", "maskfile"),
}

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes
    ----------
    cells : pandas.DataFrame
        Cells as text, "" where missing, with the columns' names as in the file.
    notes : tuple of str
        How it was read, where that is not plain CSV in UTF-8, in sentences.
    guessed : bool
        Whether the encoding is a guess that only its content can confirm.
    """

    cells: pd.DataFrame
    notes: tuple[str, ...] = ()
    guessed: bool = False


def read_table(file: Path) -> Table:
    """Read a CSV file in any usual encoding and with any usual separator, or a Parquet file.

    Raises
    ------
    DatasetError
        If it cannot be read.
    """
    try:
        if file.suffix.lower() == ".parquet":
            return Table(_text(pd.read_parquet(file)))
        text, encoding, guessed = _decoded(file.read_bytes())
        separator, text = _separator(text)
        cells = pd.read_csv(
            io.StringIO(text),
            dtype=str,
            keep_default_na=False,
            sep=separator,
            skipinitialspace=True,
        )
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from error
    notes = []
    if encoding != "utf-8":
        notes.append(f"The table was read as {encoding}.")
    if separator != ",":
        notes.append(f"The cells of the table are separated by {_NAMES[separator]}.")
    return Table(_text(cells), tuple(notes), guessed)


def unreadable(file: Path, error: object) -> DatasetError:
    """Return the error for a table that cannot be read."""
    return DatasetError(
        f"The table {str(file)!r} cannot be read ({error}). Give a CSV file in UTF-8 or a "
        "Parquet file."
    )


def _decoded(data: bytes) -> tuple[str, str, bool]:
    """Return the text of a file, its encoding, and whether that is a guess."""
    for mark, encoding in _BOMS:
        # A UTF-16 file without an even number of bytes is damaged, or something else.
        if data.startswith(mark) and (encoding != "utf-16" or len(data) % 2 == 0):
            return data.decode(encoding), encoding.replace("-sig", ""), False
    if data[1:4:2] == b"\0\0" or data[0:3:2] == b"\0\0":
        return data.decode("utf-16-le" if data[1] == 0 else "utf-16-be"), "utf-16", False
    try:
        return data.decode("utf-8"), "utf-8", False
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), "cp1252 (Latin-1)", True


def _separator(text: str) -> tuple[str, str]:
    """Return the separator of the header's cells, and the text without Excel's line "sep=;"."""
    match = re.match(r"\s*\"?sep=(.)\"?\s*\r?\n", text, re.IGNORECASE)
    if match and match[1] in _SEPARATORS:
        return match[1], text[match.end() :]
    header = next(iter(text[:100_000].strip("\r\n").splitlines()), "")
    counts = {one: _cells(header, one) for one in _SEPARATORS}
    return max(_SEPARATORS, key=lambda one: counts[one]), text


def _cells(line: str, separator: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=separator), []))
    except csv.Error:
        return 0


def _text(table: pd.DataFrame) -> pd.DataFrame:
    names = [str(name).strip() for name in table.columns]
    cells = [[_cell(one) for one in table.iloc[:, k]] for k in range(len(names))]
    return pd.DataFrame(dict(zip(names, cells, strict=True)), dtype=object)


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def plain(name: str) -> str:
    """Return the name of a column without case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def named(cells: pd.DataFrame, wanted: str, fits: Callable[[Sequence[str]], bool]) -> str:
    """Return the column of a manifest in a table; "" if there is none.

    Parameters
    ----------
    cells : pandas.DataFrame
        The table.
    wanted : str
        Name in `COLUMNS`.
    fits : callable
        Whether the values of a column with another name are of this kind.
    """
    if wanted in cells.columns:
        return wanted
    by_plain: dict[str, str] = {}
    for name in cells.columns:
        by_plain.setdefault(plain(name), name)
    for other in (wanted, *COLUMNS[wanted]):
        if other in by_plain and fits(list(cells[by_plain[other]])):
            return by_plain[other]
    return ""
