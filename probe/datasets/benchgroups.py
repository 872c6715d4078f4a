"""The groups of DeepfakeBench's lists: which dataset, method and label each name stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from probe.datasets.naming import People, celeb_people, dfd_people, ff_people
from probe.schema import FAKE, REAL

__all__ = ["GROUPS", "Group", "dataset_of"]

_DEEPER = re.compile(r"([0-9]{3})_([MW][0-9]{3})")


@dataclass(frozen=True)
class Group:
    """One group.

    Attributes
    ----------
    name : str
        As the lists spell it.
    dataset, method : str
        As in `Samples`; the method of fakes.
    label : int
        0 real, 1 fake.
    reals : str
        Name, in lower case, of the group of the originals.
    people : callable
        From a video's name to who it shows; None where the name does not say.
    reenacts : bool
        Whether the source drives the face.
    prefix : str
        Goes before the names of videos that another group has too.
    """

    name: str
    dataset: str
    method: str
    label: int
    reals: str
    people: Callable[[str], People | None]
    reenacts: bool = False
    prefix: str = ""


def _nobody(name: str) -> People | None:
    return None


def _deeper_people(name: str) -> People | None:
    match = _DEEPER.fullmatch(name)
    return match and People(match[1], match[2])


def _of_ff(code: str, dataset: str, reenacts: bool = False) -> Group:
    return Group(f"FF-{code}", dataset, dataset, FAKE, "ff-real", ff_people, reenacts)


def _pair(
    real: str, fake: str, dataset: str, people: Callable[[str], People | None] = _nobody
) -> tuple[Group, Group]:
    return (
        Group(real, dataset, dataset, REAL, real.lower(), people),
        Group(fake, dataset, dataset, FAKE, real.lower(), people),
    )


_ALL = (
    Group("FF-real", "youtube", "real", REAL, "ff-real", ff_people),
    _of_ff("DF", "deepfakes"),
    _of_ff("F2F", "face2face", reenacts=True),
    _of_ff("FS", "faceswap"),
    _of_ff("NT", "neuraltextures", reenacts=True),
    _of_ff("FH", "faceshifter"),
    _of_ff("SH", "faceshifter"),
    *_pair("DFD_real", "DFD_fake", "dfd", dfd_people),
    *_pair("CelebDFv1_real", "CelebDFv1_fake", "celebdf-v1", celeb_people),
    *_pair("CelebDFv2_real", "CelebDFv2_fake", "celebdf-v2", celeb_people),
    *_pair("DFDC_Real", "DFDC_Fake", "dfdc"),
    Group("DFDCP_Real", "dfdcp", "dfdcp", REAL, "dfdcp_real", _nobody),
    Group("DFDCP_FakeA", "dfdcp", "dfdcp-a", FAKE, "dfdcp_real", _nobody, prefix="a/"),
    Group("DFDCP_FakeB", "dfdcp", "dfdcp-b", FAKE, "dfdcp_real", _nobody, prefix="b/"),
    *_pair("DF_real", "DF_fake", "deeperforensics", _deeper_people),
    *_pair("UADFV_Real", "UADFV_Fake", "uadfv"),
)

#: Groups by their names in lower case.
GROUPS = {group.name.lower(): group for group in _ALL}


def dataset_of(group: str, present: Collection[str]) -> str:
    """Name the dataset of a group: "celebdf" where only one version of Celeb-DF is listed.

    Parameters
    ----------
    group : str
        Its name in lower case.
    present : collection of str
        The groups that are listed, likewise.
    """
    dataset = GROUPS[group].dataset
    if not dataset.startswith("celebdf"):
        return dataset
    versions = {GROUPS[one].dataset for one in present if one.startswith("celebdf")}
    return dataset if len(versions) > 1 else "celebdf"
