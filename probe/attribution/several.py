"""`attribute_all`: several detectors and methods on the same images, with reasons for refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probe.attribution.explain import attribute, prepare
from probe.attribution.maps import AttributionMap
from probe.attribution.methods import METHODS, Refusal
from probe.attribution.targets import LOGIT, TargetLike
from probe.datasets import Dataset
from probe.detectors.detector import Detector
from probe.errors import ProbeError
from probe.hooks.tracing import trace

__all__ = [
    "Several",
    "attribute_all",
    "method_names",
    "parse_options",
    "parse_target",
    "require",
]


@dataclass(frozen=True)
class Several:
    """Maps of the same images by several detectors and methods.

    Attributes
    ----------
    maps : mapping
        (detector, method) to maps.
    refused : mapping
        (detector, method) to the reason why there are no maps.
    places : mapping
        (detector, method) to the path that maps were written to, if any.
    """

    maps: Mapping[tuple[str, str], AttributionMap]
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    places: Mapping[tuple[str, str], Path] = field(default_factory=dict)

    def of_method(self, method: str) -> dict[str, AttributionMap]:
        """Return the maps of one method, by detector."""
        return {label: maps for (label, name), maps in self.maps.items() if name == method}

    @property
    def titled(self) -> dict[str, AttributionMap]:
        """Maps by a title that distinguishes them."""
        labels, names = ({key[i] for key in self.maps} for i in range(2))
        return {
            _title(label, name, len(labels) > 1, len(names) > 1): maps
            for (label, name), maps in self.maps.items()
        }


def _title(label: str, name: str, labels: bool, names: bool) -> str:
    title = METHODS[name].title
    if labels:
        return f"{label} {title}" if names else label
    return title


def attribute_all(
    detectors: Sequence[Detector],
    data: Dataset,
    methods: Sequence[str],
    *,
    out: Path | None = None,
    target: TargetLike = LOGIT,
    layer: str | None = None,
    baseline: str | None = None,
    seed: int = 0,
    memory: str | int = "2G",
    pairs: Dataset | None = None,
    options: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Several:
    """Explain the same images with several detectors and methods.

    If a method cannot be applied to a detector, the reason is recorded and the others continue.

    Parameters
    ----------
    detectors : sequence of Detector
        Detectors to explain, with distinct names.
    data : Dataset
        Images to explain.
    methods : sequence of str
        Names of methods; see `method_names`.
    out : pathlib.Path, optional
        Folder, where maps are written as ``<detector>-<method>.zarr`` and continued after an
        interruption; or a path ending in ``.zarr``, for one detector and method.
    target, layer, baseline, seed, memory, pairs
        As in `probe.attribution.attribute`; passed to the methods that use them.
    options : mapping, optional
        Option to value; each is passed to the methods that have it.
    progress : bool, default True
        Whether to show progress bars.

    Returns
    -------
    Several
        The maps, and the reasons of refusals.

    Raises
    ------
    ProbeError
        If two detectors have one name, no method has an option, or nothing could be explained.
    """
    names = [METHODS[name].name for name in dict.fromkeys(methods)]
    require(
        detectors,
        names,
        out=out,
        target=target,
        layer=layer,
        baseline=baseline,
        seed=seed,
        memory=memory,
        options=options,
    )
    places = _places(detectors, names, out)
    maps: dict[tuple[str, str], AttributionMap] = {}
    refused: dict[tuple[str, str], str] = {}
    for detector in detectors:
        traced = trace(detector)
        for name in names:
            method, key = METHODS[name], (detector.name, name)
            own = {k: v for k, v in (options or {}).items() if k in method.options}
            try:
                maps[key] = attribute(
                    traced,
                    data,
                    name,
                    target=target,
                    layer=layer if method.layer else None,
                    baseline=baseline if method.baseline else None,
                    seed=seed,
                    memory=memory,
                    out=places.get(key),
                    pairs=pairs,
                    progress=progress,
                    **own,
                )
            except Refusal as why:
                refused[key] = str(why)
    if not maps:
        raise Refusal(" ".join(dict.fromkeys(refused.values())))
    return Several(maps, refused, {key: place for key, place in places.items() if key in maps})


def require(
    detectors: Sequence[Detector],
    names: Sequence[str],
    *,
    out: Path | None,
    target: TargetLike,
    layer: str | None,
    baseline: str | None,
    seed: int,
    memory: str | int,
    options: Mapping[str, Any] | None,
) -> None:
    """Check arguments and detectors as `attribute_all` would, without images."""
    _check(detectors, names, layer, baseline, options or {})
    _places(detectors, names, out)
    refused = []
    for detector in detectors:
        traced = trace(detector)
        for name in names:
            method = METHODS[name]
            own = {k: v for k, v in (options or {}).items() if k in method.options}
            try:
                prepare(
                    traced,
                    name,
                    target=target,
                    layer=layer if method.layer else None,
                    seed=seed,
                    memory=memory,
                    **own,
                )
            except Refusal as why:
                refused.append(str(why))
    if len(refused) == len(detectors) * len(names):
        raise Refusal(" ".join(dict.fromkeys(refused)))


def _check(
    detectors: Sequence[Detector],
    names: Sequence[str],
    layer: str | None,
    baseline: str | None,
    options: Mapping[str, Any],
) -> None:
    labels = [one.name for one in detectors]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise ProbeError(
            f"Two detectors are named {sorted(twice)[0]!r}. Names must be unique: give each once; "
            "variants are distinguished by their cards."
        )
    known = {name: METHODS[name] for name in names}
    for option in options:
        if not any(option in method.options for method in known.values()):
            has = {
                key: f"{name}: {key}={value!r}"
                for name, method in known.items()
                for key, value in method.options.items()
            }
            raise ProbeError(
                f"Option {option!r} was given, and none of {', '.join(known)} has it. They have "
                f"{'; '.join(has.values()) or 'none'}."
            )
    if layer is not None and not any(method.layer for method in known.values()):
        raise ProbeError(f"layer={layer!r} was given, and none of {', '.join(known)} uses one.")
    if baseline is not None and not any(method.baseline for method in known.values()):
        raise ProbeError(
            f"baseline={baseline!r} was given, and none of {', '.join(known)} uses one."
        )


def _places(
    detectors: Sequence[Detector], names: Sequence[str], out: Path | None
) -> dict[tuple[str, str], Path]:
    if out is None:
        return {}
    keys = [(one.name, name) for one in detectors for name in names]
    if out.suffix == ".zarr":
        if len(keys) > 1:
            raise ProbeError(
                f"out={str(out)!r} was given for {len(keys)} files of maps. Give a folder, in "
                "which each gets its own file."
            )
        return {keys[0]: out}
    return {(label, name): out / f"{label.replace('/', '-')}-{name}.zarr" for label, name in keys}


def method_names(asked: Sequence[str]) -> list[str]:
    """Return the requested methods; "all" means all.

    Raises
    ------
    UnknownNameError
        If a method is unknown.
    """
    words = [word.strip() for one in asked for word in one.split(",") if word.strip()]
    if "all" in words:
        return list(METHODS)
    return [METHODS[word].name for word in words]


def parse_target(text: str) -> TargetLike:
    """Parse "logit", "layer:unit" or "layer:unit,unit" as a target.

    Raises
    ------
    ProbeError
        If the text has another form.
    """
    layer, colon, units = text.rpartition(":")
    if not colon:
        return text
    try:
        numbers = [int(one) for one in units.split(",")]
    except ValueError:
        raise ProbeError(
            f"target {text!r} was given; allowed are logit, LAYER:UNIT and LAYER:UNIT,UNIT, such "
            "as block12:417."
        ) from None
    return layer, numbers[0] if len(numbers) == 1 else numbers


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """Parse "name=value" texts as options; values become numbers if possible.

    Raises
    ------
    ProbeError
        If a text has no "=".
    """
    out: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ProbeError(f"Option {text!r} was given; allowed is NAME=VALUE, such as steps=50.")
        out[name] = _number(value)
    return out


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
