"""Words for classes and splits in the names of folders, groups and columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from probe.schema import FAKE, REAL

__all__ = [
    "EVAL",
    "ClassWord",
    "class_word",
    "names_no_video",
    "split_word",
]

#: Words that say real or fake and nothing else.
_PLAIN = {"real": REAL, "reals": REAL, "fake": FAKE, "fakes": FAKE}

#: Other usual words for the classes. A dataset or method may have such a name too.
_REAL_WORDS = frozenset(
    """
    original originals orig pristine genuine authentic au nature natural bonafide youtube actors
    camera human unaltered unmanipulated unmodified untampered unedited untouched nonmanipulated
    nonfake notfake nottampered notmanipulated
    """.split()
)
_FAKE_WORDS = frozenset(
    """
    deepfake deepfakes df dfs manipulated manipulation manipulations altered tampered tampering tp
    forged forgery forgeries synthesized synthesised synthesis synthetic synthetics synth generated
    generation gen ai aigc aigenerated gan gans diffusion artificial computergenerated cg cgi
    swapped swap swaps faceswap faceswaps faceswapped spoof spoofed edited photoshopped photoshop
    doctored morph morphed morphs inpainted inpainting counterfeit face2face neuraltextures
    faceshifter deepfakedetection fsgan simswap reenacted reenactment spliced splicing notreal
    nonreal unreal
    """.split()
)
_WEAK = {**dict.fromkeys(_REAL_WORDS, REAL), **dict.fromkeys(_FAKE_WORDS, FAKE)}

#: Words beside the class that change nothing: "real_images" is real.
_BESIDE = frozenset(
    """
    image images img imgs face faces video videos vid vids frame frames crop crops cropped aligned
    photo photos pic pics picture pictures set data sample samples class label folder part png jpg
    """.split()
)

#: With one of these beside it, a word says something else: "fake_detection", "real_vs_fake".
_TURNING = frozenset(
    "not non no un vs versus and or detection detector detect esrgan time world news audio".split()
)

#: Value of `split_word` for folders that are val where there is a test split, else test.
EVAL = "eval"

_SPLITS = {
    **dict.fromkeys(("train", "training", "trn", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset"), "val"),
    **dict.fromkeys(("dev", "devel", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "testset", "holdout", "heldout"), "test"),
    **dict.fromkeys(("eval", "evaluation", "evaluate", "evalset"), EVAL),
}


@dataclass(frozen=True)
class ClassWord:
    """What a name says about the class.

    Attributes
    ----------
    label : int
        0 for real, 1 for fake.
    plain : bool
        Whether it says real or fake and nothing else, as "fake", "0_real" and "real_images" do.
    method : str
        What else the name says, in lower case: "simswap" for "simswap_Fake"; else empty.
    """

    label: int
    plain: bool
    method: str = ""


@lru_cache(maxsize=65536)
def class_word(name: str) -> ClassWord | None:
    """Return what the name of a folder or group says about the class; None if nothing.

    Parameters
    ----------
    name : str
        Name in any case, such as "Real", "1_fake", "training_real", "simswap_Fake" or "tampered".
    """
    parts = [one for one in _parts(name) if one not in _SPLITS]
    told = [one for one in parts if one not in _BESIDE and not one.isdigit()]
    joined = "".join(told)
    if joined in _PLAIN:
        return ClassWord(_PLAIN[joined], True)
    if joined in _WEAK:
        return ClassWord(_WEAK[joined], False, joined if joined in _METHODS else "")
    labels = {_PLAIN[one] for one in told if one in _PLAIN}
    if len(labels) != 1 or _TURNING & set(told):
        return None
    rest = "-".join(one for one in _named_parts(name) if one not in _PLAIN and one not in _SPLITS)
    return ClassWord(labels.pop(), False, rest)


#: Words for fakes that are names of forgery methods: "faceswap", not "altered".
_METHODS = frozenset(
    """
    deepfakes faceswap face2face neuraltextures faceshifter deepfakedetection fsgan simswap
    """.split()
)


def names_no_video(folder: str) -> bool:
    """Whether a folder's name says what lies in it or how it was made, not which video it is."""
    parts = [one for one in _parts(folder) if not one.isdigit()]
    return bool(parts) and all(one in _BESIDE or one in _SPLITS or one in _WEAK for one in parts)


@lru_cache(maxsize=65536)
def split_word(name: str) -> str:
    """Return the split that a name says: "train", "val", "test" or `EVAL`; empty if none.

    Parameters
    ----------
    name : str
        Name in any case, such as "Training", "valid", "test_images", "training_real".
    """
    parts = [one for one in _parts(name) if one not in _BESIDE]
    found = {_SPLITS[one] for one in parts if one in _SPLITS}
    others = [one for one in parts if one not in _SPLITS]
    # A number makes it the name of a video: "train000".
    if len(found) != 1 or (others and class_word(name) is None):
        return ""
    return found.pop()


def _parts(name: str) -> list[str]:
    """Return the words and numbers of a name in lower case; "RealFaces" has two."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name) if name.lower() not in _CAMEL else name
    return re.findall(r"[a-z]+2[a-z]+|[^\W\d_]+|[0-9]+", spaced.lower())


def _named_parts(name: str) -> list[str]:
    """Return the parts of a name between its separators, in lower case: "sd21", not "sd", "21"."""
    return [one for one in re.split(r"[\W_]+", name.lower()) if one]


#: Names that are one word though they hold a capital inside.
_CAMEL = frozenset({"youtube", "deepfakes", "deepfake", "faceswap", "simswap"})
