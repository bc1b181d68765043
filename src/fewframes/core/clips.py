"""Clips, their frames, and the index file that lists them.

A clip is one annotated frame (the key frame) with the frames around it that exist. The index is a CSV,
one row a clip, written by a dataset's reader; everything downstream reads only it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.core.files import digest, read_csv, write_csv

SOURCES = ("fine", "coarse")
"""Kinds of manual annotation a clip's key frame can have."""

LABEL_COLUMNS = ("clip", "offset", "file", "fingerprint", "checksum")
"""Columns of the CSVs of labels that propagation and refinement declare: one row a label made."""

PREPARED = "prepared:"
"""How a clip's path begins that leads to a prepared file: a drawn label, a video's frame, a link."""

PREPARED_FOLDER = "prepared"
"""The folder of prepared files below a dataset's results."""

CLIP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a clip may be called: names of files and of Snakemake's jobs are made of it."""


class Root:
    """Where the paths of clips lead: into the dataset's folder, or (`prepared:...`) to what was prepared from it.

    `root / path` is the file; `prepared` is the folder of prepared files.
    """

    def __init__(self, folder: str | Path, prepared: str | Path) -> None:
        self.folder = Path(folder)
        self.prepared = Path(prepared)

    def __str__(self) -> str:
        return str(self.folder)

    def __truediv__(self, path: str) -> Path:
        if path.startswith(PREPARED):
            return self.prepared / path[len(PREPARED) :]
        return self.folder / path


def dataset_root(folder: Path, results: Path) -> Root:
    """The root of a dataset whose results lie in `results`."""
    return Root(folder, results / PREPARED_FOLDER)


Folder = Path | Root
"""What clips' paths are relative to: a dataset that needs nothing prepared is a plain folder."""


@dataclass(frozen=True)
class Clip:
    """One annotated frame and its neighbours; all paths are relative to the dataset's root (see `Root`).

    `frames` is a path pattern with the field `{frame}` (a format such as `{frame:06d}` is allowed); the
    frame at an offset is number `key + offset`. Frames exist at every multiple of `step` from offset
    `first` to `last`. `fine` and `coarse` are index PNGs of native ids, `*_instances` 16-bit instance
    PNGs, `truth` a pattern like `frames` for dense labels below the dataset's truth folder; each may be empty.
    """

    id: str
    split: str
    group: str
    image: str
    frames: str = ""
    key: int = 0
    step: int = 1
    first: int = 0
    last: int = 0
    fine: str = ""
    fine_instances: str = ""
    coarse: str = ""
    coarse_instances: str = ""
    truth: str = ""

    def __post_init__(self) -> None:
        if not CLIP_ID.fullmatch(self.id):
            raise UserError(f"Clip id '{self.id}' must be letters, digits, '.', '_' and '-': rename its files.")

    def has(self, offset: int) -> bool:
        """Whether there is a frame at this offset (in frames from the key frame)."""
        return self.first <= offset <= self.last and offset % self.step == 0

    def image_at(self, offset: int) -> str:
        """The image at an offset; the key frame's own image at 0. Ask `has` first."""
        return self.image if offset == 0 else self.frames.format(frame=self.key + offset)

    def truth_at(self, offset: int) -> str:
        """The dense label at an offset, relative to the truth folder; empty where the dataset has none."""
        return self.truth.format(frame=self.key + offset) if self.truth else ""

    def memory_at(self, offset: int, count: int) -> tuple[str, ...]:
        """The `count` frames before an offset, oldest first; empty where one of them does not exist."""
        steps = [offset - self.step * i for i in range(count, 0, -1)]
        return tuple(self.image_at(o) for o in steps) if all(self.has(o) for o in steps) else ()

    def outward(self, offset: int) -> tuple[int, ...]:
        """The offsets from the key frame's neighbour out to `offset`, in that direction."""
        step = self.step if offset > 0 else -self.step
        return tuple(range(step, offset + (1 if offset > 0 else -1), step)) if offset else ()

    def annotation(self, source: str) -> str:
        """The manual label of the key frame by `source` (`fine` or `coarse`); empty where there is none."""
        return {"fine": self.fine, "coarse": self.coarse}[source]

    def annotated(self, source: str) -> list[str]:
        """All files of the annotation by `source`: the label, and the instances where there are any."""
        instances = {"fine": self.fine_instances, "coarse": self.coarse_instances}[source]
        return [path for path in (self.annotation(source), instances) if path]


_FIELDS = fields(Clip)
COLUMNS = tuple("clip" if f.name == "id" else f.name for f in _FIELDS)
"""The index file's columns."""


def write_clips(path: str | Path, clips: Iterable[Clip], extra: Mapping[str, Mapping[str, str]] | None = None) -> None:
    """Write an index (or a shard: an index with `extra` columns, given by column and clip id)."""
    extra = extra or {}
    rows = (
        [*(getattr(clip, f.name) for f in _FIELDS), *(values[clip.id] for values in extra.values())] for clip in clips
    )
    write_csv(path, [*COLUMNS, *extra], rows)


def read_clips(path: str | Path) -> list[Clip]:
    """Read an index or a shard, ignoring further columns."""
    return [clip for clip, _ in read_shard(path)]


def read_shard(path: str | Path) -> list[tuple[Clip, dict[str, str]]]:
    """Read a shard: each clip with its further columns."""
    result = []
    for row in read_csv(path, COLUMNS):
        values = {
            f.name: int(row[column]) if f.type == "int" else row[column]
            for f, column in zip(_FIELDS, COLUMNS, strict=True)
        }
        result.append((Clip(**values), {k: v for k, v in row.items() if k not in COLUMNS}))  # type: ignore[arg-type]
    return result


def asks_for(extra: Mapping[str, str], method: str) -> bool:
    """Whether a shard asks for a clip by a method, where `extra` are the clip's further columns in it.

    Its column `methods` names them; `*` are all, as where a shard has no such column (those to propagate).
    """
    return bool({"*", method} & set(extra.get("methods", "*").split()))


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """A key that sorts names as people count: numbers in them by value, so that frame2 comes before frame10."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def pattern_of(path: str, number: str) -> str:
    """A frame pattern from one file's path: the digits `number`, where they stand last in it, become `{frame}`."""
    head, found, tail = path.rpartition(number)
    if not found:
        raise ValueError(f"{number} is not in {path}")
    width = f":0{len(number)}d" if number.startswith("0") or len(number) > 4 else ""

    return f"{literal(head)}{{frame{width}}}{literal(tail)}"


def literal(text: str) -> str:
    """Text as it must stand in a frame pattern: its own braces doubled."""
    return text.replace("{", "{{").replace("}", "}}")


def shard_of(clip_id: str, shards: int) -> int:
    """The shard a clip belongs to: a stable hash of its id, so that a new clip disturbs one shard only."""
    return int.from_bytes(hashlib.blake2b(clip_id.encode(), digest_size=8).digest(), "big") % shards


def scan(*roots: str | Path) -> str:
    """A digest of every file's path, size and time below the roots: what a head process can afford to look at.

    A touched file changes it; whether anything else must be done is then decided by content.
    """
    h = hashlib.blake2b(digest_size=8)
    for root in roots:
        pending = [os.fspath(root)]
        seen: set[tuple[int, int]] = set()
        while pending:
            folder = pending.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda e: e.name)
            except (FileNotFoundError, NotADirectoryError):
                h.update(f"absent\0{folder}\0".encode())
                continue
            for entry in entries:
                if entry.is_symlink():  # it may come to lead to another file of the same size and time
                    h.update(os.readlink(entry.path).encode(errors="surrogateescape"))
                try:
                    status = entry.stat()
                except OSError:  # a dead link
                    status = entry.stat(follow_symlinks=False)
                if not entry.is_dir():
                    h.update(f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
                elif (status.st_dev, status.st_ino) not in seen:  # a link to a folder above would be followed for ever
                    seen.add((status.st_dev, status.st_ino))
                    pending.append(entry.path)
    return h.hexdigest()


def stamp(root: Folder, paths: Iterable[str]) -> str:
    """A digest of the files' names, sizes and times: changes whenever their content may have changed."""
    facts = []
    for path in paths:
        try:
            status = os.stat(root / path)
        except OSError:
            raise UserError(f"{root / path} does not exist: restore it, or index the dataset again.") from None
        # A link may come to lead to another file of the same size and time.
        target = os.path.realpath(root / path) if os.path.islink(root / path) else ""
        facts.append((path, status.st_size, status.st_mtime_ns, target))
    return digest(facts)
