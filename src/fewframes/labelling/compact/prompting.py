"""Prompts as a person might give them, drawn from the truth."""

from __future__ import annotations

import torch
from torch import Tensor

Points = tuple[Tensor, Tensor]
"""Places in pixels, `float32 [R, P, 2]` as (x, y), and kinds, `int32 [R, P]`: 1 inside, 0 outside, 2 and 3 corners."""


def inside_points(truth: Tensor, generator: torch.Generator, count: int = 1) -> Points:
    """Points anywhere in the masks `[R, S, S]`."""
    places = torch.stack([_drawn(mask > 0.5, count, generator) for mask in truth])
    return places, torch.ones(places.shape[:2], dtype=torch.int32)


def box_corners(truth: Tensor, generator: torch.Generator, jitter: float = 0.1) -> Points:
    """The masks' bounding boxes, each side off by up to `jitter` of its length (20 pixels at most)."""
    boxes = []
    for mask in truth:
        rows, columns = (torch.nonzero(mask.amax(axis) > 0.5).flatten() for axis in (1, 0))
        box = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        size = torch.stack([box[2] - box[0], box[3] - box[1]]).repeat(2)
        off = (torch.rand(4, generator=generator) * 2 - 1) * (jitter * size).clamp(max=20)
        boxes.append((box + off).clamp(0, truth.shape[-1]))
    places = torch.stack(boxes).view(-1, 2, 2)
    return places, torch.tensor([[2, 3]], dtype=torch.int32).expand(len(truth), -1)


def error_points(logits: Tensor, truth: Tensor, generator: torch.Generator) -> Points:
    """A point in each mask's larger kind of error: 1 where something is missing, 0 where too much was taken."""
    wrong = (logits > 0) != (truth > 0.5)
    missing, surplus = wrong & (truth > 0.5), wrong & (truth <= 0.5)
    places, kinds = [], []
    for less, more, mask in zip(missing, surplus, truth, strict=True):
        lacks = bool(less.sum() >= more.sum())
        area = less if lacks else more
        if not area.any():
            area, lacks = mask > 0.5, True
        places.append(_drawn(area, 1, generator))
        kinds.append([int(lacks)])
    return torch.stack(places), torch.tensor(kinds, dtype=torch.int32)


def _drawn(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres of `count` pixels of a mask, `float32 [count, 2]` as (x, y)."""
    at = torch.nonzero(mask)
    picked = at[torch.randint(len(at), (count,), generator=generator)]
    return picked.flip(1).float() + 0.5
