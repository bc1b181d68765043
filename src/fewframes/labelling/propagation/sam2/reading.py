"""Frames decoded and squared ahead of their use: a PNG of 2048x1024 takes 60 ms to decode.

Imports nothing that is slow to start, as every worker process imports it.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.labelling.propagation.frames import read_frame_picture

_AHEAD = 4
"""Frames that lie ready for each worker, at most; one is 3 MB at 1024 px."""

K = TypeVar("K")


@dataclass(frozen=True)
class FramePart:
    """What to read: columns of a file's frame, whose size must be `size` (height and width), squared to `side`."""

    path: Path
    size: tuple[int, int]
    columns: slice
    side: int


def squared(frame: Image.Image, side: int) -> NDArray[np.uint8]:
    """An RGB frame resized to `uint8 [side, side, 3]` as the official loader does."""
    return np.asarray(frame.resize((side, side)))


def read_part(part: FramePart) -> NDArray[np.uint8]:
    """The part, as `squared` makes it."""
    frame = read_frame_picture(part.path, part.size)
    if part.columns.stop - part.columns.start < frame.width:
        frame = frame.crop((part.columns.start, 0, part.columns.stop, frame.height))
    return squared(frame, part.side)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: else it would wait for work, and hold the log open."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # it is a worker

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class Reader:
    """Reads frames ahead, in `workers` processes, or where that is 0 in one thread (decoding lets others run)."""

    def __init__(self, workers: int) -> None:
        self._limit = _AHEAD * max(1, workers)
        # Not forked: a process that has used a GPU must not be.
        spawn = multiprocessing.get_context("spawn")
        self._pool: Executor = (
            ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent) if workers else ThreadPoolExecutor(1)
        )

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def ahead(self, parts: Mapping[K, FramePart]) -> Callable[[K], NDArray[np.uint8]]:
        """A function that gives each part once; they are read in the order of `parts`, a few ahead of the asking."""
        unread = iter(parts.items())
        reading: dict[K, Future[NDArray[np.uint8]]] = {}

        def read_on() -> bool:
            for key, part in unread:
                reading[key] = self._pool.submit(read_part, part)
                return True
            return False

        def take(key: K) -> NDArray[np.uint8]:
            try:
                while key not in reading and read_on():
                    pass
                frame = reading.pop(key)
                while len(reading) < self._limit and read_on():
                    pass
                return frame.result()
            except BrokenProcessPool:
                raise UserError(
                    "A process that decodes frames was killed, as happens where memory runs out: give the job more "
                    "memory or fewer threads; the clips finished before are kept."
                ) from None

        return take
