"""The checks by name: what each measures, which way is better, what knowing nothing gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probe.registry import Registry

__all__ = [
    "CHECKS",
    "EDGES",
    "FILLS",
    "GROUPS",
    "NEEDS",
    "PSEUDO_METHODS",
    "RANDOM",
    "REFERENCES",
    "SHIFTED",
    "Check",
    "chosen_checks",
]

#: What maps are compared with: a random order of pixels, the edges of the image, and the map itself
#: shifted by a random distance, which is as smooth and as peaked but points elsewhere.
RANDOM, EDGES, SHIFTED = "random", "edges", "shifted"
REFERENCES = (RANDOM, EDGES, SHIFTED)

#: Those that are no other for each method, and have rows of their own.
PSEUDO_METHODS = (RANDOM, EDGES)

#: What removed pixels are replaced by.
FILLS = ("blur", "mean")

#: Groups of checks, in the order of tables.
GROUPS = ("mask", "faithfulness", "axioms", "randomization")

#: What a check needs of an image, a method or a target, and the reason where it is not there.
NEEDS = {
    "mask": "no fake image has a mask",
    "fakes": "there is no fake image",
    "complete": "the method promises no completeness",
    "": "not defined on any image (constant maps)",
}


@dataclass(frozen=True)
class Check:
    """One question to a heatmap.

    Attributes
    ----------
    title : str
        In a few words.
    group : str
        One of `GROUPS`.
    better : {"higher", "lower"}
        Which values speak for the map.
    bounds : tuple of float
        Smallest and largest possible value.
    chance : str
        What a map that knows nothing of image or detector gets; "" where there is no such level.
    paper : str
        Source.
    needs : str
        One of `NEEDS`.
    tested : bool
        Whether the gain over chance is estimated and tested, image by image.
    """

    title: str
    group: str
    better: str
    bounds: tuple[float, float]
    chance: str
    paper: str
    needs: str = ""
    tested: bool = True

    @property
    def direction(self) -> float:
        """+1 where higher is better, −1 where lower is."""
        return 1.0 if self.better == "higher" else -1.0


#: All checks, in the order of tables.
CHECKS: Registry[Check] = Registry("trust check")

_INF = float("inf")
_MASK = (
    (
        "pointing",
        "largest attribution lies inside the mask",
        "area share of the mask",
        "Zhang et al. 2018, arXiv:1608.00507",
    ),
    (
        "mask_mass",
        "share of the positive attribution inside the mask",
        "area share of the mask",
        "Arras et al. 2022, arXiv:2003.07258",
    ),
    (
        "mask_iou",
        "IoU of the mask and as many top pixels",
        "s / (2 - s) for an area share s",
        "Arras et al. 2022, arXiv:2003.07258 (rank accuracy), as IoU",
    ),
    (
        "mask_auroc",
        "AUROC of pixels against the mask",
        "0.5",
        "Fawcett 2006, doi:10.1016/j.patrec.2005.10.010",
    ),
)
_RISE = "Petsiuk et al. 2018, arXiv:1806.07421"
_ADEBAYO = "Adebayo et al. 2018, arXiv:1810.03292"
_YEH = "Yeh et al. 2019, arXiv:1901.09392"

for _name, _title, _chance, _paper in _MASK:
    CHECKS.register(_name)(Check(_title, "mask", "higher", (0, 1), _chance, _paper, "mask"))
for _fill in FILLS:
    CHECKS.register(f"deletion_{_fill}")(
        Check(
            f"P(fake) as top pixels give way to {_fill}",
            "faithfulness",
            "lower",
            (0, 1),
            "random order of pixels",
            _RISE,
            "fakes",
        )
    )
for _fill in FILLS:
    CHECKS.register(f"insertion_{_fill}")(
        Check(
            f"P(fake) as top pixels return into {_fill}",
            "faithfulness",
            "higher",
            (0, 1),
            "random order of pixels",
            _RISE,
            "fakes",
        )
    )
CHECKS.register("completeness")(
    Check(
        "gap of the map's sum, relative",
        "axioms",
        "lower",
        (0, _INF),
        "",
        "Sundararajan et al. 2017, arXiv:1703.01365",
        "complete",
        tested=False,
    )
)
CHECKS.register("max_sensitivity")(
    Check(
        "largest relative change under small noise",
        "axioms",
        "lower",
        (0, _INF),
        "",
        _YEH,
        tested=False,
    )
)
CHECKS.register("avg_sensitivity")(
    Check(
        "mean relative change under small noise",
        "axioms",
        "lower",
        (0, _INF),
        "",
        _YEH,
        tested=False,
    )
)
for _kind in ("ssim", "spearman"):
    CHECKS.register(f"mprt_{_kind}")(
        Check(
            f"likeness ({_kind}) to the map of a random detector",
            "randomization",
            "lower",
            (-1, 1),
            "1 for a map that ignores the detector",
            _ADEBAYO,
            tested=False,
        )
    )
    CHECKS.register(f"mprt_{_kind}_area")(
        Check(
            f"mean likeness ({_kind}) as layers turn random",
            "randomization",
            "lower",
            (-1, 1),
            "1 for a map that ignores the detector",
            _ADEBAYO,
            tested=False,
        )
    )
CHECKS.register("emprt")(
    Check(
        "relative rise of the map's entropy on a random detector",
        "randomization",
        "higher",
        (-1, _INF),
        "0",
        "Hedström et al. 2024, arXiv:2401.06465",
    )
)


def chosen_checks(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names asked for in the order of the registry, all for None.

    Raises
    ------
    UnknownNameError
        If a name is not registered.
    """
    for name in names or ():
        CHECKS[name]
    return tuple(name for name in CHECKS if names is None or name in names)
