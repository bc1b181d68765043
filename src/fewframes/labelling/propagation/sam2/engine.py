"""The tracks of many clips, run through SAM 2 step by step as batches.

A track is one object of one clip in one direction. With a single annotated frame, all tracks at the same distance
from it see the same layout of memory (the key frame, up to six recent frames, the object pointers), so any of them,
from both directions and from several clips, are one batch. A direction looks only at its own past: forward and
backward are two independent runs. Each frame is encoded once, the key frame for both directions, and its features
are dropped as soon as its tracks are through.

The steps are those of the package's video predictor with `apply_postprocessing=False`, in a video of 16 frames or
more: frames are numbered from the key frame outward, and memories are kept in bfloat16 as the predictor keeps them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fewframes.core.errors import UserError
from fewframes.labelling.models.device import memory_ends_in_a_sentence
from fewframes.labelling.models.sam2 import normalised
from fewframes.labelling.propagation.sam2.merging import FrameResult
from fewframes.labelling.propagation.sam2.objects import Objects
from fewframes.labelling.propagation.sam2.tracks import Bank, Merged, Piece, Run, Task, Tracked, pieces_of

_CPU_BATCH, _GPU_BATCH = 4, 64
"""On a processor four are as fast as any at hiera_t and 512 px, and faster than one with small models. A track needs
about 0.2 GB of a GPU at 1024 px (an estimate), so that 64 leave room in 24 GB."""

_FRAMES_TOGETHER = 8
"""Frames encoded in one batch, at most: encoding gains little from a batch, and its features are large."""


_Work = Callable[[slice, list[Piece], dict[str, Any]], dict[str, Any]]


class Tracker:
    """Tracks objects with a model of `build_model`, on the device where that is.

    `max_batch` is the number of tracks run at once, and thereby memory; 0 is 64 on a GPU and 4 on a processor,
    where more are no faster. Where a GPU's memory runs out, the batch is halved and the work goes on.
    `key_memory` says from which mask the key frame is remembered: `official` is the predictor's manner (the mask
    at a quarter of the model's resolution, upsampled), `full` takes the mask at the model's resolution.
    `bfloat16` runs the model under autocast.
    """

    def __init__(
        self, model: nn.Module, *, max_batch: int = 0, key_memory: str = "official", bfloat16: bool = False
    ) -> None:
        self._model: Any = model
        self._device = next(model.parameters()).device
        self._batch = max_batch or (_CPU_BATCH if self._device.type == "cpu" else _GPU_BATCH)
        self._key_memory, self._bfloat16 = key_memory, bfloat16
        self._positions: list[Tensor] = []

    @property
    def max_batch(self) -> int:
        """The number of tracks that are run at once: less than was asked for where memory ran out."""
        return self._batch

    def track(self, tasks: Sequence[Task]) -> Iterator[Tracked]:
        """Yield every frame of every task, the key frames excepted, step by step outward.

        All tasks are at work at once: give as many as fill a batch. Raises `UserError` where memory does not
        suffice for a single track, and where the model's output is not finite.
        """
        # Batches that are too large are halved below; the memory that all tracks share cannot be.
        with memory_ends_in_a_sentence(f"{sum(len(task.objects) for task in tasks)} objects at a time"):
            yield from self._track(tasks)

    def _track(self, tasks: Sequence[Task]) -> Iterator[Tracked]:
        for number, task in enumerate(tasks):
            if not task.objects:
                yield from _unclaimed(number, task)
        ways = [
            (Run(number, sign, len(task.objects)), steps)
            for number, task in enumerate(tasks)
            for sign, steps in ((-1, task.past), (1, task.future))
            if steps > 0 and task.objects
        ]
        if not ways:
            return
        # The longest first, as the bank wants them.
        bank = Bank(self._model, sorted(ways, key=lambda way: -way[1]))
        for _ in self._batches(tasks, bank.keys, functools.partial(self._remember, bank, tasks)):
            pass
        for step in range(1, bank.steps + 1):
            frames: dict[Run, FrameResult] = {}
            follow = functools.partial(self._follow, bank, step)
            for pieces, out in self._batches(tasks, bank.runs(step), follow):
                for piece in pieces:
                    if piece.run not in frames:
                        task = tasks[piece.run.task]
                        frames[piece.run] = FrameResult(task, piece.run, self._device)
                    frames[piece.run].add(piece, out)
                    if piece.completes:
                        yield frames.pop(piece.run).finish()

    def _remember(
        self, bank: Bank, tasks: Sequence[Task], rows: slice, pieces: Sequence[Piece], vision: dict[str, Any]
    ) -> dict[str, Any]:
        """Take the objects' masks in the key frames for what the model has seen so far, and remember them."""
        side, device = self._model.image_size, self._device
        masks = torch.cat([squared_masks(tasks[p.run.task].objects, p.first, p.last, side, device) for p in pieces])
        out = remembered(self._model, masks, vision, self._key_memory)
        bank.add(0, rows.start, out)
        return out

    def _follow(
        self, bank: Bank, step: int, rows: slice, pieces: Sequence[Piece], vision: dict[str, Any]
    ) -> dict[str, Any]:
        """Track the objects of some rows one frame on, remembering them where there is a frame to come."""
        out: dict[str, Any] = self._model.track_step(
            frame_idx=step,
            is_init_cond_frame=False,
            point_inputs=None,
            mask_inputs=None,
            output_dict=bank.recall(rows),
            num_frames=bank.num_frames,
            run_mem_encoder=rows.start < bank.remembers(step),
            **vision,
        )
        bank.add(step, rows.start, out)
        return out

    def _batches(
        self, tasks: Sequence[Task], runs: Sequence[Run], work: _Work
    ) -> Iterator[tuple[list[Piece], dict[str, Any]]]:
        """Do the `work` of a step's rows batch by batch; a run's frame is read and encoded when first needed."""
        frames: dict[Run, NDArray[np.uint8]] = {}
        features: dict[Run, list[Tensor]] = {}
        total, start = sum(run.objects for run in runs), 0
        while start < total:
            rows = slice(start, min(start + self._batch, total))
            pieces = list(pieces_of(runs, rows))
            frames |= {
                p.run: tasks[p.run.task].read(p.run.offset)
                for p in pieces
                if p.run not in features and p.run not in frames
            }
            out = None
            try:
                with torch.no_grad(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
                    self._encode(frames, features)
                    out = work(rows, pieces, self._vision(pieces, features))
            except torch.OutOfMemoryError:
                pass
            if out is None:  # outside the handler, whose exception holds on to what the attempt allocated
                self._halve(rows.stop - rows.start)
                continue
            out.pop("pred_masks_high_res")
            out["claiming"] = _claiming(tasks, pieces, out)
            yield pieces, out
            for piece in pieces:
                if piece.completes:
                    del features[piece.run]
            start = rows.stop

    def _encode(self, frames: dict[Run, NDArray[np.uint8]], features: dict[Run, list[Tensor]]) -> None:
        """Encode the `frames` and move them to `features`, by level `[1, C, h, w]`, the finest first."""
        while frames:
            runs = list(frames)[: min(_FRAMES_TOGETHER, self._batch)]
            encoded = self._model.forward_image(normalised([frames[run] for run in runs], self._device))
            levels = slice(-self._model.num_feature_levels, None)
            # The position encodings depend on the size alone.
            self._positions = [position[:1] for position in encoded["vision_pos_enc"][levels]]
            for n, run in enumerate(runs):
                features[run] = [level[n : n + 1] for level in encoded["backbone_fpn"][levels]]
                del frames[run]

    def _vision(self, pieces: Sequence[Piece], features: Mapping[Run, Sequence[Tensor]]) -> dict[str, Any]:
        """What each row sees, as `track_step` takes it: by level `[h * w, rows, C]`."""
        rows = sum(piece.last - piece.first for piece in pieces)
        seen = []
        for level in range(len(self._positions)):
            parts = [features[p.run][level].expand(p.last - p.first, -1, -1, -1) for p in pieces]
            seen.append(_tokens(torch.cat(parts) if len(parts) > 1 else parts[0]))
        return {
            "current_vision_feats": seen,
            "current_vision_pos_embeds": [_tokens(p.expand(rows, -1, -1, -1)) for p in self._positions],
            "feat_sizes": [tuple(p.shape[-2:]) for p in self._positions],
        }

    def _halve(self, batch: int) -> None:
        if batch == 1:
            raise UserError(
                "The GPU's memory does not suffice for a single object: take a smaller model or fewer clips at once, "
                "or leave the GPU to this job alone."
            )
        self._batch = batch // 2
        torch.cuda.empty_cache()


def remembered(model: Any, masks: Tensor, vision: Mapping[str, Any], key_memory: str = "official") -> dict[str, Any]:
    """What a model keeps of a key frame, given its objects' masks there, `float32 [N, 1, S, S]`, 0 or 1.

    `vision` is what each row sees, as `track_step` takes it; `key_memory` as in `Tracker`.
    """
    out: dict[str, Any] = model.track_step(
        frame_idx=0,
        is_init_cond_frame=True,
        point_inputs=None,
        mask_inputs=masks,
        output_dict={"cond_frame_outputs": {}, "non_cond_frame_outputs": {}},
        num_frames=1,
        run_mem_encoder=key_memory == "full",
        **vision,
    )
    if key_memory == "official":
        out["maskmem_features"], out["maskmem_pos_enc"] = model._encode_new_memory(
            current_vision_feats=vision["current_vision_feats"],
            feat_sizes=vision["feat_sizes"],
            pred_masks_high_res=F.interpolate(out["pred_masks"], masks.shape[-2:], mode="bilinear"),
            object_score_logits=out["object_score_logits"],
            is_mask_from_pts=True,
        )
    return out


def _unclaimed(number: int, task: Task) -> Iterator[Tracked]:
    """The frames of a task without objects."""
    none = np.zeros(0, np.float32)
    for offset in (*range(-task.past, 0), *range(1, task.future + 1)):
        merged = Merged.nothing(task.objects.size) if task.wants(offset) else None
        yield Tracked(number, offset, none, none, merged)


def squared_masks(objects: Objects, first: int, last: int, side: int, device: torch.device) -> Tensor:
    """The masks of objects `first` to `last` (exclusive) as the predictor resizes them, 0 or 1.

    `float32 [N, 1, side, side]`, on `device`. A mask may come out empty: its object is too thin for that size.
    """
    index = torch.from_numpy(objects.index).to(device)[None, None]
    masks = []
    for number in range(first, last):
        mask = (index == number).float()
        if objects.size != (side, side):
            mask = F.interpolate(mask, (side, side), mode="bilinear", antialias=True).ge(0.5).float()
        masks.append(mask)
    return torch.cat(masks)


def seen_at(objects: Objects, side: int) -> list[int]:
    """The numbers of the objects that are there at all at the model's size: the others would be tracked for nothing."""
    present = np.unique(objects.index[objects.index >= 0]).tolist()
    # Where all around is one object, it is one in the smaller picture too: only the others need be resized to see.
    down, across = (2 * math.ceil(1.5 * max(1, length / side)) + 3 for length in objects.size)
    around = np.ones((down, across), np.uint8)
    alike = cv2.erode(objects.index, around) == cv2.dilate(objects.index, around)
    surely = set(np.unique(objects.index[alike]).tolist())
    cpu = torch.device("cpu")
    return [n for n in present if n in surely or squared_masks(objects, n, n + 1, side, cpu).any()]


def _tokens(maps: Tensor) -> Tensor:
    """`[B, C, h, w]` to `[h * w, B, C]`."""
    return maps.flatten(2).permute(2, 0, 1)


def _claiming(tasks: Sequence[Task], pieces: Sequence[Piece], out: Mapping[str, Any]) -> list[bool]:
    """Whether each row's mask claims anything.

    Raises `UserError` where a row is not finite: a score that is no number would pass for an absent object.
    """
    keys = ("pred_masks", "object_score_logits", "obj_ptr")
    all_finite = torch.stack([out[key].flatten(1).isfinite().all(dim=1) for key in keys]).all(dim=0)
    # One copy from the device for both.
    finite, claiming = torch.stack([all_finite, (out["pred_masks"].flatten(1) > 0).any(dim=1)]).tolist()
    for piece in pieces:
        if not all(finite[piece.rows]):
            raise UserError(
                f"SAM 2 gave numbers that are not finite for {tasks[piece.run.task].name} at offset "
                f"{piece.run.offset}: check the weights, and use float32 where it was bfloat16."
            )
    return list(claiming)
