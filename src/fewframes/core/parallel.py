"""Work spread over processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import cv2

_J = TypeVar("_J")
_R = TypeVar("_R")


def mapped(work: Callable[[_J], _R], jobs: Sequence[_J], workers: int, chunk: int = 1) -> Iterator[_R]:
    """What `work` makes of each job, in their order, in `workers` processes; in this one where that is 1.

    Processes are given `chunk` jobs at a time. They are spawned, as one with threads must not be forked, and OpenCV
    has one thread in each.
    """
    if workers == 1:
        yield from map(work, jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(work, jobs, chunksize=chunk)
