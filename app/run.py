"""`Run`: what the dashboard reads of a run folder."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import Any, TypeVar

from cachetools import LRUCache, cached

from app.selection import Selection
from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE, Dataset, read_native
from probe.errors import ProbeError, StoreError
from probe.images import Reach, RunData, careful, key_file, token_of
from probe.reader import Run as PublicRun
from probe.reader import from_here, stamp_of
from probe.run import MissingTableError, RunFolder
from probe.tables import parsed
from probe.thumbnails import Thumbnails

__all__ = [
    "Line",
    "Ref",
    "Run",
    "RunRow",
    "crop_rule",
    "derived",
    "evaluation_notes",
    "first_layer",
    "known_detector",
    "layer_names",
    "lines_between",
    "named_layer",
    "open_others",
    "run_rows",
]

#: Bytes of the largest report that is served; `probe report` writes none that is larger.
LARGEST = 20_000_000


@dataclass(frozen=True)
class Ref:
    """A table of a run, and how a script asks for it.

    Attributes
    ----------
    code : str
        Expression, such as ``run.neurons('meso4/base')``.
    value : Any
        The table.
    key : hashable
        Equal as long as the table's file stays as it is.
    run : tuple of str, optional
        What the expression calls the run, and where that is; None for the run of the page.
    """

    code: str
    value: Any
    key: Hashable
    run: tuple[str, str] | None = None


class Run(PublicRun):
    """Read access to a run folder: `probe.reader.Run`, its images, and the runs to compare it with.

    Parameters
    ----------
    folder : RunFolder
        Where everything is.
    others : tuple of (str, Run)
        Further runs to compare with, by unique names.
    roots : tuple of pathlib.Path
        Folders that whoever serves the run lets images be opened from, see `probe.images`.
    """

    def __init__(
        self,
        folder: RunFolder,
        others: tuple[tuple[str, Run], ...] = (),
        roots: tuple[Path, ...] = (),
    ) -> None:
        super().__init__(folder)
        self.others, self.roots = others, roots

    def ref(self, table: str, *by: str, name: str = "run") -> Ref:
        """Return a table with what a script, which calls the run `name`, has to write for it."""
        value = getattr(self, table)
        arguments = ", ".join(map(repr, by))
        code = f"{name}.{table}({arguments})" if by else f"{name}.{table}"
        found = value(*by) if by else value
        return Ref(code, found, self.stamp(table, *by), (name, self.place))

    @property
    def place(self) -> str:
        """Path of the folder, as it is typed where the dashboard was started."""
        return from_here(self.folder.root)

    @property
    def report(self) -> Path | None:
        """The report's file; None where there is none, or its name leads to another file."""
        file = self.folder.report
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST:
            return None
        return file

    @property
    def data(self) -> RunData:
        """Images and sample table; no image is opened but where `probe.images` lets it be."""
        return self._data[0]

    @property
    def rows(self) -> dict[str, int]:
        """Positions of samples in `data` by their tokens, see `token_of`."""
        return self._data[1]

    @property
    def _data(self) -> tuple[RunData, dict[str, int]]:
        root = self.folder.data
        if not (root / CARD_FILE).is_file():
            raise MissingTableError("images", self.command)
        marks = (stamp_of(root / CARD_FILE), stamp_of(root / SAMPLES_FILE))
        data = derived(_read_data, (), root, marks)
        # Whoever takes the key away takes away what it allowed, also while pages are looked at.
        key = key_file()
        return derived(_careful, (data, self.manifest), self.roots, key, stamp_of(key))

    @property
    def thumbnails(self) -> Thumbnails:
        """Small copies of some images, for where the images are not; may be empty."""
        path = self.folder.thumbnails
        return derived(_thumbnails, (), path, stamp_of(path))


def _thumbnails(path: Path, stamp: int) -> Thumbnails:
    return Thumbnails(path)


def _read_data(root: Path, stamp: object) -> tuple[Dataset, dict[str, int]]:
    data = read_native(root)
    names = data.samples.table["sample"]
    return data, {token_of(str(name)): i for i, name in enumerate(names)}


def _careful(
    found: tuple[Dataset, dict[str, int]],
    manifest: dict[str, Any],
    roots: tuple[Path, ...],
    key: Path,
    stamp: int,
) -> tuple[RunData, dict[str, int]]:
    return careful(found[0], Reach.of(manifest, roots)), found[1]


T = TypeVar("T")

#: Results that stay in memory. What is large holds its tables' columns and few copies of them.
MOST = 256


def derived(make: Callable[..., T], sources: tuple[Any, ...], *settings: Hashable) -> T:
    """Return ``make(*sources, *settings)``, computed once for these very objects.

    `Run` gives the same object for a table until its file changes, so that a result is renewed
    just when its tables are. Users who ask at the same time wait for one of them.

    Parameters
    ----------
    make : callable
        Its result is shared and must not be changed. Errors are not kept.
    sources : tuple
        Objects from which the result is computed.
    *settings : hashable
        Further arguments.
    """
    found: T = _derived(make, sources, *settings)[1]
    return found


def _identity(make: Callable[..., T], sources: tuple[Any, ...], *settings: Hashable) -> Hashable:
    return (make, *map(id, sources), *settings)


# Sources are kept with the result: as long as they live, no other object has their identity.
@cached(LRUCache(MOST), key=_identity, condition=Condition())
def _derived(
    make: Callable[..., T], sources: tuple[Any, ...], *settings: Hashable
) -> tuple[tuple[Any, ...], T]:
    return sources, make(*sources, *settings)


def known_detector(run: Run, chosen: Selection) -> str:
    """Return the detector that an address names, or the first.

    Raises
    ------
    UnknownNameError
        If the run does not hold it.
    MissingTableError
        If the run holds none.
    """
    if not run.detectors:
        raise MissingTableError("detectors", run.command)
    return chosen.named("detector", run.detectors)


def layer_names(run: Run, label: str) -> list[str]:
    """List the layers of the separability report and of the embeddings, in their order.

    Tables that cannot be read are left to the cards that show them. Without either, the layer
    whose units the run asks for.
    """
    names: list[str] = []
    for read in (run.separability, run.embeddings):
        try:
            names += map(str, read(label).data["layer"].values)
        except ProbeError:
            continue
    return list(dict.fromkeys(names)) or [unit_layer(run, label)]


def unit_layer(run: Run, label: str) -> str:
    """Return the layer whose units the run asks for; empty where its manifest names none."""
    return str(dict(run.manifest.get("layers") or {}).get(label, ""))


def first_layer(run: Run, label: str) -> str:
    """Return the layer that is shown where an address names none: that of the units, if there."""
    names, wanted = layer_names(run, label), unit_layer(run, label)
    return wanted if wanted in names else names[-1]


def named_layer(run: Run, label: str, chosen: Selection) -> str:
    """Return the layer that an address names, or the first to show.

    Raises
    ------
    UnknownNameError
        If neither table holds it.
    """
    if not chosen.layer:
        return first_layer(run, label)
    return chosen.named("layer", layer_names(run, label))


@dataclass(frozen=True)
class RunRow:
    """One of the runs.

    Attributes
    ----------
    name, title, created : str
        Of the folder; of the manifest.
    complete : bool
        Whether all stages are done.
    detectors, datasets : tuple of str
        As the manifest names them.
    differs : tuple of str
        What it does not share with the run that the dashboard is of, in a word each.
    problem : str
        Why it cannot be read; empty where it can.
    """

    name: str
    title: str = ""
    created: str = ""
    complete: bool = False
    detectors: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Line:
    """One thing in which two may differ, as both have it."""

    what: str
    one: str
    other: str

    @property
    def same(self) -> bool:
        """Whether both have it alike."""
        return self.one == self.other


def open_others(
    roots: Sequence[str | Path],
    beside: str | Path | None = None,
    images: tuple[Path, ...] = (),
) -> tuple[tuple[str, Run], ...]:
    """Give every further run a unique name: that of its folder, numbered where it is taken.

    Parameters
    ----------
    roots : sequence of path
        Folders of the runs.
    beside : path, optional
        Folder of the run that they are compared with, whose name is taken.
    images : tuple of pathlib.Path
        Folders that images may be opened from.

    Raises
    ------
    StoreError
        If there is no such folder.
    """
    found: dict[str, Run] = {}
    taken = {Path(beside).resolve().name} if beside else set()
    for given in roots:
        root = Path(given)
        if not root.is_dir():
            raise StoreError(
                f"There is no folder {str(root)!r} to compare with. Give folders of runs."
            )
        root = root.resolve()
        name, number = root.name or "run", 2
        while name in taken | set(found):
            name, number = f"{root.name}-{number}", number + 1
        found[name] = Run(RunFolder(root), roots=images)
    return tuple(found.items())


def run_rows(run: Run) -> tuple[RunRow, ...]:
    """List the run itself and the others, each with what it does not share with the first."""
    return tuple(_row(name, one, run) for name, one in ((run.folder.root.name, run), *run.others))


def lines_between(one: Run, other: Run) -> tuple[Line, ...]:
    """Set side by side what decides the results of two runs.

    Raises
    ------
    StoreError
        If a manifest cannot be read.
    """
    pairs: dict[str, Callable[[Run], str]] = {
        "Title": lambda run: str(run.manifest.get("title", "")),
        "Command": lambda run: run.command,
        "Seeds": _seeds,
        "Trained on": lambda run: str(run.manifest.get("source", "")) or "not stated",
        "Datasets": lambda run: ", ".join(map(str, run.manifest.get("datasets", []))),
        "Images": _fingerprints,
        "Crop rule": _crop,
        "Settings": lambda run: str(run.manifest.get("study", "not stated")),
        "Devices": lambda run: (
            ", ".join(map(str, run.folder.read_provenance().get("devices", []))) or "—"
        ),
    }
    lines = [Line(what, read(one), read(other)) for what, read in pairs.items()]
    mine, theirs = (
        {str(k): str(v) for k, v in dict(run.manifest.get("versions") or {}).items()}
        for run in (one, other)
    )
    named = [n for n in dict.fromkeys([*mine, *theirs]) if mine.get(n) != theirs.get(n)]
    texts = [
        ", ".join(f"{n} {have.get(n, 'not stated')}" for n in named) or "all the same"
        for have in (mine, theirs)
    ]
    return (*lines, Line("Versions", *texts))


def evaluation_notes(run: Run, key: str) -> dict[str, Any]:
    """Read a mapping that the zero-shot matrix notes: ``specs``, ``data``, ``detectors``."""
    found = parsed(run.evaluation.data.attrs.get(key, {}))
    return dict(found) if isinstance(found, Mapping) else {}


def crop_rule(run: Run) -> str:
    """Say by which rule faces were cut, as the dataset's card states it."""
    card = run.data.card
    if "crop" in card or not isinstance(card.get("parts"), dict):
        return _crop_words(card)
    # Of joined data every part states its own.
    rules: dict[str, list[str]] = {}
    for name, part in card["parts"].items():
        rules.setdefault(_crop_words(part if isinstance(part, dict) else {}), []).append(str(name))
    if len(rules) == 1:
        return next(iter(rules))
    return " | ".join(f"{', '.join(names)}: {rule}" for rule, names in rules.items())


def _crop_words(card: Mapping[str, Any]) -> str:
    rule = card.get("crop")
    if isinstance(rule, dict):
        return "; ".join(f"{key}: {value}" for key, value in rule.items())
    return str(rule) if rule else "not stated in the dataset's card"


def _row(name: str, one: Run, first: Run) -> RunRow:
    try:
        found = one.manifest
        differs = () if one is first else _differing(first, one)
    except ProbeError as error:
        return RunRow(name, problem=str(error))
    return RunRow(
        name=name,
        title=str(found.get("title", "")),
        created=str(found.get("created", "")),
        complete=bool(found.get("complete", False)),
        detectors=tuple(one.detectors),
        datasets=tuple(map(str, found.get("datasets", []))),
        differs=differs,
    )


def _differing(first: Run, one: Run) -> tuple[str, ...]:
    try:
        lines = lines_between(first, one)
    except ProbeError:
        return ("cannot be told: the first run cannot be read",)
    return tuple(line.what.lower() for line in lines if not line.same and line.what != "Title")


def _seeds(run: Run) -> str:
    """Name the seeds of the trainings, or the one that the manifest notes."""
    seeds = run.folder.read_provenance().get("seeds") or [run.manifest.get("seed", "not stated")]
    return ", ".join(map(str, seeds))


def _crop(run: Run) -> str:
    try:
        return crop_rule(run)
    except ProbeError:
        return "no images"


def _fingerprints(run: Run) -> str:
    """Write short fingerprints of the datasets that were measured."""
    try:
        found = evaluation_notes(run, "data")
    except ProbeError:
        return "not measured yet"
    return ", ".join(f"{name} {str(mark)[:8]}" for name, mark in found.items()) or "not stated"
