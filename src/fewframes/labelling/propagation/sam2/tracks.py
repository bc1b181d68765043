"""What is tracked and what comes of it; the rows of a step: whose each one is, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewframes.labelling.propagation.sam2.objects import Objects


@dataclass(frozen=True)
class Task:
    """What to track: a clip's objects, `past` frames back and `future` frames on from its key frame.

    `read` gives the frame at an offset from `-past` to `future` as `reading.squared` makes it, `uint8 [S, S, 3]`,
    S the model's image size. It is asked once for each, first for 0, then step by step outward; where
    there are no objects, not at all. Masks are merged at the `wanted` offsets alone, all where it is None. Their
    area is measured from one share of the width to another. `name` is for messages.
    """

    name: str
    objects: Objects
    past: int
    future: int
    read: Callable[[int], NDArray[np.uint8]]
    wanted: frozenset[int] | None = None
    measured: tuple[float, float] = (0.0, 1.0)

    def wants(self, offset: int) -> bool:
        """Whether masks are merged at this offset."""
        return self.wanted is None or offset in self.wanted


@dataclass(frozen=True)
class Tracked:
    """One frame's result; `task` is the position among the tasks, `offset` the frame's from the key frame.

    By object, both `float32 [N]`: `presence` is the probability that it is in the frame, as SAM 2 has it, `area`
    the share of the frame that its mask covers. `merged` is what `Merger` makes of the masks, where it is wanted.
    """

    task: int
    offset: int
    presence: NDArray[np.float32]
    area: NDArray[np.float32]
    merged: Merged | None


@dataclass(frozen=True)
class Merged:
    """Whose each pixel is: `index` is `int16 [H, W]`, the object's number or -1; `confidence` is `uint8 [H, W]`."""

    index: NDArray[np.int16]
    confidence: NDArray[np.uint8]

    @classmethod
    def nothing(cls, size: tuple[int, int]) -> Merged:
        """A frame in which no object claims anything."""
        return cls(np.full(size, -1, np.int16), np.zeros(size, np.uint8))


@dataclass(frozen=True)
class Run:
    """The objects of one task at one offset: as many neighbouring rows."""

    task: int
    offset: int
    objects: int


@dataclass(frozen=True)
class Piece:
    """The part of a run that falls into one batch: its objects `first` to `last` (exclusive), from row `start` on."""

    run: Run
    first: int
    last: int
    start: int

    @property
    def rows(self) -> slice:
        """Its rows within the batch."""
        return slice(self.start, self.start + self.last - self.first)

    @property
    def completes(self) -> bool:
        """Whether no object of the run is left for a later batch."""
        return self.last == self.run.objects


def pieces_of(runs: Sequence[Run], rows: slice) -> Iterator[Piece]:
    """The pieces that make up the `rows` of a step, whose rows are those of `runs` one after another."""
    row = 0
    for run in runs:
        first, last = max(0, rows.start - row), min(run.objects, rows.stop - row)
        if first < last:
            yield Piece(run, first, last, row + first - rows.start)
        row += run.objects


class Bank:
    """The memories of all tracks, as the model looks for them: the key frame's, and those of the steps since.

    `ways` are pairs of a direction of a task, as the run of its first step, and its number of steps, the longest
    first: the tracks that go on are then the first rows of every step. The two directions of a task share
    the rows of its key frame. Features, `bfloat16 [rows, C, h, w]` as the official predictor keeps them, are
    let go when out of the model's reach; pointers, small as they are, are kept.
    """

    def __init__(self, model: Any, ways: Sequence[tuple[Run, int]]) -> None:
        self._ways = ways
        self.steps = ways[0][1]
        # The model measures a pointer's age by the video's length where that is below 16: no clip counts as so short.
        self.num_frames = max(model.max_obj_ptrs_in_encoder, self.steps + 1)
        first: dict[int, int] = {}
        self.keys: list[Run] = []
        for run, _ in ways:
            if run.task not in first:
                first[run.task] = sum(key.objects for key in self.keys)
                self.keys.append(Run(run.task, 0, run.objects))
        device = next(model.parameters()).device
        self._key_rows = torch.cat([first[run.task] + torch.arange(run.objects) for run, _ in ways]).to(device)
        # A step looks back less than this far (SAM2Base._prepare_memory_conditioned_features), its last batch too.
        self._reach = model.num_maskmem * model.memory_temporal_stride_for_eval
        self._features: dict[int, Tensor] = {}
        self._pointers: dict[int, Tensor] = {}
        self._position: Tensor | None = None

    def runs(self, step: int) -> list[Run]:
        """The runs of a step."""
        return [Run(run.task, run.offset * step, run.objects) for run, steps in self._ways if steps >= step]

    def remembers(self, step: int) -> int:
        """How many of the step's rows, from the first on, are needed later."""
        return sum(run.objects for run, steps in self._ways if steps > step)

    def add(self, step: int, start: int, out: Mapping[str, Any]) -> None:
        """Keep what the model put `out` for the rows of `step` (0: the key frames' rows) from `start` on."""
        total = sum(key.objects for key in self.keys) if step == 0 else self.remembers(step)
        features, pointers = out["maskmem_features"], out["obj_ptr"]
        kept = min(total - start, len(pointers))
        if kept <= 0:
            return
        if step not in self._features:
            self._features[step] = features.new_empty((total, *features.shape[1:]), dtype=torch.bfloat16)
            self._pointers[step] = pointers.new_empty((total, *pointers.shape[1:]))
            if step > self._reach:
                del self._features[step - self._reach]
        self._features[step][start : start + kept] = features[:kept]
        self._pointers[step][start : start + kept] = pointers[:kept]
        if self._position is None:
            self._position = out["maskmem_pos_enc"][-1][:1].clone()

    def recall(self, rows: slice) -> dict[str, dict[int, dict[str, Any]]]:
        """The outputs of the earlier steps for the `rows` of the current one, as `track_step` takes them."""
        key_rows = self._key_rows[rows]
        key = self._output(self._features[0][key_rows], self._pointers[0][key_rows])
        since = {}
        for step, pointers in self._pointers.items():
            if step > 0:
                features = self._features.get(step)
                since[step] = self._output(None if features is None else features[rows], pointers[rows])
        return {"cond_frame_outputs": {0: key}, "non_cond_frame_outputs": since}

    def _output(self, features: Tensor | None, pointers: Tensor) -> dict[str, Any]:
        assert self._position is not None  # the key frames come first
        position = self._position.expand(len(pointers), -1, -1, -1)
        return {"maskmem_features": features, "maskmem_pos_enc": [position], "obj_ptr": pointers}
