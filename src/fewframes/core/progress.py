"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

from fewframes.core.shown import one_line

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 10.0
_silent = False


def progress(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show on stderr how many are done."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=label, total=total)
        return
    of = f"/{total}" if total is not None else ""
    spoken = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        if time.monotonic() - spoken > _SECONDS_BETWEEN_LINES and done != total:
            spoken = time.monotonic()
            say(f"{label}: {done}{of}")
    say(f"{label}: {done}{of}, done")


def say(line: str) -> None:
    """One plain line to stderr, unless this process is to be silent."""
    # A signal to a whole job ends the `tee` behind a log before us, who still have a checkpoint to write.
    if not _silent:
        with contextlib.suppress(BrokenPipeError):
            print(one_line(line), file=sys.stderr, flush=True)


def be_silent() -> None:
    """Say nothing from here on: another process of the same work speaks."""
    global _silent
    _silent = True
