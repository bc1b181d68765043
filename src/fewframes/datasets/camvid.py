"""CamVid in the SegNet tutorial's layout: folders of stills and, beside each, its labels (`<folder>annot`).

Stems end in a video frame number at 30 Hz (`0016E5_07959`, `0006R0_f00930`). A folder named in
`options["sequences"]` is video: its frames are each other's neighbours. Every labelled frame is a clip. With
`key_every: n` every n-th frame of a video belongs to split `train` and the others to split `measure`, so
that few frames can be used as annotated while all can be measured against.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

from fewframes.core.clips import Clip, pattern_of
from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable

OPTIONS = ("sequences", "key_every", "stills", "videos")
"""Keys of `dataset.options`."""

_STEM = re.compile(r"(?P<video>.+?)_f?(?P<frame>\d+)")


def index(root: Path, classes: ClassTable, options: Mapping[str, Any]) -> Iterator[Clip]:
    """Yield every labelled frame of the folders named in `options`.

    `options["sequences"]` and `options["stills"]` map a folder to the split its clips belong to
    (`train` for a sequence means the rule of `key_every`); `options["videos"]` keeps only those of its stills
    whose stem starts with one of the names.
    """
    for folder in options.get("sequences", ()):
        yield from _sequence(root, folder, classes, int(options.get("key_every", 1)))
    videos = tuple(options.get("videos", ()))
    for folder, split in options.get("stills", {}).items():
        for image, label, video, _ in _labelled(root, folder):
            if not videos or video in videos:
                yield Clip(id=Path(image).stem, split=split, group=video, image=image, fine=label)


def _sequence(root: Path, folder: str, classes: ClassTable, key_every: int) -> Iterator[Clip]:
    for video, labelled in groupby(_labelled(root, folder), key=itemgetter(2)):
        frames = list(labelled)
        if len(frames) < 2:
            raise UserError(f"{root / folder} holds a single labelled frame of {video}: list the folder as stills.")
        yield from _video(video, frames, classes, key_every)


def _video(video: str, frames: list[tuple[str, str, str, str]], classes: ClassTable, key_every: int) -> Iterator[Clip]:
    numbers = [int(number) for *_, number in frames]
    step = min(b - a for a, b in pairwise(numbers))
    present = set(numbers)
    for position, (image, label, _, number) in enumerate(frames):
        first, last = (_reach(int(number), limit, step, present) for limit in classes.offsets)
        yield Clip(
            id=Path(image).stem,
            split="train" if position % key_every == 0 else "measure",
            group=video,
            image=image,
            frames=pattern_of(image, number),
            key=int(number),
            step=step,
            first=first,
            last=last,
            fine=label,
            truth=pattern_of(label, number),
        )


def _labelled(root: Path, folder: str) -> Iterator[tuple[str, str, str, str]]:
    """Image, label, video and frame digits of each labelled frame, in order of the frames."""
    if not (root / folder).is_dir():
        raise UserError(f"{root / folder} does not exist: correct dataset.root, or the folders in dataset.options.")
    found = []
    for path in (root / folder).iterdir():
        match = _STEM.fullmatch(path.stem)
        label = root / f"{folder}annot" / f"{path.stem}.png"
        if match and path.suffix in (".png", ".jpg") and label.is_file():
            image, annotation = (p.relative_to(root).as_posix() for p in (path, label))
            found.append((image, annotation, match["video"], match["frame"]))
    return iter(sorted(found, key=lambda f: (f[2], int(f[3]))))


def _reach(number: int, limit: int, step: int, present: set[int]) -> int:
    direction = step if limit > 0 else -step
    offset = 0
    while abs(offset + direction) <= abs(limit) and number + offset + direction in present:
        offset += direction
    return offset
