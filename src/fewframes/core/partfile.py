"""A file on its way in: what has arrived of it, kept under a lock from one attempt, and one process, to the next."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from fewframes.core.files import disk_faults_named
from fewframes.core.progress import say

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""What a filesystem without locks answers, as some clusters' do."""


class PartFile:
    """What has arrived, in order from the file's first byte, with its running SHA-256.

    `version` is the server's word for which version of the file it is of ("": not known, so that nothing can be added
    to it later). `kept` says whether a later process can go on from here.
    """

    def __init__(self, path: Path, file: FileIO, kept: bool) -> None:
        self.path = path
        self.kept = kept
        self._file = file
        self._note = path.with_name(f"{path.name}.version") if kept else None
        self.version = self._note.read_text(encoding="utf-8") if self._note and self._note.is_file() else ""
        self.size = os.fstat(file.fileno()).st_size
        self._hash = hashlib.sha256()
        if self.size and self.version:
            with path.open("rb") as arrived:
                self._hash = hashlib.file_digest(arrived, "sha256")
        elif self.size:
            self.restart("")

    @property
    def sha256(self) -> str:
        """SHA-256 of what has arrived, hexadecimal."""
        return self._hash.hexdigest()

    def restart(self, version: str) -> None:
        """Forget what arrived: what comes now is of `version`."""
        with disk_faults_named(self.path):
            self._file.truncate(0)
            if self._note:
                self._note.write_text(version, encoding="utf-8")
        self.size, self._hash, self.version = 0, hashlib.sha256(), version

    def append(self, data: bytes) -> None:
        """Add what came next; raises `UserError` where the disk is full."""
        rest = memoryview(data)
        with disk_faults_named(self.path):
            while rest:
                rest = rest[self._file.write(rest) :]
        self._hash.update(data)
        self.size += len(data)

    def finish(self, target: Path) -> None:
        """Give the file its name, on disk for good."""
        with disk_faults_named(target):
            os.fsync(self._file.fileno())
            self.path.replace(target)
        self.remove()

    def remove(self) -> None:
        """Leave nothing behind."""
        self.path.unlink(missing_ok=True)
        if self._note:
            self._note.unlink(missing_ok=True)


@contextlib.contextmanager
def part_file(target: Path) -> Iterator[PartFile]:
    """The part of `target`, `<target>.part`, for us alone: whoever else wants it waits until we end.

    Having waited, look first whether `target` is there by now. On a filesystem without locks it is a part of our own,
    which nobody can resume. Raises `UserError` where the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with disk_faults_named(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = _shared(target, stack) or _own(target, stack)
        try:
            yield part
        finally:
            if not part.size or not part.kept:
                part.remove()


def _shared(target: Path, stack: contextlib.ExitStack) -> PartFile | None:
    path = target.with_name(f"{target.name}.part")
    while True:
        file = stack.enter_context(path.open("ab", buffering=0))
        try:
            _lock(file, target)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)
            return None
        # Whoever we waited for has renamed or removed the file that we opened: then there is another, or none.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return PartFile(path, file, kept=True)
        file.close()


def _lock(file: FileIO, target: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{target}: another process is fetching it; waiting for it.")
        fcntl.flock(file, fcntl.LOCK_EX)


def _own(target: Path, stack: contextlib.ExitStack) -> PartFile:
    path = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    return PartFile(path, stack.enter_context(path.open("xb", buffering=0)), kept=False)
