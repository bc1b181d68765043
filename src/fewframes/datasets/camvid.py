"""CamVid, in the SegNet tutorial's layout or in its original one (`layout: original`).

Stems end in a video frame number at 30 Hz (`0016E5_07959`, `0006R0_f00930`). In SegNet's layout a folder of stills has
its labels of 11 classes beside it (`<folder>annot`). A folder named in `options["sequences"]` is video: its frames are
each other's neighbours. Every labelled frame is a clip. With `key_every: n` every n-th frame of a video belongs to
split `train` and the others to split `measure`, so that few frames can be used as annotated while all can be
measured against.

In the original layout all stills lie in one folder and their labels, `<stem>_L.png` in 32 colours, in another. The
videos are published beside them; frames extracted from them and numbered like the stills become their neighbours.
Where stills of one video are in different splits, as the usual lists have them, a clip reaches less than half the way
to the next still of another split: no frame belongs to clips of two.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path, PurePosixPath

from fewframes.core.clips import PREPARED, Clip, pattern_of
from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable
from fewframes.datasets.labelmaps import label_task
from fewframes.datasets.preparing import Ledger, Task
from fewframes.datasets.rows import option_path
from fewframes.datasets.source import LeftOut, Source, names, reach

_LAYOUTS = {
    "segnet": ("sequences", "key_every", "stills", "videos"),
    "original": ("images", "labels", "frames", "splits"),
}

OPTIONS = ("layout", *_LAYOUTS["segnet"], *_LAYOUTS["original"])
"""Keys of `dataset.options`."""

_STEM = re.compile(r"(?P<video>.+?)_f?(?P<frame>\d+)")
_SUFFIXES = (".png", ".jpg")
_LABEL = "_L.png"
_FAR = 10**9  # a distance that cuts no clip

_STRAY = 0.001
"""One published label, Seq05VD_f02610_L.png, has some 200 pixels (0.03 %) of mixed colours, as
github.com/lih627/CamVid lists them; we ignore so few."""


def prepare(source: Source) -> Iterator[Task]:
    """Yield a task for each label of colours; SegNet's labels are read as they are."""
    if _layout(source) == "original":
        for still in _stills(source, LeftOut()):
            yield label_task(still.label, still.target, source.classes, _STRAY)


def index(source: Source) -> Iterator[Clip]:
    """Yield every labelled frame of the folders named in `options`.

    SegNet's layout: `options["sequences"]` lists folders that are video, whose clips have their splits by the rule of
    `key_every`; `options["stills"]` maps a folder to the split its clips belong to; `options["videos"]` keeps only
    those of its stills whose stem starts with one of the names.

    The original layout: `options["splits"]` maps a split to a list of videos, or to a text file (relative to the
    dataset's folder) with the stem of a still, or a path to it, first in each line; a stem listed so goes before its
    video. `options["images"]` and `options["labels"]` name the two folders if they are not called as published, and
    `options["frames"]` the folder of extracted frames, named like the stills with or without the `f`.
    """
    if _layout(source) == "original":
        yield from _original(source)
        return
    key_every = source.options.get("key_every", 1)
    if type(key_every) is not int or key_every < 1:
        raise UserError(f"dataset.options.key_every is {key_every!r}: give a whole number from 1.")
    stills = source.options.get("stills", {})
    if not isinstance(stills, Mapping) or not all(isinstance(split, str) for split in stills.values()):
        raise UserError(f"dataset.options.stills is {stills!r}: map each folder to its split, such as {{train: val}}.")
    videos = _listed(source, "videos")
    trained: list[Clip] = []
    for folder in _listed(source, "sequences"):
        clips = list(_sequence(source, option_path("sequences", folder), key_every))
        trained += [clip for clip in clips if clip.split == "train"]
        yield from clips
    for folder, split in stills.items():
        for image, label, video, number in _labelled(source, option_path("stills", folder)):
            if videos and video not in videos:
                continue
            near = [c for c in trained if c.group == video and c.key + c.first <= int(number) <= c.key + c.last]
            if near and split != "train":
                raise UserError(
                    f"{image}, of split '{split}', lies within the clip of {near[0].id}, which is trained on: "
                    f"leave {video} out of the stills by dataset.options.videos."
                )
            yield Clip(id=Path(image).stem, split=split, group=video, image=image, fine=label)


def _listed(source: Source, key: str) -> list[str]:
    value = source.options.get(key, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise UserError(f"dataset.options.{key} is {value!r}: give a list of names, such as [0016E5].")
    return value


def _layout(source: Source) -> str:
    layout = source.choice("layout", tuple(_LAYOUTS))
    if foreign := [key for key in source.options if key not in ("layout", *_LAYOUTS[layout])]:
        raise UserError(f"dataset.options.{foreign[0]} is not for the layout '{layout}': leave it out, or set layout.")
    return layout


def _sequence(source: Source, folder: str, key_every: int) -> Iterator[Clip]:
    for video, labelled in groupby(_labelled(source, folder), key=itemgetter(2)):
        frames = list(labelled)
        if len(frames) < 2:
            place = source.folder / folder
            raise UserError(f"{place} holds a single labelled frame of {video}: list the folder as stills.")
        yield from _video(video, frames, source.classes, key_every)


def _video(video: str, frames: list[tuple[str, str, str, str]], classes: ClassTable, key_every: int) -> Iterator[Clip]:
    numbers = [int(number) for *_, number in frames]
    step = min(b - a for a, b in pairwise(numbers))
    present = set(numbers)
    for position, (image, label, _, number) in enumerate(frames):
        first, last = _ends(int(number), classes, step, present)
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


def _labelled(source: Source, folder: str) -> Iterator[tuple[str, str, str, str]]:
    """Image, label, video and frame digits of each labelled frame, in order of the frames."""
    found = []
    for image, video, number in _pictures(source, folder, source.left_out):
        label = f"{folder}annot/{Path(image).stem}.png"
        if (source.folder / label).is_file():
            found.append((image, label, video, number))
        else:
            source.left_out.add(f"no label in {folder}annot", Path(image).name)
    return iter(sorted(found, key=lambda f: (f[2], int(f[3]))))


def _pictures(source: Source, folder: str, left_out: LeftOut) -> Iterator[tuple[str, str, str]]:
    """Each picture's path, its video and the digits of its frame number, by name."""
    for name in names(_present(source, folder), left_out):
        path = PurePosixPath(folder, name)
        if path.suffix not in _SUFFIXES:
            continue
        if match := _STEM.fullmatch(path.stem):
            yield str(path), match["video"], match["frame"]
        else:
            left_out.add("no frame number at the end of the name", str(path))


def _present(source: Source, folder: str) -> Path:
    path = source.folder / folder
    if not path.is_dir():
        raise UserError(f"{path} does not exist: correct dataset.root, or the folders in dataset.options.")
    return path


def _ends(number: int, classes: ClassTable, step: int, present: set[int]) -> tuple[int, int]:
    """The first and last offset of the frame of this number, of a video that has the frames `present`."""
    first, last = (reach(lambda offset: number + offset in present, limit, step) for limit in classes.offsets)
    return first, last


@dataclass(frozen=True)
class _Still:
    """A labelled still of the original layout: paths below the dataset's folder, and its frame number's digits."""

    stem: str
    video: str
    number: str
    split: str
    image: str
    label: str

    @property
    def target(self) -> str:
        """Where its label of ids is prepared."""
        return f"labels/{self.stem}_labelIds.png"


def _original(source: Source) -> Iterator[Clip]:
    footage = _footage(source)
    ledger = Ledger(source.prepared)
    stills = list(_stills(source, source.left_out))
    for still in stills:
        if ledger.fingerprint(still.target) and ledger.facts(still.target)["stray"]:
            source.left_out.add("pixels of a colour that no class has, ignored", still.label)
        key, label = int(still.number), PREPARED + still.target
        clip = Clip(id=still.stem, split=still.split, group=still.video, image=still.image, fine=label)
        pattern, step, numbers = footage.get(still.video, ("", 1, set()))
        ends = _ends(key, source.classes, step, numbers)
        if not any(ends) and "frames" in source.options:
            source.left_out.add("no frame of the video next to the still", still.stem)
        first, last = _short_of_others(still, stills, ends, step)
        if (first, last) != ends:
            source.left_out.add("frames nearer to a still of another split, where the clip is cut", still.stem)
        if first or last:
            truth = pattern_of(label, still.number)
            clip = replace(clip, frames=pattern, key=key, step=step, first=first, last=last, truth=truth)
        yield clip


def _short_of_others(still: _Still, stills: list[_Still], ends: tuple[int, int], step: int) -> tuple[int, int]:
    """The ends of a still's clip, less than half the way to the next stills of its video in another split."""
    others = [s for s in stills if s.video == still.video and s.split != still.split]
    away = [int(s.number) - int(still.number) for s in others]
    past = min((-d for d in away if d < 0), default=_FAR)
    future = min((d for d in away if d > 0), default=_FAR)
    first, last = (min(abs(end), (d - 1) // 2) // step * step for end, d in zip(ends, (past, future), strict=True))
    return -first, last


def _stills(source: Source, left_out: LeftOut) -> Iterator[_Still]:
    images = option_path("images", source.options.get("images", "701_StillsRaw_full"))
    labels = option_path("labels", source.options.get("labels", "LabeledApproved_full"))
    _present(source, labels)
    of_stem, of_video = _splits(source)
    seen = set()
    for image, video, number in _pictures(source, images, left_out):
        stem = Path(image).stem
        label = str(PurePosixPath(labels, f"{stem}{_LABEL}"))
        seen |= {stem, video}
        split = of_stem.get(stem, of_video.get(video, ""))
        if not split:
            left_out.add("in none of dataset.options.splits", stem)
        elif not (source.folder / label).is_file():
            left_out.add(f"no label in {labels}", stem)
        else:
            yield _Still(stem, video, number, split, image, label)
    for name in (of_stem.keys() | of_video.keys()) - seen:
        left_out.add("in dataset.options.splits, but there is no such still or video", name)


def _splits(source: Source) -> tuple[dict[str, str], dict[str, str]]:
    """The split of each stem that a text file lists, and of each video that a list names."""
    splits = source.options.get("splits")
    if not isinstance(splits, Mapping) or not all(isinstance(members, (str, list)) for members in splits.values()):
        raise UserError("dataset.options.splits must map each split to its videos (train: [0006R0]) or to a text file.")
    of_stem: dict[str, str] = {}
    of_video: dict[str, str] = {}
    for split, members in splits.items():
        if isinstance(members, str):
            listed, found = of_stem, _stems(source.folder / option_path("splits", members))
        else:
            listed, found = of_video, [str(video) for video in members]
        for name in found:
            if (other := listed.setdefault(name, split)) != split:
                raise UserError(f"dataset.options.splits has {name} in '{other}' and in '{split}': leave it in one.")
    return of_stem, of_video


def _stems(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): correct dataset.options.splits.") from error
    return [Path(line.split()[0]).stem for line in lines if line.strip()]


def _footage(source: Source) -> dict[str, tuple[str, int, set[int]]]:
    """Each video's extracted frames: their pattern (the most usual, if there are several), step and numbers."""
    if "frames" not in source.options:
        return {}
    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for image, video, number in _pictures(source, option_path("frames", source.options["frames"]), source.left_out):
        found[video][pattern_of(image, number)].add(int(number))
    footage = {}
    for video, patterns in found.items():
        usual = max(patterns, key=lambda pattern: (len(patterns[pattern]), pattern))
        numbers = patterns.pop(usual)
        footage[video] = usual, min((b - a for a, b in pairwise(sorted(numbers))), default=1), numbers
        for name in (pattern.format(frame=n) for pattern, others in patterns.items() for n in others):
            source.left_out.add(f"named unlike most frames of {video}", name)
    return footage
