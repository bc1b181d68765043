"""Clips in groups through the tracker, their frames read ahead."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import ClassTable
from fewframes.core.progress import say
from fewframes.labelling.propagation import KeyFrame, Propagated
from fewframes.labelling.propagation.sam2.clipwork import ClipWork
from fewframes.labelling.propagation.sam2.objects import find_objects
from fewframes.labelling.propagation.sam2.policy import Policy
from fewframes.labelling.propagation.sam2.reading import Reader
from fewframes.labelling.propagation.sam2.settings import Sam2Settings
from fewframes.labelling.propagation.sam2.setup import Setup

_MOST_HELD = 2**30
"""Bytes of results that a group may hold: 6 clips of 20 frames of 2048x1024, whose results all come at the end."""


def track_all(
    keys: Iterable[KeyFrame], setup: Setup, settings: Sam2Settings, policy: Policy, classes: ClassTable
) -> Iterator[tuple[int, int, Propagated]]:
    """Track the objects of all key frames; yields as `Propagator.propagate` does."""
    unseen = 0
    with Reader(setup.readers) as reader:
        group: list[ClipWork] = []
        for position, key in enumerate(keys):
            objects = find_objects(
                key.label,
                key.instances,
                classes,
                settings.objects,
                least_area=settings.least_area,
                most_things=settings.most_things,
            )
            clip = ClipWork(position, key, objects, settings.tiles, setup.side, policy)
            unseen += clip.unseen
            group.append(clip)
            held = sum(clip.bytes_held for clip in group)
            if sum(clip.tracks for clip in group) >= setup.tracks_at_once or held >= _MOST_HELD:
                yield from _track(group, setup, reader)
                group = []
        yield from _track(group, setup, reader)
    if unseen:
        say(f"sam2: objects too small or thin to be tracked at {setup.side} px: {unseen}.")


def _track(group: Sequence[ClipWork], setup: Setup, reader: Reader) -> Iterator[tuple[int, int, Propagated]]:
    tiles = [(n, t) for n, clip in enumerate(group) for t in range(len(clip.tiles))]
    order = sorted(((n, t, step) for n, t in tiles for step in group[n].steps()), key=lambda key: abs(key[2]))
    parts = {(n, t, s): group[n].part(group[n].tiles[t], s) for n, t, s in order if group[n].tiles[t].objects}
    take = reader.ahead(parts)

    def read(n: int, t: int, step: int) -> NDArray[np.uint8]:
        return take((n, t, step))

    tasks = [group[n].task(group[n].tiles[t], functools.partial(read, n, t)) for n, t in tiles]
    for tracked in setup.tracker.track(tasks):
        n, t = tiles[tracked.task]
        if made := group[n].add(t, tracked):
            yield group[n].position, *made
