"""What files hold now, read to the last byte, and what was known of them before."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, read_csv
from fewframes.core.progress import progress

MISSING = "missing"
"""It is not there."""
ROTTED = "rotted"
"""Its content is another at the same size and time: nobody wrote to it, and Snakemake sees nothing."""
EDITED = "edited"
"""It was written to, or replaced, since it was last read."""
AS_KNOWN = "as known"
"""It is what it was when it was last read."""
UNKNOWN = "unknown"
"""It was never read before, as far as is kept."""


class Contents:
    """Content hashes of files as they are now; those that were kept of them (`hashes/` of the results) only explain."""

    def __init__(self, kept: Path, workers: int) -> None:
        self._workers = workers
        self._now: dict[Path, str] = {}
        self._before: dict[str, dict[tuple[int, int], set[str]]] = defaultdict(lambda: defaultdict(set))
        for file in sorted(kept.glob("[!.]*.csv")):
            for row in read_csv(file, ("path", "size", "time", "hash")):
                self._before[row["path"]][int(row["size"]), int(row["time"])].add(row["hash"])

    def read(self, files: Iterable[Path], label: str) -> None:
        """Read the files, several at a time; raises `UserError` where one cannot be read."""
        due = sorted(set(files) - self._now.keys())
        # Reading and hashing both let other threads run.
        with ThreadPoolExecutor(self._workers) as threads:
            for file, value in zip(due, progress(threads.map(_hash, due), label, len(due)), strict=True):
                self._now[file] = value

    @property
    def count(self) -> int:
        """How many files were read."""
        return len(self._now)

    def of(self, file: Path) -> str:
        """The file's content hash, as `core.files.content_hash` has it; empty where there is no such file.

        Raises `UserError` where it cannot be read.
        """
        if file not in self._now:
            self._now[file] = _hash(file)
        return self._now[file]

    def became(self, file: Path) -> str:
        """What became of the file since it was last read: `MISSING`, `ROTTED`, `EDITED`, `AS_KNOWN` or `UNKNOWN`."""
        now = self.of(file)
        if not now:
            return MISSING
        # Kept by the same names as `ContentHashes` uses.
        before = self._before.get(os.path.realpath(file) if file.is_symlink() else os.path.abspath(file))
        if not before:
            return UNKNOWN
        status = file.stat()
        known = before.get((status.st_size, status.st_mtime_ns))
        if known:
            return AS_KNOWN if now in known else ROTTED
        return AS_KNOWN if now in set().union(*before.values()) else EDITED


def _hash(file: Path) -> str:
    try:
        return content_hash(file)
    except UserError as error:
        refuse_unreadable(error)
        return ""


def refuse_unreadable(error: UserError) -> None:
    """Raise the error again where a file is there and the system does not give it out (EACCES, EIO, ESTALE).

    That says nothing of what it holds. Errors of libraries about contents carry no number.
    """
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno not in (None, errno.ENOENT):
        raise error
