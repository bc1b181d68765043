"""A case: the config as the workflow reads it, the dataset as its reader sees it, and what of both is at stake."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fewframes.core.clips import PREPARED, Clip
from fewframes.core.parallel import mapped
from fewframes.core.progress import progress
from fewframes.datasets.preparing import Task
from fewframes.datasets.source import Source
from fewframes.experiments.dealing import stills_of
from fewframes.experiments.manifests import ineligible
from fewframes.experiments.plan import Request
from fewframes.experiments.study import Study

J = TypeVar("J")
R = TypeVar("R")

_WORTH_PROCESSES = 64
"""Jobs from which starting other processes (a second) pays."""


@dataclass
class Case:
    """What the groups of an examination look at, and what one leaves to the next.

    `clips` are what the reader lists, `undone` the tasks of preparation that are still to do, `prepared_from`
    what all of them read. `tree` has the names of the files in every folder, by its path below the
    dataset's; `dead_links` and `loops` were met on the walk. `flawed` are paths with a fault. `deep` has every frame
    decoded, `named_split` tells whether the config itself names evaluation.split, and `refused` whether the reader or
    its preparation stopped.
    """

    study: Study
    config: dict[str, Any]
    source: Source
    workers: int
    deep: bool = False
    named_split: bool = False
    refused: bool = False
    clips: list[Clip] = field(default_factory=list)
    undone: list[Task] = field(default_factory=list)
    prepared_from: tuple[str, ...] = ()
    tree: dict[str, list[str]] = field(default_factory=dict)
    dead_links: dict[str, str] = field(default_factory=dict)
    loops: list[str] = field(default_factory=list)
    flawed: set[str] = field(default_factory=set)

    @property
    def train_split(self) -> str:
        """The split whose clips experiments draw from."""
        return Request.split

    @property
    def evaluated_split(self) -> str:
        """The split that trained networks are scored on."""
        return self.config["evaluation"]["split"]

    def finely(self, split: str) -> list[Clip]:
        """The finely annotated clips of a split."""
        return [clip for clip in self.clips if clip.split == split and clip.fine]

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Why each clip of the training split cannot serve every chosen experiment; empty where it can."""
        experiments, past = self.study.experiments, self.study.trainings.past_frames
        return {c.id: ineligible(c, experiments, past) for c in self.clips if c.split == self.train_split}

    @property
    def eligible(self) -> list[Clip]:
        """The clips that experiments draw from."""
        return [clip for clip in self.clips if self.reasons.get(clip.id) == ""]

    def trains_on_coarse(self, clip: Clip) -> bool:
        """Whether a chosen experiment may use the clip's coarse label."""
        return any(clip.split == e.coarse_pool for e in self.study.experiments if e.coarse_percent)

    def span(self, clip: Clip) -> range:
        """The offsets that a whole clip of this dataset has, by its class table."""
        first, last = self.source.classes.offsets
        return range(-(-first // clip.step) * clip.step, last + 1, clip.step)

    @cached_property
    def cut(self) -> list[Clip]:
        """The finely annotated clips with frames whose ends do not reach as far as the class table says."""
        return [c for c in self.clips if c.fine and c.frames and (c.first, c.last) != _ends(self.span(c))]

    @cached_property
    def gaps(self) -> dict[str, tuple[str, int]]:
        """The frames that a clip lacks though others lie beyond them: its id and their offset, by their path."""
        gaps = {}
        for clip in self.cut:
            beyond = [o for o in self.span(clip) if not clip.first <= o <= clip.last]
            there = [o for o in beyond if (self.source.root / clip.image_at(o)).is_file()]
            for offset in sorted(set(beyond) - set(there)):
                if any(0 < offset < t or t < offset < 0 for t in there):
                    gaps[clip.image_at(offset)] = clip.id, offset
        return gaps

    @property
    def gapped(self) -> list[Clip]:
        """The clips with such a hole."""
        ids = {clip for clip, _ in self.gaps.values()}
        return [clip for clip in self.cut if clip.id in ids]

    @property
    def used(self) -> list[Clip]:
        """The clips whose frames are read: trained on, scored or measured; all where the config asks for nothing."""
        study = self.study
        stills = stills_of(self.clips) if any(e.coarse_percent and e.still for e in study.experiments) else []
        trained = [*self.eligible, *stills, *self.finely(self.evaluated_split)] if study.experiments else []
        measured = [c for c in self.clips if c.split in study.measured_splits and c.truth and c.fine]
        return trained + (measured if study.measured else []) or self.clips

    def truths(self, clip: Clip) -> Iterator[str]:
        """The dense labels that quality would read for a clip, where they exist; paths as `Root` takes them."""
        if not (self.study.measured and clip.truth and clip.fine and clip.split in self.study.measured_splits):
            return
        for offset in range(-self.study.reach, self.study.reach + 1):
            path = clip.truth_at(offset)
            if offset and clip.has(offset):
                file = self.source.root / path if path.startswith(PREPARED) else Path(self.study.truth) / path
                if os.path.lexists(file):
                    yield os.fspath(file.absolute())

    def shared(self, work: Callable[[J], R], jobs: Sequence[J], label: str) -> Iterable[R]:
        """Do the jobs, in other processes where there are many, with progress shown."""
        workers = self.workers if len(jobs) >= _WORTH_PROCESSES else 1
        chunk = max(1, min(32, len(jobs) // (4 * workers)))
        return progress(mapped(work, jobs, workers, chunk), label, len(jobs))


def _ends(span: range) -> tuple[int, int]:
    return span[0], span[-1]
