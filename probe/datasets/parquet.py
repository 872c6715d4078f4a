"""Encoded images in columns of Parquet files, read forwards without holding a file in memory."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from probe.errors import DatasetError, ImageError

__all__ = [
    "ImageColumn",
    "close_columns",
    "image_column",
    "leaf_of",
    "open_parquet",
    "rows_with_image",
]

#: Rows that are decoded at once, and bytes that are read ahead: together they bound the memory.
_BATCH, _BUFFER = 16, 2**20

#: What pyarrow raises for files that are damaged, or are not Parquet.
_ERRORS = (OSError, pa.ArrowException, ValueError)


def open_parquet(file: Path) -> pq.ParquetFile:
    """Open a Parquet file so that columns are streamed; raise `DatasetError` if it cannot be."""
    try:
        return pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
    except _ERRORS as error:
        raise DatasetError(
            f"The file {file.name!r} cannot be read as Parquet ({error})."
        ) from error


def leaf_of(schema: pa.Schema, name: str) -> str:
    """Return the path of the bytes of an image column; empty if it holds no images.

    Hugging Face stores images as a struct of ``bytes`` and ``path``; other sets as plain binary.
    """
    kind = schema.field(name).type
    if pa.types.is_struct(kind):
        inner = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        return f"{name}.bytes" if _is_binary(inner.get("bytes")) else ""
    return name if _is_binary(kind) else ""


def _is_binary(kind: Any) -> bool:
    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class ImageColumn:
    """The encoded images of one column, by row; rows in ascending order are read once.

    Parameters
    ----------
    file : pathlib.Path
        Parquet file.
    column : str
        Column of images.
    """

    def __init__(self, file: Path, column: str) -> None:
        self.file, self.column = file, column
        self._parquet = open_parquet(file)
        self._leaf = leaf_of(self._parquet.schema_arrow, column)
        about = self._parquet.metadata
        groups = range(about.num_row_groups)
        self._ends = list(accumulate(about.row_group(i).num_rows for i in groups))
        self._batches: Iterator[pa.RecordBatch] = iter(())
        # Nothing is read yet: no row follows the last one that was.
        self._forget()

    def _forget(self) -> None:
        self._first, self._values = -1, pa.array([], pa.binary())

    def close(self) -> None:
        """Close the file."""
        self._parquet.close()

    def bytes_of(self, row: int) -> bytes:
        """Return the encoded image of a row.

        Raises
        ------
        ImageError
            If the row has no image, or the file is damaged.
        """
        try:
            found = self._value(row)
        except _ERRORS as error:
            raise ImageError(
                f"Row {row} of {self.file.name!r} cannot be read ({error})."
            ) from error
        if found is None:
            raise ImageError(
                f"Row {row} of {self.file.name!r} has no bytes in the column {self.column!r}."
            )
        return found

    def _value(self, row: int) -> bytes | None:
        if row < self._first or row >= self._first + len(self._values):
            self._seek(row)
        value: bytes | None = self._values[row - self._first].as_py()
        return value

    def _seek(self, row: int) -> None:
        group = bisect.bisect_right(self._ends, row)
        start = self._ends[group - 1] if group else 0
        after = self._first + len(self._values)
        if not start <= after <= row:
            self._first, self._values = start, pa.array([], pa.binary())
            self._batches = self._parquet.iter_batches(
                _BATCH,
                row_groups=range(group, len(self._ends)),
                columns=[self._leaf],
                use_threads=False,
            )
        while row >= self._first + len(self._values):
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError("there is no such row")
            self._first += len(self._values)
            column = batch.column(0)
            self._values = column.field("bytes") if pa.types.is_struct(column.type) else column


#: Open columns, the last few: those of images and masks of one file.
_open: dict[tuple[Path, str], ImageColumn] = {}
_MOST_OPEN = 2


def image_column(file: Path, column: str) -> ImageColumn:
    """Return an open column of images; the last ones are kept open."""
    key = file, column
    if key not in _open:
        while len(_open) >= _MOST_OPEN:
            _open.pop(next(iter(_open))).close()
        _open[key] = ImageColumn(file, column)
    return _open[key]


def close_columns() -> None:
    """Close all columns; called at the end of a job."""
    while _open:
        _open.popitem()[1].close()


def rows_with_image(parquet: pq.ParquetFile, leaf: str) -> Sequence[bool]:
    """Return for each row whether a column of images has bytes, reading only where it is mixed."""
    about = parquet.metadata
    if not about.num_row_groups:
        return []
    places = [about.row_group(0).column(i).path_in_schema for i in range(about.num_columns)]
    at, found = places.index(leaf), list[bool]()
    for group in range(about.num_row_groups):
        count = about.row_group(group).num_rows
        facts = about.row_group(group).column(at).statistics
        nulls = facts.null_count if facts is not None and facts.has_null_count else None
        if nulls in (0, count):
            found += [nulls == 0] * count
            continue
        for batch in parquet.iter_batches(_BATCH, row_groups=[group], columns=[leaf]):
            column = batch.column(0)
            values = column.field("bytes") if pa.types.is_struct(column.type) else column
            found += values.is_valid().to_pylist()
    return found
