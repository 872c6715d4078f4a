"""Registry of checks: what each measures, which direction is better, and its chance level."""

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

#: References that maps are compared with: a random order of pixels, the edges of the image, and the
#: map itself shifted by a random distance, which is as smooth and as peaked but points elsewhere.
RANDOM, EDGES, SHIFTED = "random", "edges", "shifted"
REFERENCES = (RANDOM, EDGES, SHIFTED)

#: References that are the same for all methods, and have rows of their own.
PSEUDO_METHODS = (RANDOM, EDGES)

#: Fills that replace removed pixels.
FILLS = ("blur", "mean")

#: Groups of checks, in table order.
GROUPS = ("mask", "faithfulness", "axioms", "randomization")

#: What a check needs of an image, a method or a target, and the reason given if it is missing.
NEEDS = {
    "mask": "no fake image has a mask",
    "fakes": "there is no fake image",
    "complete": "the method is not complete",
    "": "undefined on every image (constant maps)",
}


@dataclass(frozen=True)
class Check:
    """A check of heatmaps.

    Attributes
    ----------
    title : str
        Short description.
    group : str
        One of `GROUPS`.
    better : {"higher", "lower"}
        Direction that speaks for the map.
    bounds : tuple of float
        Smallest and largest possible value.
    chance : str
        Level of a map that carries no information on image or detector; "" if there is none.
    paper : str
        Reference.
    needs : str
        Requirement, one of `NEEDS`.
    tested : bool
        Whether the gain over chance is estimated and tested, per image.
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
        """+1 if higher is better, −1 if lower is better."""
        return 1.0 if self.better == "higher" else -1.0


#: All checks, in table order.
CHECKS: Registry[Check] = Registry("trust check")

_INF = float("inf")
_MASK = (
    (
        "pointing",
        "largest attribution is inside the mask",
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
            f"P(fake) as top pixels are replaced by {_fill}",
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
            f"P(fake) as top pixels are inserted into {_fill}",
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
        "relative gap of the map's sum",
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
            f"similarity ({_kind}) to the map of a random detector",
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
            f"mean similarity ({_kind}) as layers are randomized",
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
        "relative increase of the map's entropy on a random detector",
        "randomization",
        "higher",
        (-1, _INF),
        "0",
        "Hedström et al. 2024, arXiv:2401.06465",
    )
)


def chosen_checks(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the given names in the order of the registry; all for None.

    Raises
    ------
    UnknownNameError
        If a name is not registered.
    """
    for name in names or ():
        CHECKS[name]
    return tuple(name for name in CHECKS if names is None or name in names)
