"""Files written whole or not at all, rows and settings read, canonical JSON, and content hashes that are kept."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from fewframes.core.errors import UserError
from fewframes.core.trust import refuse_open

_CHUNK = 1 << 20
_SETTLED_NS = 60 * 10**9
"""A file whose time is less than this from now may change again within one tick of its clock, and keep it: its hash is
not kept. A tick takes 2 s at most (FAT's); the rest is for clocks of nodes and file servers that differ."""
_LATE = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between looks at where a file should be that another node has written; a minute in all, as in the profile
for Slurm (`latency-wait`)."""
_in_vain = False
"""Whether this process has waited for a file that never came."""
JOB = "SLURM_JOB_ID"
"""Environment variable that Slurm sets in its jobs."""


def canonical_json(value: Any) -> str:
    """One spelling for equal settings: keys sorted, no blanks, whole floats as integers."""

    def plain(v: Any) -> Any:
        if isinstance(v, Mapping):
            return {str(k): plain(x) for k, x in v.items()}
        if isinstance(v, (list, tuple)):
            return [plain(x) for x in v]
        if isinstance(v, float) and v.is_integer():
            return int(v)
        return v

    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(*parts: object) -> str:
    """A short digest (16 hex digits) of the parts, each taken in its canonical JSON."""
    h = hashlib.blake2b(digest_size=8)
    for part in parts:
        h.update(canonical_json(part).encode())
        h.update(b"\0")
    return h.hexdigest()


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to, renamed over it on success and removed on failure.

    Raises `UserError` where the folder cannot be written or the disk is full. What writes through a library of
    C hands it a file opened by Python where it can: then the disk's own word is not lost.
    """
    target = Path(path)
    aside: Path | None = None
    try:
        with disk_faults_named(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
            os.close(handle)
            aside = Path(name)
            aside.chmod(0o666 & ~_umask())
            yield aside
            aside.replace(target)
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_written_whole(path: str | Path) -> Iterator[Path]:
    """A folder beside `path` to write to, put in its place on success and removed on failure.

    An empty folder gives way to it, any other does not. Raises `UserError` where it cannot be written.
    """
    target = Path(path).resolve()
    with disk_faults_named(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as aside:
            folder = Path(aside) / "new"
            folder.mkdir()  # the outer one is closed to others
            yield folder
            folder.rename(target)


@contextlib.contextmanager
def disk_faults_named(path: str | Path) -> Iterator[None]:
    """Raise `UserError` where what is done within finds the disk full, or `path` not to be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch has an error of its own, raised over the disk's. Those of h5py and pandas that carry no number are not
        # about the disk and pass as they are.
        cause: BaseException | None = error
        while cause is not None and not (isinstance(cause, OSError) and cause.errno is not None):
            cause = cause.__context__
        if not isinstance(cause, OSError) or cause.errno is None:
            raise
        reason = os.strerror(cause.errno)
        raise UserError(f"{path} cannot be written ({reason}): free space or mend permissions.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole (UTF-8)."""
    with written_whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV whole, with `\\n` line ends: equal rows are equal bytes."""
    with written_whole(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            # Python's csv does not quote it where lines end in another way, and could not read it back.
            if any("\r" in cell for cell in row if isinstance(cell, str)):
                raise UserError(f"{path} cannot hold the name {row!r}, which has a carriage return: rename the file.")
            writer.writerow(row)


def read_csv(path: str | Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV as dictionaries; raises `UserError` where the file or one of `columns` is missing."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            present = next(reader, [])
            # As `csv.DictReader` does it, in a third of its time: a paper's manifests have a million rows.
            rows = [
                dict(zip(present, row, strict=True)) if len(row) == len(present) else dict(zip_longest(present, row))
                for row in reader
                if row
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}): make it again with `snakemake`.") from error
    missing = [c for c in columns if c not in present]
    if missing:
        raise UserError(f"{path} has no column '{missing[0]}': it needs {', '.join(columns)}.")
    return rows


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds; raises `UserError` where it cannot be read."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path} is no readable YAML ({why}): correct it, or name another.") from error


def is_there(path: str | Path) -> bool:
    """Whether there is a file that should be there.

    Network file systems show late what other nodes wrote, and remember what they did not find: its folder is listed,
    which has them ask the server, and within a cluster's job the file is waited for. Whoever has waited in vain has
    waited for all: a process that gathers what is missing from a dataset spends one minute on it, not one on each.
    """
    global _in_vain
    if os.path.isfile(path):
        return True
    for pause in _LATE if JOB in os.environ and not _in_vain else _LATE[:1]:
        time.sleep(pause)
        with contextlib.suppress(OSError):
            os.listdir(Path(path).parent)
        if os.path.isfile(path):
            return True
    _in_vain = _in_vain or JOB in os.environ
    return False


class ContentHashes:
    """Content hashes of files, computed once and kept by path, size and modification time.

    Each process reads every cache file in `folder` and writes its own, `<writer>.csv`, so that jobs on
    several nodes need no lock. A dataset copied without its times is read once more, and then known.
    """

    def __init__(self, folder: str | Path, writer: str) -> None:
        self._folder = Path(folder)
        refuse_open(self._folder, "hashes of files that are kept")
        self._own = self._folder / f"{writer}.csv"
        self._known: dict[tuple[str, int, int], str] = {}
        self._new: dict[tuple[str, int, int], str] = {}
        for file in sorted(self._folder.glob("[!.]*.csv")):  # a leading dot: half-written
            for row in read_csv(file, ("path", "size", "time", "hash")):
                key = (row["path"], int(row["size"]), int(row["time"]))
                self._known[key] = row["hash"]
                if file == self._own:
                    self._new[key] = row["hash"]

    def of(self, path: str | Path) -> str:
        """The file's content hash (blake2b, 16 hex digits)."""
        # A link may come to lead to another file of the same size and time.
        name = os.path.realpath(path) if os.path.islink(path) else os.path.abspath(path)
        if not is_there(name):
            raise UserError(f"{path} does not exist: restore the file, or correct the folder in the config.")
        status = os.stat(name)
        key = (name, status.st_size, status.st_mtime_ns)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = content_hash(name)
            if abs(time.time_ns() - status.st_mtime_ns) > _SETTLED_NS:
                self._new[key] = known
        return known

    def save(self) -> None:
        """Write this process's cache file: what it computed itself."""
        rows = ((path, size, stamp, value) for (path, size, stamp), value in sorted(self._new.items()))
        write_csv(self._own, ("path", "size", "time", "hash"), rows)


def content_hash(path: str | Path) -> str:
    """blake2b of a file's bytes, 16 hex digits; raises `UserError`, from the `OSError`, where it cannot be read."""
    h = hashlib.blake2b(digest_size=8)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                h.update(chunk)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: correct its name, or restore it.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): mend its permissions or its disk.") from error
    return h.hexdigest()
