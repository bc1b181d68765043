"""The calls of SAM's decoder: the prompts of an image's objects, and the masks that come of them fed back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fewframes.labelling.refinement.sam.contract import Decoded, Prompts
from fewframes.labelling.refinement.sam.prompts import (
    box_of,
    points_in_and_around,
    random_points,
    soft_mask,
    surroundings,
    widened_box,
)
from fewframes.labelling.refinement.sam.segmenter import Embedding, SamSegmenter
from fewframes.labelling.refinement.sam.settings import BoxSettings, PointsSettings
from fewframes.labelling.things import ThingMask


def decode(
    segmenter: SamSegmenter,
    embedding: Embedding,
    coarse: NDArray[np.uint8],
    objects: Sequence[ThingMask],
    name: str,
    settings: PointsSettings | BoxSettings,
) -> Decoded:
    """One mask for each of an image's `objects`, in their order, after all iterations."""
    if isinstance(settings, BoxSettings):
        prompts = _boxes(segmenter, embedding, coarse, objects, settings)
    else:
        prompts = _points(segmenter, embedding, objects, name, settings)
    found = segmenter.decode(embedding, prompts, settings.multimask != "never").best()
    for _ in range(settings.iterations):
        prompts = dataclasses.replace(prompts, masks=found.logits[:, 0], views=found.views)
        found = segmenter.decode(embedding, prompts, settings.multimask == "always").best()
    return found


def _points(
    segmenter: SamSegmenter, embedding: Embedding, objects: Sequence[ThingMask], name: str, settings: PointsSettings
) -> Prompts:
    points = np.stack([random_points(one, settings.points, settings.seed, name) for one in objects])
    views = segmenter.views(embedding, np.stack([box_of(one) for one in objects]))
    return Prompts(points, np.ones(points.shape[:2], bool), views=views)


def _boxes(
    segmenter: SamSegmenter,
    embedding: Embedding,
    coarse: NDArray[np.uint8],
    objects: Sequence[ThingMask],
    settings: BoxSettings,
) -> Prompts:
    points, inside = zip(*(points_in_and_around(coarse, one, settings) for one in objects), strict=True)
    boxes = np.stack([widened_box(one, coarse.shape, settings) for one in objects])
    # A view in which the points around an object are seen, too.
    views = segmenter.views(embedding, np.stack([box_of(surroundings(o, coarse.shape, settings)) for o in objects]))
    masks = None
    if settings.mask_logit:
        shares = segmenter.lowered(embedding, (_whole(one, coarse.shape) for one in objects), views).cpu().numpy()
        masks = torch.from_numpy(np.stack([soft_mask(share > 0, settings) for share in shares]))
    return Prompts(np.stack(points), np.stack(inside), boxes, masks, views)


def _whole(one: ThingMask, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """An object's mask in an image of `size`."""
    mask = np.zeros(size, bool)
    mask[one.window] = one.mask
    return mask
