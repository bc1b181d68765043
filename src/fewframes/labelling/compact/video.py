"""Training SAM 2 to propagate masks, and to answer prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewframes.labelling.compact import losses
from fewframes.labelling.compact.prompting import box_corners, error_points, inside_points
from fewframes.labelling.propagation.sam2.engine import remembered

Rows = list[tuple[int, int]]
"""What is followed: clip of the batch and id."""


@dataclass(frozen=True)
class Outcome:
    """The loss to go down, and what it was made of, by name, for the log."""

    loss: Tensor
    parts: Mapping[str, float]


class VideoTask:
    """Losses of a SAM 2 on clips `float32 [B, T, 3, S, S]` (normalised) and their ids `int64 [B, T, S, S]`."""

    def __init__(self, model: Any, rows_per_clip: int = 4, least: int = 32) -> None:
        self._model, self._each, self._least = model, rows_per_clip, least
        self._raw: dict[str, Tensor] = {}
        # The model hides masks of objects that it takes for absent: losses need what lies behind.
        model.sam_mask_decoder.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, given: Any, made: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        self._raw = {"masks": made[0], "ious": made[1], "presence": made[3]}

    def propagation(self, frames: Tensor, ids: Tensor, pieces: Tensor, generator: torch.Generator) -> Outcome:
        """Follow objects from their masks in the first frame through the others."""
        length = frames.shape[1]
        levels, positions = self._encoded(frames)
        rows = chosen(ids[:, 0], self._each, self._least, generator)
        if not rows:
            return _nothing(frames)
        vision = [self._vision(levels, positions, rows, t) for t in range(length)]
        truth = torch.stack([ids[clip] == number for clip, number in rows]).float()
        memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        memory["cond_frame_outputs"][0] = remembered(self._model, truth[:, :1], vision[0])
        masks, presence, seen = [], [], []
        for t in range(1, length):
            memory["non_cond_frame_outputs"][t] = self._model.track_step(
                frame_idx=t,
                is_init_cond_frame=False,
                point_inputs=None,
                mask_inputs=None,
                output_dict=memory,
                num_frames=16,
                run_mem_encoder=t < length - 1,
                **vision[t],
            )
            there = truth[:, t].flatten(1).sum(1) > 0
            each = losses.mask_loss(self._raw["masks"], self._raw["ious"], halved(truth[:, t]))
            masks.append((each * there).sum() / there.sum().clamp(min=1))
            presence.append(F.binary_cross_entropy_with_logits(self._raw["presence"].float()[:, 0], there.float()))
            with torch.no_grad():
                fine = F.interpolate(self._raw["masks"].float(), truth.shape[-2:], mode="bilinear")[:, 0]
                seen.append(losses.mask_iou(fine, truth[:, t])[there].mean())
        mask, present = torch.stack(masks).mean(), torch.stack(presence).mean()
        alike = self._likeness(levels, pieces)
        parts = {"mask": mask, "presence": present, "alike": alike, "iou": torch.stack(seen).nanmean()}
        return Outcome(
            mask + losses.PRESENCE_WEIGHT * present + losses.MATCHING_WEIGHT * alike,
            {name: float(v.detach()) for name, v in parts.items()},
        )

    def prompts(self, frames: Tensor, ids: Tensor, generator: torch.Generator, rounds: int = 3) -> Outcome:
        """Segment objects of single frames from points or a box, then correct the masks `rounds - 1` times."""
        levels, positions = self._encoded(frames[:, :1])
        rows = chosen(ids[:, 0], 2 * self._each, self._least, generator)
        if not rows:
            return _nothing(frames)
        vision = self._vision(levels, positions, rows, 0)
        truth = torch.stack([ids[clip, 0] == number for clip, number in rows]).float()
        boxed = torch.rand((), generator=generator) < 0.5
        points, labels = box_corners(truth, generator) if boxed else inside_points(truth, generator)
        previous, total, last = None, [], None
        for _ in range(rounds):
            out = self._model.track_step(
                frame_idx=0,
                is_init_cond_frame=True,
                point_inputs={"point_coords": points, "point_labels": labels},
                mask_inputs=None,
                output_dict={"cond_frame_outputs": {}, "non_cond_frame_outputs": {}},
                num_frames=1,
                run_mem_encoder=False,
                prev_sam_mask_logits=previous,
                **vision,
            )
            total.append(losses.mask_loss(self._raw["masks"], self._raw["ious"], halved(truth)).mean())
            here = torch.ones_like(self._raw["presence"].float())
            total[-1] = total[-1] + 0.1 * F.binary_cross_entropy_with_logits(self._raw["presence"].float(), here)
            previous = out["pred_masks"].detach().clamp(-32, 32)
            last = out["pred_masks_high_res"].detach()[:, 0]
            more, kinds = error_points(last, truth, generator)
            points, labels = torch.cat([points, more], 1), torch.cat([labels, kinds], 1)
        assert last is not None
        loss = torch.stack(total).mean()
        parts = {"prompted": loss.detach(), "prompted_iou": losses.mask_iou(last, truth).mean()}
        return Outcome(loss, {name: float(v) for name, v in parts.items()})

    def _encoded(self, frames: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """By level, finest first: features `[B, T, C, h, w]`, and positions `[1, C, h, w]`."""
        encoded = self._model.forward_image(frames.flatten(0, 1))
        kept = slice(-self._model.num_feature_levels, None)
        levels = [level.unflatten(0, frames.shape[:2]) for level in encoded["backbone_fpn"][kept]]
        return levels, [position[:1] for position in encoded["vision_pos_enc"][kept]]

    def _vision(self, levels: list[Tensor], positions: list[Tensor], rows: Rows, t: int) -> dict[str, Any]:
        clips = [clip for clip, _ in rows]
        return {
            "current_vision_feats": [level[clips, t].flatten(2).permute(2, 0, 1) for level in levels],
            "current_vision_pos_embeds": [
                p.expand(len(rows), -1, -1, -1).flatten(2).permute(2, 0, 1) for p in positions
            ],
            "feat_sizes": [tuple(p.shape[-2:]) for p in positions],
        }

    def _likeness(self, levels: list[Tensor], pieces: Tensor) -> Tensor:
        """The encoder's own loss, from the first frame to the second and to the last."""
        total = []
        for level in levels[-2:]:
            if level.shape[-1] > 48:  # two thousand places suffice
                continue
            for t in {1, level.shape[1] - 1}:
                total.append(losses.matching_loss(level[:, 0], level[:, t], pieces[:, 0], pieces[:, t], 0.15))
        return torch.stack(total).mean()


def chosen(ids: Tensor, each: int, least: int, generator: torch.Generator) -> Rows:
    """Up to `each` objects of every frame `[B, S, S]` with at least `least` pixels, without preference."""
    rows: Rows = []
    for clip, frame in enumerate(ids):
        counts = torch.bincount(frame.flatten())
        counts[0] = 0
        large = torch.nonzero(counts >= least).flatten()
        order = torch.randperm(len(large), generator=generator)[:each]
        rows += [(clip, int(number)) for number in large[order]]
    return rows


def halved(masks: Tensor) -> Tensor:
    """Masks `[R, S, S]` at half the resolution, each pixel the share that is covered: losses there cost a quarter."""
    return F.avg_pool2d(masks[:, None], 2)[:, 0]


def _nothing(frames: Tensor) -> Outcome:
    return Outcome(frames.new_zeros((), requires_grad=True), {})
