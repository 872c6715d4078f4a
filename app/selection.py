"""`Selection`: what is being looked at, kept in the URL so that a link reproduces the view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

from probe.errors import ProbeError, UnknownNameError
from probe.plots.evaluation import METRIC_NAMES

__all__ = ["LEVELS", "METRICS", "Selection"]

#: Names of metrics in tables, to how they are written for people.
METRICS = METRIC_NAMES
LEVELS = {"frame": "Per frame", "video": "Per video"}

#: Longer values name nothing; they are refused before anything looks at them.
_LONGEST = 200
#: The same for fields that list several names.
_LONGEST_LIST = 4000
_LISTS = ("units", "methods")


@dataclass(frozen=True)
class Selection:
    """The query part of the address.

    Attributes
    ----------
    detector, layer, dataset : str
        Labels as in the run's tables; empty where nothing is chosen.
    unit : str
        Number of a unit, as text; empty where none is chosen. `unit_number` checks it.
    metric, level : str
        Of the zero-shot matrix.
    measure : str
        Measure of separability that is followed through the layers.
    embedding, color, sample : str
        Kind of the picture of a layer, what its points are colored by, and the token of the image
        that is picked in it.
    artifact : str
        Artifact whose dose is turned.
    units : str
        Numbers of a set of units, separated by commas; see `unit_set`.
    methods : str
        Names of attribution methods that are shown side by side, separated by commas.
    images, overlay : str
        Which images are listed, and whether maps lie over them.
    other : str
        What the detector is compared with: another of this run, or "RUN:DETECTOR".
    against : str
        What the zero-shot matrix is shown less of.
    lasso : str
        What is selected in the picture of a layer, see `app.lasso`.
    forgery, page : str
        Of the images that are listed: by which method they were forged, and which part of the list.
    outline : str
        Whether masks are outlined on maps.
    checks : str
        Method and detector, as "METHOD:DETECTOR", whose checks of trust are opened.
    mode, part, what : str
        How maps of variants are compared; which mass of maps is looked for in regions, and what
        of it is shown.
    method : str
        Attribution method of a map that is made on request.
    dropped : str
        Fingerprint of the job that scores an image from elsewhere, shown in place of `sample`.
    """

    detector: str = ""
    layer: str = ""
    dataset: str = ""
    unit: str = ""
    metric: str = ""
    level: str = ""
    measure: str = ""
    embedding: str = ""
    color: str = ""
    sample: str = ""
    artifact: str = ""
    units: str = ""
    methods: str = ""
    images: str = ""
    overlay: str = ""
    other: str = ""
    against: str = ""
    lasso: str = ""
    forgery: str = ""
    page: str = ""
    outline: str = ""
    checks: str = ""
    mode: str = ""
    part: str = ""
    what: str = ""
    method: str = ""
    dropped: str = ""

    @classmethod
    def parse(cls, search: str | None) -> Selection:
        """Read a query such as ``?detector=meso4%2Fbase&unit=3``; other names are not looked at.

        Raises
        ------
        ProbeError
            If the query holds absurdly many or long values.
        """
        try:
            found = parse_qs((search or "").lstrip("?"), max_num_fields=50)
        except ValueError as error:
            raise ProbeError(
                f"The address cannot be read ({error}). Follow a link on the page instead."
            ) from error
        values = {field.name: found.get(field.name, [""])[-1] for field in fields(cls)}
        for name, value in values.items():
            most = _LONGEST_LIST if name in _LISTS else _LONGEST
            if len(value) > most:
                raise ProbeError(
                    f"The address gives a {name} of {len(value)} characters; names have at most "
                    f"{most}. Choose one on the page."
                )
        return cls(**values)

    @property
    def search(self) -> str:
        """The query, beginning with "?"; empty where nothing is chosen."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}
        return f"?{urlencode(chosen)}" if chosen else ""

    def but(self, **changes: Any) -> Selection:
        """Return a copy with these values; None leaves a value as it is."""
        given = {name: str(value) for name, value in changes.items() if value is not None}
        return replace(self, **given)

    @property
    def elsewhere(self) -> Selection:
        """What other pages are opened with: units are numbers of one layer, so both stay here."""
        return replace(self, layer="", unit="", units="") if self.layer else self

    def named(self, kind: str, allowed: Sequence[str]) -> str:
        """Return the chosen name, or the first that is allowed where none is chosen.

        Raises
        ------
        UnknownNameError
            If the address names one that is not allowed.
        """
        given = str(getattr(self, kind)) or (allowed[0] if allowed else "")
        if given not in allowed:
            raise UnknownNameError(
                kind, given, allowed, where="this run", remedy="Choose one on the page."
            )
        return given

    def unit_number(self, units: Sequence[int]) -> int:
        """Return the chosen unit, or the first of `units` where none is chosen.

        Raises
        ------
        ProbeError
            If the address names a unit that the table does not hold.
        """
        if not self.unit:
            return units[0]
        number = int(self.unit) if self.unit.isascii() and self.unit.isdigit() else -1
        if number not in units:
            raise ProbeError(
                f"Unit {self.unit!r} is not in this table; it holds the {len(units)} units "
                f"{min(units)} to {max(units)}. Select one in the list."
            )
        return number

    def unit_set(self, units: Sequence[int]) -> list[int]:
        """Return the chosen set of units, in order and each once; empty where none is chosen.

        Raises
        ------
        ProbeError
            If the address names a unit that the table does not hold, or no number.
        """
        known, found = set(units), []
        for word in filter(None, self.units.split(",")):
            number = int(word) if word.isascii() and word.isdigit() else -1
            if number not in known:
                raise ProbeError(
                    f"Unit {word!r} of the set in the address is not in this table, which holds "
                    f"the {len(known)} units {min(known)} to {max(known)}. Choose the set anew."
                )
            found.append(number)
        return list(dict.fromkeys(found))
