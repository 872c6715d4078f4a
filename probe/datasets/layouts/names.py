"""Names of images: which video, frame and face a cropper wrote into them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

__all__ = ["Reading", "read_names", "tells"]

#: Longer runs of digits are dates or hashes, not frame numbers.
_MOST_DIGITS = 9

#: Largest number of a face in a frame, and largest number of faces that are numbered first.
_MOST_FACES, _FACES_FIRST = 20, 3

#: From this many numbers at the end of a name on, some are coordinates of a face box.
_BOX_NUMBERS = 4

_SEP = r"[\s_\-.,()\[\]{}#@~+=:]"

_FRAME = re.compile(
    rf"(?:^|{_SEP}+)(?:frames?|frm|fr|f|idx|index|img|image|time|sec|t){_SEP}*"
    rf"([0-9]{{1,{_MOST_DIGITS}}})$",
    re.IGNORECASE,
)
_FACE = re.compile(
    rf"(?:^|{_SEP}+)(?:faces?|det|detection|bbox|box){_SEP}*([0-9]{{1,2}})$", re.IGNORECASE
)
_LEADING = re.compile(
    rf"^(?:frames?|frm|fr|f|img|image)?{_SEP}*([0-9]{{1,{_MOST_DIGITS}}}){_SEP}+(?=[^0-9])",
    re.IGNORECASE,
)
_INNER = re.compile(rf"^(.+?){_SEP}+[a-z]?([0-9]{{1,{_MOST_DIGITS}}})[^0-9]+$", re.IGNORECASE)
#: Endings that say how an image was made, such as "_crop", "_256x256" or the score "_0.98".
_TAG = re.compile(
    rf"(?:{_SEP}+(?:crop|cropped|faces?|aligned|align|mtcnn|retinaface|dlib|yunet|insightface|"
    rf"mediapipe|openface|resized?|out|output|img|image|frame|real|fake|[0-9]+x[0-9]+|of{_SEP}*[0-9]+|"
    rf"mp4|avi|mov)|[_\- ]+0\.[0-9]{{2,}}|\)|\])+$",
    re.IGNORECASE,
)
#: A suffix in the middle of a name: "a.mp4_frame1.jpg_face_0".
_SUFFIX = re.compile(rf"\.(?:mp4|avi|mov|mkv|webm|jpe?g|png)(?={_SEP}|$)", re.IGNORECASE)

#: A number with any short word, which is the face if the frame stands before it.
_OTHER = re.compile(rf"{_SEP}+(?:[a-z]{{1,8}}{_SEP}*)?([0-9]{{1,2}})$", re.IGNORECASE)

_NUMBER = re.compile(rf"([0-9]{{1,{_MOST_DIGITS}}})$")

#: Words that do not say which video it is: "img_7" is an image on its own.
_GENERIC = frozenset(
    """
    img imgs image images im frame frames frm face faces facecrop photo photos pic pics picture
    pictures crop cropped aligned video videos vid clip movie film out output sample samples seed
    seeds gen generated synth synthetic real reals fake fakes ai nature original altered test train
    val valid id idx index no num dsc dscn dscf pxl screenshot shot snapshot file data dataset
    person people subject result results item thumb bbox box det
    stylegan pggan progan biggan stargan cyclegan gaugan deepfake sd sdxl ldm dalle midjourney mj
    flux glide adm vqdm wukong imagen firefly ffhq celeba celebahq celeb lfw coco laion imagenet
    easy mid hard
    """.split()
)

#: Names of videos that are known to end there, as in Celeb-DF and DeepFakeDetection.
_WHOLE = re.compile(r"id[0-9]+(?:_id[0-9]+)?_[0-9]{4}|[0-9]{2}(?:_[0-9]{2})?__.+")


@dataclass(frozen=True)
class Reading:
    """What the name of an image says.

    Attributes
    ----------
    video : str
        Name of its video; empty if the name does not tell.
    frame, face : int or None
        Number of the frame in the video and of the face in the frame, where they are stated.
    """

    video: str = ""
    frame: int | None = None
    face: int | None = None


@dataclass(frozen=True)
class _Ending:
    """An image's name with the numbers at its end taken off: `rests[k]` lacks k + 1 of them."""

    rests: tuple[str, ...]
    numbers: tuple[int, ...]


def read_names(stems: Iterable[str]) -> dict[str, Reading]:
    """Read the names of images that lie together.

    Croppers write ``<video>_<frame>``, ``<video>_<frame>_<face>``, ``<video>-frame12-face0`` and
    the like. Whether the last of two plain numbers is the frame or a face follows from all names:
    faces are numbered from 0 or 1 in each frame, and most frames have one or two. Where a name can
    be read in two ways, the reading that keeps more images together is used, since frames of one
    video must not be divided.

    Parameters
    ----------
    stems : iterable of str
        Names without suffixes.

    Returns
    -------
    dict
        Each name to its `Reading`.
    """
    found: dict[str, Reading] = {}
    plain: dict[str, _Ending] = {}
    faces: dict[str, int | None] = {}
    for stem in dict.fromkeys(stems):
        clean = _SUFFIX.sub("", stem)
        base, face, frame = _marked(_TAG.sub("", clean) or clean)
        ending = _ending(base)
        if frame is not None:
            found[stem] = Reading(_named(base), frame, face)
        elif ending.numbers and (face is None or tells(ending.rests[0])):
            plain[stem], faces[stem] = ending, face
        else:
            found[stem] = Reading(_named(base) if face is not None else "", None, face)
    found |= _numbered(plain, faces)
    found |= _led([stem for stem, one in found.items() if not one.video and one.frame is None])
    found |= _within([stem for stem, one in found.items() if not one.video and one.frame is None])
    return found


def _marked(name: str) -> tuple[str, int | None, int | None]:
    """Take off the numbers of face and frame that a word says: "v_frame12_face0"."""
    face = frame = None
    for _ in range(2):
        if face is None and (match := _FACE.search(name)):
            face, name = int(match[1]), name[: match.start()]
        if frame is None and (match := _FRAME.search(name)):
            frame, name = int(match[1]), name[: match.start()]
    # "v_frame12_0": a plain number behind the frame is the face; "frame_det_00_000012": vice versa.
    if frame is None and face is None and (match := _OTHER.search(name)):
        before = name[: match.start()]
        if (marked := _FRAME.search(before)) and int(match[1]) <= _MOST_FACES:
            return before[: marked.start()], int(match[1]), int(marked[1])
    if frame is None and face is None and (match := _NUMBER.search(name)):
        before = re.sub(_SEP + "+$", "", name[: match.start()])
        if marked := _FACE.search(before):
            return before[: marked.start()], int(marked[1]), int(match[1])
    return name, face, frame


def _ending(name: str) -> _Ending:
    rests: list[str] = []
    numbers: list[int] = []
    while match := _NUMBER.search(name):
        before = name[: match.start()]
        rest = re.sub(_SEP + "+$", "", before)
        # Digits that follow a letter belong to a word, but for the last: "id0_1", "video0001".
        if before[-1:].isdigit() or (numbers and rest == before and before):
            break
        numbers.append(int(match[1]))
        rests.append(rest)
        name = rest
        if rest == before:
            break
    return _Ending(tuple(rests), tuple(numbers))


def _named(base: str) -> str:
    base = re.sub(f"^{_SEP}+|{_SEP}+$", "", _TAG.sub("", base))
    return base if tells(base) else ""


def tells(rest: str) -> bool:
    """Whether a name says which video it is: it has a number, or a word that is not generic."""
    return any(
        one.isdigit() or one not in _GENERIC
        for one in re.findall(r"[0-9]+|[^\W\d_]+", rest.lower())
    )


def _numbered(plain: Mapping[str, _Ending], faces: Mapping[str, int | None]) -> dict[str, Reading]:
    """Read names that end in plain numbers, by what the numbers of all of them look like."""
    unmarked = {stem: one for stem, one in plain.items() if faces[stem] is None}
    two = {s: one for s, one in unmarked.items() if len(one.numbers) > 1 and not _known(one)}
    able = {s: one for s, one in two.items() if tells(one.rests[1])}
    last, first = _last_is_face(able), _first_is_face(able)
    out: dict[str, Reading] = {}
    for stem, one in plain.items():
        out[stem] = _read(one, faces[stem], last and stem in able, first and stem in able)
    return _without_shared(out, plain)


def _known(one: _Ending) -> int:
    """Return how many numbers follow the name of a video of a known form; 0 if it has none."""
    return max((k for k, rest in enumerate(one.rests, 1) if _WHOLE.fullmatch(rest)), default=0)


def _read(one: _Ending, face: int | None, last: bool, first: bool) -> Reading:
    numbers, rests = one.numbers, one.rests
    if face is None and (known := _known(one)):
        return Reading(rests[known - 1], numbers[known - 1], numbers[0] if known > 1 else None)
    if face is None and len(numbers) >= _BOX_NUMBERS and tells(rests[-1]):
        return Reading(rests[-1], numbers[-1])
    if last:
        return Reading(rests[1], numbers[1], numbers[0])
    if first:
        return Reading(rests[1], numbers[0], numbers[1])
    return Reading(rests[0] if tells(rests[0]) else "", numbers[0], face)


def _last_is_face(those: Mapping[str, _Ending]) -> bool:
    """Whether the last numbers count the faces of a frame: from 0 or 1, mostly one or two."""
    frames = _sets(those, lambda one: one.rests[0], lambda one: one.numbers[0])
    videos = {one.rests[1] for one in those.values()}
    sizes = [len(one) for one in frames.values()]
    if not frames or len(videos) == len(frames):
        return False
    return _counted(frames, _MOST_FACES) and (median(sizes) <= 2 or len(set(sizes)) > 1)


def _first_is_face(those: Mapping[str, _Ending]) -> bool:
    """Whether the numbers before the last count faces, as in <video>_<face>_<frame>."""
    videos = _sets(those, lambda one: one.rests[1], lambda one: one.numbers[1])
    return len(videos) > 1 and _counted(videos, _FACES_FIRST)


def _sets(
    those: Mapping[str, _Ending],
    key: Callable[[_Ending], str],
    value: Callable[[_Ending], int],
) -> dict[str, set[int]]:
    out: dict[str, set[int]] = {}
    for one in those.values():
        out.setdefault(key(one), set()).add(value(one))
    return out


def _counted(groups: Mapping[str, set[int]], most: int) -> bool:
    """Whether nine of ten groups are numbered without a gap from 0 or 1, up to `most`."""
    good = sum(
        max(one) <= most and min(one) <= 1 and max(one) - min(one) == len(one) - 1
        for one in groups.values()
    )
    return good >= 0.9 * len(groups)


def _without_shared(found: dict[str, Reading], plain: Mapping[str, _Ending]) -> dict[str, Reading]:
    """Take back a word that all images share: it names what they are, not a video."""
    names = {one.video for one in found.values() if one.video}
    if len(names) != 1 or any(one.isdigit() for one in next(iter(names))):
        return found
    out = {}
    for stem, one in found.items():
        rest = plain[stem].rests[0]
        named = rest if rest != one.video and tells(rest) else ""
        out[stem] = Reading(named, plain[stem].numbers[0], None if named else one.face)
    return out


def _led(stems: Iterable[str]) -> dict[str, Reading]:
    """Read names that begin with the frame, "0012_video", where several share the rest."""
    parts = {stem: match for stem in stems if (match := _LEADING.match(stem))}
    rests = {stem: _named(_TAG.sub("", stem[match.end() :])) for stem, match in parts.items()}
    counts: dict[str, int] = {}
    for rest in rests.values():
        counts[rest] = counts.get(rest, 0) + 1
    return {
        stem: Reading(rest, int(parts[stem][1]))
        for stem, rest in rests.items()
        if rest and counts[rest] > 1
    }


def _within(stems: Iterable[str]) -> dict[str, Reading]:
    """Read names with the frame before a word, "video_0012_left", where several share the rest."""
    parts = {stem: match for stem in stems if (match := _INNER.match(stem))}
    videos = {stem: _named(match[1]) for stem, match in parts.items()}
    counts: dict[str, int] = {}
    for video in videos.values():
        counts[video] = counts.get(video, 0) + 1
    several = len(counts) > 1
    return {
        stem: Reading(video, int(parts[stem][2]))
        for stem, video in videos.items()
        if video and counts[video] > 1 and (several or any(one.isdigit() for one in video))
    }
