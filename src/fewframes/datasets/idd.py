"""IDD Segmentation (AutoNUE, Parts I and II) and IDD Temporal: polygons, and sequences around annotated images.

The folder holds what the archives unpack to, any part of it, side by side or one folder down: `leftImg8bit` and
`gtFine` (Parts I and II apart or merged) and the folders `idd_temporal...`. Drives are plain numbers in the one and
padded in the other; an image's name does not tell its number in the sequence, so the key frame is known by its place
and its pixels. Labels are drawn from the polygons. Test has no public labels and is not read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewframes.core.clips import PREPARED, Clip, literal
from fewframes.core.errors import UserError
from fewframes.core.files import digest
from fewframes.datasets.keyframes import key_task
from fewframes.datasets.polygons import polygon_task
from fewframes.datasets.preparing import Ledger, Task
from fewframes.datasets.source import LeftOut, Source, gap, names, reach

OPTIONS = ("size",)
"""`size: [height, width]` keeps the images annotated at that size; the paper's subset is [1080, 1920]."""

_SPLITS = ("train", "val")
_ANNOTATION = ("_gtFine_polygons.json",)
_MADE = re.compile(r".+_gtFine_(?:label|instance|color)\w*\.png")
"""What the dataset's own scripts (AutoNUE, preperation/createLabels.py) make beside the polygons."""
_IMAGE = ("_leftImg8bit.png", "_leftImg8bit.jpg", "_leftImg8bit.jpeg")
_TEMPORAL = re.compile(r"idd[ _-]?temporal", re.IGNORECASE)
_TEMPORAL_TEST = re.compile(r"idd[ _-]?temporal[ _-]?test", re.IGNORECASE)
_FRAME = re.compile(r"(?P<number>[0-9]+)\.(?:jpeg|jpg|png)")
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]")

_Place = tuple[str, str, str]
"""Split, drive (unpadded) and an image's name without the dataset's suffixes."""


@dataclass(frozen=True)
class _Annotated:
    """An annotated image and its files, relative to the dataset's folder; `sequence` is a folder, or empty."""

    split: str
    drive: str
    name: str
    annotation: str
    image: str
    sequence: str

    @property
    def place(self) -> str:
        return f"{self.split}/{self.drive}/{self.name}"

    @property
    def labels(self) -> tuple[str, str]:
        return f"labels/{self.place}_labelIds.png", f"labels/{self.place}_instanceIds.png"

    @property
    def key_task(self) -> str:
        return f"keys/{self.place}"

    @property
    def id(self) -> str:
        """Drive and name; where a clip cannot be called so, odd letters give way and a digest tells names apart."""
        raw = f"{self.drive}_{self.name}"
        plain = _NOT_IN_ID.sub("-", raw).lstrip("._-")
        return plain if plain == raw else f"{plain or 'clip'}-{digest(raw)}"


def prepare(source: Source) -> Iterator[Task]:
    """Yield a task for every annotation, which draws its labels, and for every sequence, which finds its key frame."""
    said_by_index = LeftOut()
    for found in _annotated(source.folder, said_by_index):
        yield polygon_task(found.annotation, *found.labels, layout="idd", classes=source.classes)
        if frames := _frames(source.folder, found.sequence, said_by_index):
            yield key_task(found.key_task, source.folder, found.image, found.sequence, frames)


def index(source: Source) -> Iterator[Clip]:
    """Yield every annotated image with its prepared labels and the frames around it."""
    ledger, wanted = Ledger(source.prepared), _wanted_size(source)
    for found in _annotated(source.folder, source.left_out):
        facts = ledger.facts(found.annotation)
        if wanted and (facts["height"], facts["width"]) != wanted:
            reason = f"annotated at another size than {wanted[1]}x{wanted[0]} (dataset.options.size)"
            source.left_out.add(reason, found.image)
            continue
        _note_polygons(source.left_out, found.annotation, facts)
        label, instances = found.labels
        yield Clip(
            id=found.id,
            split=found.split,
            group=found.drive,
            image=found.image,
            fine=PREPARED + label,
            fine_instances=PREPARED + instances,
            **_neighbours(source, found, ledger),
        )


def _wanted_size(source: Source) -> tuple[int, int] | None:
    size = source.options.get("size")
    if size is None:
        return None
    if not isinstance(size, list) or len(size) != 2 or not all(type(s) is int and s > 0 for s in size):
        raise UserError(f"dataset.options.size is {size}: give [height, width] in pixels, such as [1080, 1920].")
    return size[0], size[1]


def _note_polygons(left_out: LeftOut, annotation: str, facts: Mapping[str, Any]) -> None:
    """Note each polygon that is not in the label, those of unknown labels by their label."""
    dropped = {reason: count for reason, count in facts["dropped"].items() if reason != "unknown label"}
    reasons = {f"unknown label '{label}'": count for label, count in facts["unknown"].items()} | dropped
    for reason, count in reasons.items():
        for _ in range(count):
            left_out.add(f"polygon: {reason}", annotation)


def _neighbours(source: Source, found: _Annotated, ledger: Ledger) -> dict[str, Any]:
    """The clip's fields about frames; none, and noted why, where there is a sequence that cannot be used."""
    frames = _frames(source.folder, found.sequence, source.left_out)
    if not frames:
        return {}
    facts = ledger.facts(found.key_task)
    if facts["how"] == "none":
        source.left_out.add("sequence without the annotated image", found.sequence)
        return {}
    if facts["how"] == "size":
        image, frame = (f"{width}x{height}" for height, width in (facts["image"], facts["frame"]))
        reason = "sequence of another size than the annotated image"
        source.left_out.add(reason, f"{found.sequence}: {frame}, its image {image}")
        return {}
    key = int(facts["key"])
    if key not in frames:
        raise UserError(f"{source.folder / found.sequence} has changed since it was prepared: run `snakemake` again.")
    pattern = _pattern(found.sequence, frames, key)

    def there(offset: int) -> bool:
        number = key + offset
        return number in frames and pattern.format(frame=number) == f"{found.sequence}/{frames[number]}"

    first, last = (reach(there, limit) for limit in source.classes.offsets)
    if gap(lambda offset: key + offset in frames, first, last, source.classes.offsets):
        source.left_out.add("frames beyond a gap in the sequence, where the clip is cut", found.sequence)
    truth = f"{literal(found.place)}_{{frame:07d}}_labelIds.png"
    return {"frames": pattern, "key": key, "first": first, "last": last, "truth": truth}


def _pattern(sequence: str, frames: Mapping[int, str], key: int) -> str:
    """The pattern of the frames: digits as most names have them, for 0999 and 1000 tell the width but together."""
    digits = {number: name.partition(".")[0] for number, name in frames.items()}
    fitting = Counter(
        {
            width: sum(f"{n:0{width}d}" == d for n, d in digits.items())
            for width in sorted(set(map(len, digits.values())))
        }
    )
    ((width, _),) = fitting.most_common(1)
    return f"{literal(sequence)}/{{frame:0{width}d}}.{literal(frames[key].partition('.')[2])}"


# --- the files --------------------------------------------------------------------------------------


def _annotated(folder: Path, left_out: LeftOut) -> Iterator[_Annotated]:
    """Every annotated image of train and val, in order; what lacks its counterpart is noted."""
    levels = ["", *(f"{name}/" for name in _folders(folder, left_out))]
    annotations = _files(folder, levels, "gtFine", _ANNOTATION, left_out)
    images = _files(folder, levels, "leftImg8bit", _IMAGE, left_out)
    sequences = _sequences(folder, levels, left_out)
    used: set[tuple[str, str]] = set()
    for place in sorted(annotations.keys() | images.keys()):
        _, drive, name = place
        if place not in images:
            left_out.add("annotation without image", annotations[place])
        elif place not in annotations:
            left_out.add("image without annotation", images[place])
        elif (drive, name) in used:
            left_out.add("annotated in two splits, the first is used", annotations[place])
        else:
            used.add((drive, name))
            yield _Annotated(*place, annotations[place], images[place], sequences.get((drive, name), ""))
    for key in sequences.keys() - used:
        left_out.add("sequence without annotation", sequences[key])


def _files(
    folder: Path, levels: list[str], kind: str, suffixes: tuple[str, ...], left_out: LeftOut
) -> dict[_Place, str]:
    """The files of a kind, in all parts: of two of a place the first."""
    found: dict[_Place, str] = {}
    for base in (f"{level}{kind}/{split}" for level in levels for split in _SPLITS):
        for drive in _folders(folder / base, left_out):
            for file in names(folder / base / drive, left_out):
                path = f"{base}/{drive}/{file}"
                suffix = next((s for s in suffixes if file.endswith(s)), "")
                if not suffix:
                    if not _MADE.fullmatch(file):
                        left_out.add(f"not named {' or '.join(suffixes)}", path)
                    continue
                place = base.rpartition("/")[2], _unpadded(drive), file.removesuffix(suffix)
                if found.setdefault(place, path) != path:
                    left_out.add("there twice, the first is used", path)
    return found


def _sequences(folder: Path, levels: list[str], left_out: LeftOut) -> dict[tuple[str, str], str]:
    """The folders of frames by drive and image's name, in all parts but test's: of two the first."""
    found: dict[tuple[str, str], str] = {}
    for part in (f"{level}{name}" for level in levels for name in _folders(folder / level, left_out)):
        name = part.rpartition("/")[2]
        if not _TEMPORAL.match(name) or _TEMPORAL_TEST.match(name):
            continue
        for drive in _folders(folder / part, left_out):
            if _TEMPORAL.match(drive):
                continue  # a part itself: this folder is that of all parts
            for name in _folders(folder / part / drive, left_out):
                path = f"{part}/{drive}/{name}"
                if found.setdefault((_unpadded(drive), name.removesuffix("_leftImg8bit")), path) != path:
                    left_out.add("there twice, the first is used", path)
    return found


def _frames(folder: Path, sequence: str, left_out: LeftOut) -> dict[int, str]:
    """A sequence's files by number, ascending; none without a sequence."""
    frames: dict[int, str] = {}
    for name in names(folder / sequence, left_out) if sequence else ():
        match = _FRAME.fullmatch(name)
        if not match or frames.setdefault(int(match["number"]), name) != name:
            left_out.add("no frame with a number of its own", f"{sequence}/{name}")
    if sequence and not frames:
        left_out.add("sequence without frames", sequence)
    return dict(sorted(frames.items()))


def _unpadded(drive: str) -> str:
    return drive.lstrip("0") or "0" if re.fullmatch("[0-9]+", drive) else drive


def _folders(folder: Path, left_out: LeftOut) -> list[str]:
    return [name for name in names(folder, left_out) if (folder / name).is_dir()]
