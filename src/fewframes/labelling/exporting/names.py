"""What exported frames are called: after their images, each name once."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from fewframes.core.clips import PREPARED, Clip
from fewframes.core.errors import UserError

_IMAGE_TYPE = "_leftImg8bit"
"""How Cityscapes and IDD end an image's name; a label's name has its own type in this place."""


def one_name(name: str) -> str:
    """A frame's name in one spelling: some file systems and zips take letters apart from their accents."""
    return unicodedata.normalize("NFC", name)


def frame_names(frames: Iterable[tuple[Clip, int]], unsafe: str) -> list[str]:
    """A name for each (clip, offset): its image's name without suffix and type.

    It is prefixed by the clip's id where it is a mere number, and where another frame has the same: such as a video's
    frame that is near two key frames; names are the same where `one_name` makes them so. A match of the regular
    expression `unsafe` becomes `_`.
    """
    listed = list(frames)
    stems = [_stem(clip.image_at(offset), unsafe) for clip, offset in listed]
    counts = Counter(map(one_name, stems))
    names = []
    for stem, (clip, offset) in zip(stems, listed, strict=True):
        # A clip's id is unique: a key frame that is called like its clip keeps its name beside others' neighbours.
        own = counts[one_name(stem)] == 1 or (offset == 0 and stem == clip.id)
        names.append(stem if own and not stem.isdecimal() else f"{_safe(clip.id, unsafe)}_{stem}")
    for name, count in Counter(map(one_name, names)).items():
        if count > 1:
            clips = sorted({clip.id for (clip, _), own in zip(listed, names, strict=True) if one_name(own) == name})
            raise UserError(
                f"{count} frames would be exported as '{name}' (clips {', '.join(clips)}): "
                "rename their images, or export them one clip at a time."
            )
    return names


def folder_of(image: str, instead: str) -> str:
    """The name of the folder an image lies in, Cityscapes' city; `instead` where there is none to use."""
    return component(PurePosixPath(image.removeprefix(PREPARED)).parent.name, instead)


def component(text: str, instead: str) -> str:
    """`text` where it can be the name of one folder, else `instead`."""
    return instead if text in ("", ".", "..") or "/" in text or "\0" in text else text


def _stem(image: str, unsafe: str) -> str:
    return _safe(PurePosixPath(image.removeprefix(PREPARED)).stem.removesuffix(_IMAGE_TYPE), unsafe)


def _safe(name: str, unsafe: str) -> str:
    return re.sub(unsafe, "_", name) if unsafe else name
