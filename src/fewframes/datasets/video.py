"""A user's own video: a CSV names the annotated frames, one a row, and where their neighbours and labels are.

Frames are a folder of pictures, in their natural order, or a video, decoded once. Labels are PNGs of ids or of the
class table's colours. All paths are relative to the dataset's folder and stay within it, though what lies there may
be a link to elsewhere. No frame may be in clips of two splits, or what is scored would be trained on. Only the folders
that the CSV names are looked into, so a loop of links is never followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from fewframes.core.clips import CLIP_ID, PREPARED, SOURCES, Clip
from fewframes.core.errors import UserError
from fewframes.core.images import image_size
from fewframes.core.progress import say
from fewframes.datasets.frames import (
    IMAGES,
    VIDEOS,
    counted,
    frame_count,
    frame_names,
    link_task,
    linked,
    video_task,
)
from fewframes.datasets.labelmaps import label_task
from fewframes.datasets.preparing import Ledger, Task
from fewframes.datasets.rows import inside, is_there, option_path, read_rows
from fewframes.datasets.source import LeftOut, Source

OPTIONS = ("clips",)
"""`clips` is the CSV's name in the dataset's folder, `clips.csv` if left out."""

_NEEDED = ("clip", "split", "key")
_INSTANCES = tuple(f"{kind}_instances" for kind in SOURCES)
_PLAIN = ("clip", "split", "group")
"""Columns around whose cells blanks mean nothing; in a path they are part of a name."""
COLUMNS = (*_NEEDED, "frames", *SOURCES, *_INSTANCES, "group", "truth")
"""Columns that the CSV can have; docs/how-to/own-video.md says what they mean."""

_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class _Frames:
    """Where a row's frames are: fields of its clip, their stems by offset, and the tasks that make them readable.

    `shown` tells frames apart, whatever links lead to them: a picture's real path, or a video's with the number.
    """

    image: str
    group: str
    stems: Mapping[int, str]
    shown: frozenset[str]
    frames: str = ""
    key: int = 0
    video: str = ""
    linking: tuple[Task, ...] = ()


@dataclass(frozen=True)
class _Annotated:
    """A row as a clip, with the tasks it takes; its video's frames are decoded with other rows' of that video.

    `labels` are its files as the row names them; `shown` tells its frames apart (see `_Frames`).
    """

    line: int
    clip: Clip
    labels: Mapping[str, str]
    tasks: tuple[Task, ...]
    video: str
    shown: frozenset[str]


def prepare(source: Source) -> Iterator[Task]:
    """Yield a task for each label, each video, and each clip whose frames no name pattern tells.

    Raises `UserError`, after naming every faulty row, where there are any.
    """
    yield from _tasks(_annotated(replace(source, left_out=LeftOut())))  # what is left out is said by `index`


def index(source: Source) -> Iterator[Clip]:
    """Yield the clips that the CSV lists; raises as `prepare` does."""
    rows = _annotated(source)
    ledger = Ledger(source.prepared)
    for task in _tasks(rows):
        ledger.facts(task.name)  # raises where it has not been done
    _refuse(source, len(rows), [(row.line, fault) for row in rows for fault in _sizes(source, row)])
    for row in rows:
        yield row.clip


def _tasks(rows: Iterable[_Annotated]) -> Iterator[Task]:
    videos: dict[str, dict[str, range]] = {}
    for row in rows:
        yield from row.tasks
        if row.video:
            clip = row.clip
            wanted = range(clip.key + clip.first, clip.key + clip.last + 1)
            videos.setdefault(row.video, {})[clip.id] = wanted
    for video, clips in videos.items():
        yield video_task(video, clips)


def _annotated(source: Source) -> list[_Annotated]:
    rows = _Rows(source)
    read: list[_Annotated] = []
    faults: list[tuple[int, str]] = []
    for line, row in read_rows(_table(source), COLUMNS, _NEEDED):
        try:
            read.append(rows.read(line, row))
        except UserError as error:
            faults.append((line, str(error)))
    total = len(read) + len(faults)
    _refuse(source, total, sorted([*faults, *_shared(read, source.classes.offsets)]))
    return read


def _table(source: Source) -> Path:
    return source.folder / option_path("clips", source.options.get("clips", "clips.csv"))


def _refuse(source: Source, total: int, faults: Sequence[tuple[int, str]]) -> None:
    """Say each fault with its line, and raise `UserError` for the first, if there is one."""
    said = [f"{_table(source)}, line {line}: {fault}" for line, fault in faults]
    for fault in said:
        say(f"fault: {fault}")
    if said:
        lines = len({line for line, _ in faults})
        raise UserError(f"{lines} of {total} rows cannot be used, the first: {said[0]}")


def _shared(rows: Iterable[_Annotated], offsets: tuple[int, int]) -> Iterator[tuple[int, str]]:
    """The faults of rows whose frames are also those of a row above of another split."""
    first: dict[str, _Annotated] = {}
    for row in rows:
        others = [first.setdefault(frame, row) for frame in row.shown]
        apart = [other for other in others if other.clip.split != row.clip.split]
        if apart:
            above = min(apart, key=lambda other: other.line)
            yield (
                row.line,
                f"its frames are partly those of line {above.line} in split '{above.clip.split}': give both "
                f"one split, or annotate frames that are at least {offsets[1] - offsets[0] + 1} apart.",
            )


def _sizes(source: Source, row: _Annotated) -> Iterator[str]:
    """The faults of labels that are not of their frame's size (headers only)."""
    height, width = image_size(source.root / row.clip.image)
    for column, path in row.labels.items():
        found = image_size(source.folder / path)
        if found != (height, width):
            yield (
                f"'{column}' names {path!r}, which is {found[1]}x{found[0]}, but its frame is {width}x{height}: "
                "make the label at its frame's size."
            )


class _Rows:
    """Turns rows into clips, and remembers which folders and videos it looked into and what it met."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._names: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._met: dict[tuple[str, ...], int] = {}

    def read(self, line: int, row: Mapping[str, str]) -> _Annotated:
        """A row, checked; raises `UserError`, a sentence to stand behind the line's number, for its first fault."""
        row = {column: cell.strip() if column in _PLAIN or not cell.strip() else cell for column, cell in row.items()}
        if not CLIP_ID.fullmatch(row["clip"]):
            raise UserError(f"the clip id {row['clip']!r} must be letters, digits, '.', '_' and '-': rename it.")
        self._meet(line, ("clip", row["clip"]), f"the clip id '{row['clip']}'")
        if not row["split"]:
            raise UserError("'split' is empty: name one, such as train or val.")
        if not row["fine"] and not row["coarse"]:
            raise UserError("'fine' and 'coarse' are both empty: name at least one label.")
        for kind, instances in zip(SOURCES, _INSTANCES, strict=True):
            if row[instances] and not row[kind]:
                raise UserError(f"'{instances}' is given but '{kind}' is empty: name the label of these objects too.")
        found = self._frames(row)
        frame = (found.video, str(found.key)) if found.video else (found.image,)
        self._meet(line, ("frame", *frame), f"the frame {row['key']!r}")
        labels = {kind: self._label(row, kind) for kind in (*SOURCES, *_INSTANCES) if row[kind]}
        drawn = {kind: f"labels/{row['clip']}_{kind}.png" for kind in SOURCES if kind in labels}
        drawing = [label_task(labels[kind], target, self._source.classes) for kind, target in drawn.items()]
        truth, linking = self._truth(row, found)
        paths: dict[str, Any] = {**labels, **{kind: PREPARED + target for kind, target in drawn.items()}}
        clip = Clip(
            id=row["clip"],
            split=row["split"],
            group=row["group"] or found.group,
            image=found.image,
            frames=found.frames,
            key=found.key,
            first=min(found.stems),
            last=max(found.stems),
            truth=truth,
            **paths,
        )
        return _Annotated(line, clip, labels, (*drawing, *found.linking, *linking), found.video, found.shown)

    def _meet(self, line: int, key: tuple[str, ...], what: str) -> None:
        first = self._met.setdefault(key, line)
        if first != line:
            raise UserError(f"{what} is that of line {first} already: keep one row, with both labels if it has two.")

    def _frames(self, row: Mapping[str, str]) -> _Frames:
        if not row["frames"]:
            image = self._file(row, "key", IMAGES)
            return _Frames(image, image, {0: ""}, frozenset([self._real(image)]))
        path = inside(row["frames"])
        if is_there(self._source.folder / path) and (self._source.folder / path).is_dir():
            return self._in_folder(row, path)
        return self._in_video(row, self._file(row, "frames", VIDEOS, "a folder or a video"))

    def _in_folder(self, row: Mapping[str, str], folder: str) -> _Frames:
        if folder not in self._names:
            self._names[folder], others = frame_names(self._source.folder / folder)
            for name in others:
                self._source.left_out.add("no picture, among frames", f"{folder}/{name}")
        names, key = self._names[folder], row["key"]
        if key not in names:
            self._refuse_blanks("key", key, key.strip() in names)
            raise UserError(
                f"'key' is {key!r}, no file of {folder!r}: give a picture's name there, such as {names[0]!r}."
            )
        for kind in SOURCES:
            if row[kind] and PurePosixPath(row[kind]).parent == PurePosixPath(folder):
                raise UserError(f"'{kind}' lies among the frames of {folder!r}: move labels to a folder of their own.")
        at = names.index(key)
        offsets = self._reach(at, len(names))
        files = {offset: str(PurePosixPath(folder, names[at + offset])) for offset in offsets}
        stems = {offset: PurePosixPath(file).stem for offset, file in files.items()}
        image, shown = files[0], self._shown(folder, files.values())
        if len(files) == 1:
            return _Frames(image, folder, stems, shown)
        if series := counted(list(files.values()), -offsets[0]):
            return _Frames(image, folder, stems, shown, *series)
        linking = link_task(row["clip"], {at + o: os.path.abspath(self._source.folder / f) for o, f in files.items()})
        pattern = linked(row["clip"], PurePosixPath(files[offsets[0]]).suffix)
        return _Frames(image, folder, stems, shown, pattern, at, linking=(linking,))

    def _in_video(self, row: Mapping[str, str], video: str) -> _Frames:
        if video not in self._counts:
            self._counts[video] = frame_count(self._source.folder / video)
        count, key = self._counts[video], row["key"].strip()
        if not _NUMBER.fullmatch(key) or int(key) >= count:
            raise UserError(f"'key' is {key!r}, but {video!r} has the frames 0 to {count - 1}: give one's number.")
        number = int(key)
        stems = {offset: f"{number + offset:06d}" for offset in self._reach(number, count)}
        pattern = linked(row["clip"], ".png")
        shown = frozenset(f"{self._real(video)}\0{number + offset}" for offset in stems)
        return _Frames(pattern.format(frame=number), video, stems, shown, pattern, number, video)

    def _shown(self, folder: str, files: Iterable[str]) -> frozenset[str]:
        """The real paths of a folder's pictures."""
        base, root = self._real(folder), self._source.folder
        return frozenset(self._real(f) if os.path.islink(root / f) else f"{base}/{Path(f).name}" for f in files)

    def _real(self, path: str) -> str:
        return os.path.realpath(self._source.folder / path)

    def _reach(self, at: int, count: int) -> range:
        """The offsets that the class table allows and that exist, of `count` frames, around the one at `at`."""
        first, last = self._source.classes.offsets
        return range(max(first, -at), min(last, count - 1 - at) + 1)

    def _truth(self, row: Mapping[str, str], found: _Frames) -> tuple[str, tuple[Task, ...]]:
        """The pattern of the dense labels, and the task of linking them where no pattern would fit their names."""
        if not row["truth"] or self._source.truth is None or len(found.stems) == 1:
            return "", ()
        folder = inside(row["truth"])
        files = {o: str(PurePosixPath(folder, f"{stem}.png")) for o, stem in found.stems.items()}
        there = [offset for offset, file in files.items() if is_there(self._source.truth / file)]
        if not there:
            self._refuse_blanks("truth", row["truth"], is_there(self._source.truth / row["truth"].strip()))
            raise UserError(
                f"'truth' names {folder!r}, where no frame of the clip has a label below {self._source.truth}: "
                f"name them like the frames, such as {PurePosixPath(files[0]).name!r}."
            )
        if (series := counted(list(files.values()), -min(files))) and series[1] == found.key:
            return series[0], ()
        linking = link_task(
            row["clip"], {found.key + o: os.path.abspath(self._source.truth / files[o]) for o in there}, "truth"
        )
        return linked(row["clip"], ".png", "truth"), (linking,)

    def _refuse_blanks(self, column: str, cell: str, there_without: bool) -> None:
        if cell != cell.strip() and there_without:
            raise UserError(f"'{column}' is {cell!r}, with blanks around the name: remove them.")

    def _label(self, row: Mapping[str, str], column: str) -> str:
        return self._file(row, column, (".png",))

    def _file(self, row: Mapping[str, str], column: str, suffixes: tuple[str, ...], what: str = "a file") -> str:
        """The path in a column, normal; raises `UserError` unless such a file is there."""
        path = inside(row[column])
        if not is_there(self._source.folder / path):
            self._refuse_blanks(column, row[column], is_there(self._source.folder / inside(row[column].strip())))
            raise UserError(f"'{column}' names {path!r}, which does not exist: restore it, or correct the path.")
        if not (self._source.folder / path).is_file() or PurePosixPath(path).suffix.lower() not in suffixes:
            raise UserError(f"'{column}' names {path!r}, which is not {what} ({', '.join(suffixes)}): convert it.")
        return path
