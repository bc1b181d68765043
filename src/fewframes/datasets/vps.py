"""Cityscapes-VPS (Kim et al., "Video Panoptic Segmentation", 2020): dense labels to measure with, never to train on.

Six frames of 500 clips of Cityscapes' val are labelled, at offsets -15 to +10 in steps of 5; of 400 + 50 of them the
labels are published (`train` and `val` of this dataset). All are clips of the split `measure` here. What the dataset's
scripts make of it is read as far as it is there (its docs/DATASET.md, prepare_data/):

- `{split}/img`: the labelled frames, `{clip}_{n}_{city}_{seq}_{frame}_newImg8bit.png`; the 20th frame, which Cityscapes
  itself annotates and which is our key frame, ends in `leftImg8bit` instead. `n` counts through the whole dataset.
- `{split}/img_all`: all 30 frames under their names in Cityscapes; made for val only.
- `{split}/cls`: the labels in Cityscapes' colours, called `..._final_mask.png`, and `..._gtFine_color.png` for the key
  frame. `labelmap` (train ids) and `panoptic_inst` are made from it under the same names.
- `{split}/inst/..._gtFine_instanceIds.png`: Cityscapes' own instance ids of the key frame.

The labels are taken from `cls`: the other two hold the same classes, but `panoptic_inst` has things that are not told
apart as void. `panoptic_video` numbers its segments by a JSON file beside it and is not read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fewframes.core.clips import PREPARED, Clip, pattern_of
from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.datasets.frames import link_task, linked
from fewframes.datasets.labelmaps import vps_instance_task, vps_label_task
from fewframes.datasets.preparing import Ledger, Task
from fewframes.datasets.source import LeftOut, Source, names, reach

OPTIONS = ()
"""This layout leaves nothing open."""

SPLIT = "measure"
"""The split of every clip: they are Cityscapes' validation clips."""

_SPLITS = ("train", "val")
_LABELS = ("cls", "labelmap", "panoptic_inst")
"""Where a label is looked for, the first that has it."""

_LABELLED = range(-15, 11, 5)
"""Offsets of the labelled frames (the dataset's docs/DATASET.md)."""

_STEP = 5
_NAME = re.compile(
    r"(?P<clip>\d+)_\d+_(?P<city>[A-Za-z-]+)_(?P<seq>\d{6})_(?P<frame>\d{6})"
    r"_(?:newImg8bit|final_mask|(?P<key>leftImg8bit|gtFine_color))\.png"
)
_UNKNOWN = -1


@dataclass
class _Annotated:
    """A clip's files in one split, by frame number, relative to the dataset's folder."""

    split: str
    name: str
    city: str = ""
    sequence: str = ""
    key: int = _UNKNOWN
    labels: dict[int, str] = field(default_factory=dict)
    images: dict[int, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.sequence}_{self.key:06d}"

    def target(self, frame: int) -> str:
        """Where a frame's label is prepared: as Cityscapes would name it, all being of its val."""
        return f"truth/val/{self.city}/{self.sequence}_{frame:06d}_labelIds.png"


class _Frames(NamedTuple):
    """The frames of a clip: their pattern and what `Clip` says of them."""

    pattern: str
    step: int
    first: int
    last: int


def truth_tasks(truth: Path) -> Iterator[Task]:
    """Yield a task for every label below `truth`, the folder of Cityscapes-VPS, whatever dataset it is to measure.

    The labels are prepared as `truth/val/{city}/{city}_{seq}_{frame:06d}_labelIds.png` in Cityscapes' label ids.
    Raises `UserError` where the folder holds none.
    """
    classes = load_class_table("cityscapes")
    folder = Path(os.path.abspath(truth))
    labels = {clip.target(n): path for clip in _annotated(folder, LeftOut()) for n, path in clip.labels.items()}
    if not labels:
        raise UserError(f"{truth} holds no label of Cityscapes-VPS (val/cls, train/cls): correct the folder.")
    for target, path in sorted(labels.items()):
        yield vps_label_task(str(folder / path), target, classes)


def prepare(source: Source) -> Iterator[Task]:
    """Yield a task for every label, for the instances of a key frame, and for frames that are in no series."""
    said_by_index = LeftOut()
    yield from truth_tasks(source.folder)
    for found, clip in _clips(source, said_by_index):
        if clip.frames.startswith(PREPARED):
            # Absolute: links to another folder's files of the same names would otherwise be taken for these.
            files = {number: os.path.abspath(source.folder / path) for number, path in found.images.items()}
            yield link_task(clip.id, files)
        if clip.fine_instances.startswith(PREPARED):
            panoptic = _panoptic(source, found)
            yield vps_instance_task(panoptic, clip.fine_instances.removeprefix(PREPARED), source.classes)


def index(source: Source) -> Iterator[Clip]:
    """Yield every clip with a labelled key frame and its image, all of the split `measure`."""
    ledger = Ledger(source.prepared)
    for found, clip in _clips(source, source.left_out):
        for number, path in found.labels.items():
            target = found.target(number)
            if ledger.fingerprint(target) and ledger.facts(target)["stray"]:
                source.left_out.add("pixels of a colour that no class has, taken as void", path)
        yield clip
    if (source.folder / "test").is_dir():
        source.left_out.add("its labels are not published", "test")


def _clips(source: Source, left_out: LeftOut) -> Iterator[tuple[_Annotated, Clip]]:
    cityscapes = load_class_table("cityscapes")
    if [(c.name, c.id) for c in source.classes.trained] != [(c.name, c.id) for c in cityscapes.trained]:
        raise UserError(
            f"dataset.classes is '{source.classes.name}': set cityscapes, the classes Cityscapes-VPS is in."
        )
    series = {split: frozenset(names(source.folder / split / "img_all", left_out)) for split in _SPLITS}
    for found in _annotated(source.folder, left_out):
        if found.key not in found.labels:
            reason = "the 20th frame has no label: merge Cityscapes' gtFine as the dataset's DATASET.md says"
            left_out.add(reason, f"{found.split}/{found.name}")
            continue
        name = f"{found.id}_leftImg8bit.png"
        image = f"{found.split}/img_all/{name}" if name in series[found.split] else found.images.get(found.key, "")
        if not image:
            left_out.add("the 20th frame has no image: fetch them as the dataset's DATASET.md says", found.id)
            continue
        for offset in _LABELLED:
            if found.key + offset not in found.labels:
                left_out.add("a labelled frame without its label", f"{found.sequence}_{found.key + offset:06d}")
        frames = _frames(source, found, series[found.split])
        whole = tuple(int(limit / frames.step) * frames.step for limit in source.classes.offsets)
        if (frames.first, frames.last) != whole:
            left_out.add("frames are missing at its ends, the clip is cut short", found.id)
        yield (
            found,
            Clip(
                id=found.id,
                split=SPLIT,
                group=found.sequence,
                image=image,
                frames=frames.pattern,
                key=found.key,
                step=frames.step,
                first=frames.first,
                last=frames.last,
                fine=PREPARED + found.target(found.key),
                fine_instances=_instances(source, found),
                truth=pattern_of(PREPARED + found.target(found.key), f"{found.key:06d}"),
            ),
        )


def _frames(source: Source, found: _Annotated, series: frozenset[str]) -> _Frames:
    """All frames where `img_all` has them, else the labelled ones; whichever reach farther."""

    def in_series(offset: int) -> bool:
        return f"{found.sequence}_{found.key + offset:06d}_leftImg8bit.png" in series

    def labelled(offset: int) -> bool:
        return found.key + offset in found.images

    every = [reach(in_series, limit) for limit in source.classes.offsets]
    fifth = [reach(labelled, limit, _STEP) for limit in source.classes.offsets]
    if every[1] - every[0] >= fifth[1] - fifth[0]:
        pattern = f"{found.split}/img_all/{found.sequence}_{{frame:06d}}_leftImg8bit.png"
        return _Frames(pattern if any(every) else "", 1, *every)
    return _Frames(linked(found.id, ".png"), _STEP, *fifth)


def _instances(source: Source, found: _Annotated) -> str:
    own = f"{found.split}/inst/{_stem(found)}_gtFine_instanceIds.png"
    if (source.folder / own).is_file():
        return own
    return (
        f"{PREPARED}labels/{found.id}_instanceIds.png" if (source.folder / _panoptic(source, found)).is_file() else ""
    )


def _panoptic(source: Source, found: _Annotated) -> str:
    return f"{found.split}/panoptic_inst/{_stem(found)}_gtFine_color.png"


def _stem(found: _Annotated) -> str:
    return Path(found.labels[found.key]).name.removesuffix("_gtFine_color.png")


def _annotated(folder: Path, left_out: LeftOut) -> list[_Annotated]:
    """The clips of which there is an image or a label, in order."""
    clips: dict[tuple[str, str], _Annotated] = {}
    for split in _SPLITS:
        for kind in (*_LABELS, "img"):
            for name in names(folder / split / kind, left_out):
                match = _NAME.fullmatch(name)
                if not match:
                    left_out.add("not named as Cityscapes-VPS names its files", f"{split}/{kind}/{name}")
                    continue
                clip = clips.setdefault((split, match["clip"]), _Annotated(split, match["clip"]))
                clip.city, clip.sequence = match["city"], f"{match['city']}_{match['seq']}"
                if match["key"]:
                    clip.key = int(match["frame"])
                files = clip.images if kind == "img" else clip.labels
                files.setdefault(int(match["frame"]), f"{split}/{kind}/{name}")
    return [clips[place] for place in sorted(clips)]
