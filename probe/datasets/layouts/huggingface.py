"""Layout of image sets of Hugging Face: Parquet files with the bytes of images in a column."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from probe.datasets.layouts import (
    LAYOUTS,
    Inventory,
    Layout,
    LayoutOptions,
    ParquetImages,
    VideoEntry,
)
from probe.datasets.layouts.files import account, folders_in, relative, walk
from probe.datasets.parquet import leaf_of, open_parquet, rows_with_image
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["HUGGINGFACE"]

#: Names of the columns of each role, in lower case, the first that is there is used.
ROLES = {
    "image": "image image_data img picture photo image_bytes bytes jpg png".split(),
    "label": (
        "label labels is_fake fake is_ai ai is_generated class target ground_truth binary_label"
    ).split(),
    "generator": (
        "generator model_name model generator_name source_model method architecture"
    ).split(),
    "mask": "mask masks gt_mask mask_image".split(),
    "split": "split subset_split".split(),
    "video": "video video_id video_name clip_id".split(),
}

#: Words that labels and generators use for the two classes.
_REAL = frozenset("real reals nature natural authentic human original pristine 0_real".split())
_FAKE = frozenset(
    "fake fakes ai generated synthetic full_synthetic fully_synthetic tampered manipulated "
    "deepfake edited inpainted 1_fake ai-generated".split()
)

#: Labels of SID-Set, whose files do not say them: columns by which it is known, and words.
_SID_COLUMNS, _SID = {"img_id", "mask"}, {"0": "real", "1": "full_synthetic", "2": "tampered"}

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "evaluation"), "test"),
}

#: Value of fake_label for a table without a column of labels.
ALL = "all"

#: Generators up to which each is a dataset of its own.
MOST_DATASETS = 100

SHARED, PLAIN, UNNAMED = "real", "images", "unnamed"
CROP = "images as distributed; no face was cropped here"
SPLIT_RULE = (
    "The column split, else the name of the file (train-00000-of-00010.parquet) or its folder; a "
    "name that is none of train, validation, test and eval gives no split."
)
ALONE = "Every row counts as its own video, since no column says which images belong together."

_Columns = Mapping[str, str]


@dataclass(frozen=True)
class _Rows:
    """The columns of one file that say what its images are."""

    file: Path
    labels: list[str]
    generators: list[str]
    splits: list[str]
    videos: list[str]
    masked: list[bool]
    #: Row after the last of each row group.
    ends: list[int]


def _read(root: Path, options: LayoutOptions) -> Inventory:
    left_out: dict[str, str] = {}
    schemas = dict(_schemas(root, left_out))
    if not schemas:
        raise DatasetError(
            f"{str(root)!r} holds no Parquet files with a column of images (named "
            f"{', '.join(ROLES['image'])}, encoded files or structs with bytes). Give the folder "
            "of the set, or name the column: columns='image=NAME'."
        )
    first = next(iter(schemas.values()))
    columns = _columns(first, options)
    tables = []
    for file, schema in schemas.items():
        lacking = [name for name in columns.values() if name not in schema.names]
        if lacking:
            left_out[relative(file, _base(root))] = f"it lacks the column {', '.join(lacking)}"
        else:
            tables.append(_rows(file, columns, _base(root)))
    meaning, convention = _labels(tables, first, columns, options.fake_label)
    _require_agreement(tables, meaning, columns)
    videos = list(_entries(tables, meaning, columns, _base(root), left_out))
    kept = account(_base(root), videos, left_out, schemas, sweep=root.is_dir())
    generators = {one.dataset for one in kept if one.label == FAKE} - {PLAIN}
    reals = dict.fromkeys(sorted(generators), SHARED) if _has_reals(kept) else {}
    notes = _notes(kept, columns, tables)
    return Inventory(kept, reals, left_out, notes, convention, SPLIT_RULE, crop=CROP)


def _base(root: Path) -> Path:
    return root if root.is_dir() else root.parent


def _has_reals(videos: tuple[VideoEntry, ...]) -> bool:
    return any(one.dataset == SHARED for one in videos)


def _schemas(root: Path, left_out: dict[str, str]) -> Iterator[tuple[Path, pa.Schema]]:
    """Yield the Parquet files that hold images, and their schemas; the others are left out."""
    files = [root] if root.is_file() else walk(root, left_out)
    for file in files:
        if file.suffix.lower() != ".parquet":
            continue
        try:
            schema = open_parquet(file).schema_arrow
        except DatasetError as error:
            left_out[relative(file, _base(root))] = str(error)
            continue
        if any(leaf_of(schema, name) for name in schema.names):
            yield file, schema
        else:
            left_out[relative(file, _base(root))] = "it has no column of images"


def _columns(schema: pa.Schema, options: LayoutOptions) -> _Columns:
    """Return the column of each role: as the option says, else by its name."""
    given = _given(options.columns, schema)
    lower = {name.lower(): name for name in reversed(schema.names)}
    found = {}
    for role, names in ROLES.items():
        here = [lower[one] for one in names if one in lower and _fits(schema, lower[one], role)]
        if role in given or here:
            found[role] = given.get(role, here[0] if here else "")
    images = [one for one in schema.names if leaf_of(schema, one) and "mask" not in one.lower()]
    if "image" not in found and len(images) == 1:
        found["image"] = images[0]
    lacking = [] if "image" in found else ["image"]
    if "label" not in found and options.fake_label != ALL:
        lacking.append("label")
    if lacking:
        raise DatasetError(
            f"No column was found for {' and '.join(lacking)}; there are "
            f"{', '.join(schema.names)}. Name it, as columns='{lacking[0]}=NAME'"
            + (
                f", or give fake_label='{ALL}' if every image is fake."
                if "label" in lacking
                else "."
            )
        )
    return found


def _given(text: str | None, schema: pa.Schema) -> dict[str, str]:
    given = {}
    for part in filter(None, (one.strip() for one in (text or "").split(","))):
        role, equals, name = (one.strip() for one in part.partition("="))
        if role not in ROLES or not equals or name not in schema.names:
            raise DatasetError(
                f"columns={text!r} was given; {part!r} must be a role ({', '.join(ROLES)}), an "
                f"equals sign and a column ({', '.join(schema.names)})."
            )
        if not _fits(schema, name, role):
            raise DatasetError(
                f"columns={text!r} was given, but the column {name!r} of type "
                f"{schema.field(name).type} cannot be the {role}. Give another one."
            )
        given[role] = name
    return given


def _fits(schema: pa.Schema, name: str, role: str) -> bool:
    """Whether a column can have a role: images for two of them, one plain value for the others."""
    if role in ("image", "mask"):
        return bool(leaf_of(schema, name))
    kind = schema.field(name).type
    return not (
        pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    )


def _rows(file: Path, columns: _Columns, base: Path) -> _Rows:
    """Read the small columns of a file as text; empty for a role that has no column."""
    parquet = open_parquet(file)
    count = parquet.metadata.num_rows
    roles = {
        role: columns[role] for role in ("label", "generator", "split", "video") if role in columns
    }
    table = parquet.read(columns=list(dict.fromkeys(roles.values())))
    cells = {role: [_text(one) for one in table[name].to_pylist()] for role, name in roles.items()}
    empty = [""] * count
    masked = [False] * count
    if "mask" in columns:
        masked = list(rows_with_image(parquet, leaf_of(parquet.schema_arrow, columns["mask"])))
    named = _split(file.stem) or _split(file.relative_to(base).parent.name)
    splits = [_split(one) or named for one in cells.get("split", empty)]
    groups = range(parquet.metadata.num_row_groups)
    return _Rows(
        file,
        cells.get("label", empty),
        cells.get("generator", empty),
        splits,
        cells.get("video", empty),
        masked,
        list(accumulate(parquet.metadata.row_group(i).num_rows for i in groups)),
    )


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return str(value).strip()


def _split(name: str) -> str:
    """Return the split that a name says: "train-00000-of-00010", "labeled_test", "CompEval"."""
    words = re.findall(r"[a-z]+", name.lower())
    known = (_SPLITS.get(one) or ("test" if one.endswith("eval") else "") for one in words)
    return next(filter(None, known), "")


def _labels(
    tables: list[_Rows], schema: pa.Schema, columns: _Columns, fake_label: str | None
) -> tuple[dict[str, str], str]:
    """Return the word of each label value, "real" or a kind of fake, and the convention."""
    counts = Counter(one for table in tables for one in table.labels)
    name = columns.get("label", "")
    if not name:
        return {"": "fake"}, f"fake_label={ALL}: every image is fake → 1 fake"
    values = sorted(value for value in counts if value)
    if fake_label is not None:
        fakes = [one.strip() for one in fake_label.split(",")]
        unknown = [one for one in fakes if one not in values]
        if unknown:
            raise DatasetError(
                f"fake_label={fake_label!r} was given, but the column {name!r} holds "
                f"{_shown(values)}. Give those of fakes, separated by commas."
            )
        words = {one: "fake" if one in fakes else "real" for one in values}
        return words, f"column {name}: {', '.join(fakes)} is fake by fake_label → 0 real, 1 fake"
    said = {**_class_names(schema, name), **(_SID if {*schema.names} >= _SID_COLUMNS else {})}
    if set(values) <= {"0", "1"} and not set(said) >= set(values):
        said = {"0": "real", "1": "fake"}
    words = {one: said.get(one, one).lower().replace(" ", "_") for one in values}
    odd = [one for one, word in words.items() if word not in _REAL | _FAKE]
    if odd:
        raise DatasetError(
            f"The column {name!r} holds {_shown(values)}, and nothing says which are fake. Give "
            "them as fake_label, separated by commas, or name another column: "
            "columns='label=NAME'."
        )
    words = {one: "real" if word in _REAL else word for one, word in words.items()}
    pairs = ", ".join(f"{one} is {word}" for one, word in words.items())
    return words, f"column {name}: {pairs} → 0 real, 1 fake"


def _class_names(schema: pa.Schema, name: str) -> dict[str, str]:
    """Return the names that Hugging Face's metadata give the values of a label."""
    about = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        names = json.loads(about)["info"]["features"][name]["names"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {str(i): str(one) for i, one in enumerate(names)} if isinstance(names, list) else {}


def _shown(values: list[str]) -> str:
    return ", ".join(map(repr, values[:6])) + (" and more" if len(values) > 6 else "")


def _require_agreement(tables: list[_Rows], meaning: Mapping[str, str], columns: _Columns) -> None:
    """Raise if rows of one class name a generator of the other: the labels may be inverted."""
    pairs = Counter(
        (meaning.get(label, ""), generator.lower() in _REAL)
        for table in tables
        for label, generator in zip(table.labels, table.generators, strict=True)
        if generator
    )
    odd = sum(count for (word, real), count in pairs.items() if real and word not in ("", "real"))
    right = pairs["real", True]
    if odd > right:
        raise DatasetError(
            f"{odd:,} rows have the generator 'real' in the column {columns['generator']!r} and a "
            f"label of fakes in {columns['label']!r}, {right:,} one of reals: the labels seem to "
            "be inverted. Give the value of fakes as fake_label."
        )


def _entries(
    tables: list[_Rows],
    meaning: Mapping[str, str],
    columns: _Columns,
    base: Path,
    left_out: dict[str, str],
) -> Iterator[VideoEntry]:
    generators = _generators(tables, meaning, columns)
    datasets = len(set(generators.values())) if generators else 0
    apart = 0 < datasets <= MOST_DATASETS
    for table in tables:
        stem = relative(table.file.with_suffix(""), base)
        for rows in _groups(table):
            first = rows[0]
            word = meaning.get(table.labels[first], "")
            label = REAL if word == "real" else FAKE
            odd = label == FAKE and table.generators[first].lower() in _REAL
            if odd or not word:
                why = "its label says fake, its generator real" if odd else "it has no label"
                left_out.update((f"{relative(table.file, base)}::row {row}", why) for row in rows)
                continue
            generator = generators.get((table.generators[first], word), word)
            real = SHARED if apart else PLAIN
            group = sum(end <= first for end in table.ends)
            masked = label == FAKE and table.masked[first]
            yield VideoEntry(
                dataset=real if label == REAL else generator if apart else PLAIN,
                video=f"{stem}/{table.videos[first] or first}",
                media=ParquetImages(table.file, columns["image"], rows, group),
                label=label,
                method="real" if label == REAL else generator,
                split=table.splits[first],
                identity=table.videos[first],
                masks=(ParquetImages(table.file, columns["mask"], rows, group) if masked else None),
            )


def _generators(
    tables: list[_Rows], meaning: Mapping[str, str], columns: _Columns
) -> dict[tuple[str, str], str]:
    """Return the generator of each pair of a generator's value and a word for fakes.

    Without a column of generators, they are the words for fakes, if there are several.
    """
    pairs = {
        (generator, meaning[label])
        for table in tables
        for label, generator in zip(table.labels, table.generators, strict=True)
        if meaning.get(label, "real") != "real"
    }
    if "generator" in columns:
        return {pair: pair[0].lower() or UNNAMED for pair in pairs}
    return {pair: pair[1] for pair in pairs} if len(pairs) > 1 else {}


def _groups(table: _Rows) -> Iterator[tuple[int, ...]]:
    """Yield the rows of each video, or each row alone."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, video in enumerate(table.videos):
        if not video:
            yield (row,)
            continue
        key = video, table.labels[row], table.generators[row], table.splits[row]
        groups.setdefault(key, []).append(row)
    yield from map(tuple, groups.values())


def _notes(kept: tuple[VideoEntry, ...], columns: _Columns, tables: list[_Rows]) -> tuple[str, ...]:
    named = ", ".join(f"{role} from {name!r}" for role, name in columns.items())
    notes = [f"Columns: {named}."]
    methods = {one.method for one in kept if one.label == FAKE}
    if len(methods) > MOST_DATASETS:
        notes.append(
            f"{len(methods):,} generators: they are methods of one dataset, {PLAIN!r}, since more "
            f"than {MOST_DATASETS} datasets make no readable matrix."
        )
    if "video" not in columns:
        notes.append(ALONE)
    unlabeled = sum(not one for table in tables for one in table.labels)
    if "label" in columns and unlabeled:
        notes.append(f"{unlabeled:,} rows have no label and were left out.")
    return tuple(notes)


def _recognize(root: Path) -> str | None:
    for file in _first_files(root):
        try:
            schema = open_parquet(file).schema_arrow
        except DatasetError:
            continue
        images = [name for name in schema.names if leaf_of(schema, name)]
        if images:
            return f"{relative(file, _base(root))} has images in its column {images[0]}"
    return None


def _first_files(root: Path) -> Iterator[Path]:
    """Yield the first Parquet file of each folder in which a set may lie."""
    if root.is_file():
        yield from [root] if root.suffix.lower() == ".parquet" else []
        return
    for folder in (root / "data", root, *folders_in(root)[:20]):
        if folder.is_dir():
            files = (one for one in folder.iterdir() if one.suffix.lower() == ".parquet")
            yield from sorted(one for one in files if one.is_file())[:1]


HUGGINGFACE = LAYOUTS.register("huggingface-parquet")(
    Layout(
        name="huggingface-parquet",
        title="image sets of Hugging Face, such as OpenFake, CommunityForensics and SID-Set",
        read=_read,
        recognize=_recognize,
        shape="Parquet files with a column of images, in data or beside each other",
        takes=frozenset({"columns", "fake_label"}),
        takes_file=True,
    )
)
