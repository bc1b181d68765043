"""Training SAM to segment objects of single images from points, boxes and coarse masks, and to refine its masks.

The pictures are a quarter of what the model sees in the end: each is taken for a part of the whole, anywhere on the
grid of windows, and has that part's positions. Prompts are made as the refiners make them.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fewframes.core.labels import IGNORE
from fewframes.labelling.compact import losses
from fewframes.labelling.compact.prompting import error_points, inside_points
from fewframes.labelling.compact.video import Outcome, Rows, chosen, halved
from fewframes.labelling.refinement.sam.prompts import points_in_and_around, soft_mask, widened_box
from fewframes.labelling.refinement.sam.settings import BoxSettings
from fewframes.labelling.things import ThingMask

_LONG = 0.25
"""Share of batches in which masks are refined twice, as the paper does it (section 4); in the others once."""
_GROUPING_WEIGHT, _REACH = 0.25, 0.15
"""Of the loss that teaches the encoder what belongs together; of the side."""


class ImageTask:
    """Losses of a SAM on images `float32 [B, 3, S, S]` (normalised) and their ids `int64 [B, S, S]`."""

    def __init__(self, model: Any, rows_per_image: int = 3, least: int = 24) -> None:
        self._model, self._each, self._least = model, rows_per_image, least
        encoder = model.image_encoder
        self._patch = int(encoder.patch_embed.proj.kernel_size[0])
        self._window = max(int(block.window_size) for block in encoder.blocks)
        self._grid = int(encoder.pos_embed.shape[1])

    def refinement(self, images: Tensor, ids: Tensor, generator: torch.Generator) -> Outcome:
        """Segment objects of every image in rounds, each from the mask before."""
        cells = images.shape[-1] // self._patch
        places = (self._grid - cells) // self._window + 1
        row, column = (int(torch.randint(places, (1,), generator=generator)) * self._window for _ in range(2))
        part = (slice(row, row + cells), slice(column, column + cells))
        embeddings = self._embedded(images, part)
        position = self._model.prompt_encoder.get_dense_pe()[:, :, part[0], part[1]]
        shift = torch.tensor([column, row], dtype=torch.float32) * self._patch
        rows = chosen(ids, self._each, self._least, generator)
        if not rows:
            return Outcome(images.new_zeros((), requires_grad=True), {})
        whose = [image for image, _ in rows]
        truth = torch.stack([ids[image] == number for image, number in rows]).float()
        coarse = bool(torch.rand((), generator=generator) < 0.5)
        points, labels, boxes, masks = self._coarse(ids, rows, generator) if coarse else self._drawn(truth, generator)
        total, found = [], []
        rounds = 3 if bool(torch.rand((), generator=generator) < _LONG) else 2
        for call in range(rounds):
            sparse, dense = self._model.prompt_encoder(
                points=(points + shift, labels),
                boxes=None if boxes is None else boxes + shift.repeat(2),
                masks=None if masks is None else masks[:, None],
            )
            logits, ious = self._decoded(embeddings[whose], position, sparse, dense[..., :cells, :cells])
            several = call == 0 and masks is None
            which = slice(1, None) if several else slice(0, 1)
            logits, ious = logits[:, which].float(), ious[:, which].float()
            total.append(losses.mask_loss(logits, ious, halved(truth)).mean())
            masks = logits.detach()[torch.arange(len(rows)), ious.argmax(1)].clamp(-32, 32)
            found.append(losses.mask_iou(masks, halved(truth)).mean())
            if call == 0 and bool(torch.rand((), generator=generator) < 0.5):
                fine = F.interpolate(masks[:, None], scale_factor=2, mode="bilinear")[:, 0]
                more, kinds = error_points(fine, truth, generator)
                points, labels = torch.cat([points, more], 1), torch.cat([labels, kinds], 1)
        grouping = losses.grouping_loss(embeddings, ids, _REACH)
        loss = torch.stack(total).mean() + _GROUPING_WEIGHT * grouping
        kind = "coarse" if coarse else "points"
        parts = {
            "loss": loss.detach(),
            "grouping": grouping.detach(),
            f"{kind}_first": found[0],
            f"{kind}_last": found[-1],
        }
        return Outcome(loss, {name: float(v) for name, v in parts.items()})

    def _decoded(self, images: Tensor, position: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Masks and their IoU as the package's decoder gives them, which takes one image a call; here each row's."""
        decoder = self._model.mask_decoder
        rows, channels, high, wide = images.shape
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([own.expand(rows, -1, -1), sparse], 1)
        seen, cells = decoder.transformer(images + dense, position.expand(rows, -1, -1, -1), tokens)
        finer = decoder.output_upscaling(cells.transpose(1, 2).reshape(rows, channels, high, wide))
        heads = decoder.output_hypernetworks_mlps
        filters = torch.stack([head(seen[:, 1 + n]) for n, head in enumerate(heads)], 1)
        masks = (filters @ finer.flatten(2)).unflatten(2, finer.shape[-2:])
        return masks, decoder.iou_prediction_head(seen[:, 0])

    def _embedded(self, images: Tensor, part: tuple[slice, slice]) -> Tensor:
        encoder = self._model.image_encoder
        cells = encoder.patch_embed(images) + encoder.pos_embed[:, part[0], part[1]]
        for block in encoder.blocks:
            cells = block(cells)
        embedded: Tensor = encoder.neck(cells.permute(0, 3, 1, 2))
        return embedded

    def _drawn(self, truth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Points in the objects, as many in each."""
        count = int(torch.randint(1, 4, (1,), generator=generator))
        return *inside_points(truth, generator, count), None, None

    def _coarse(
        self, ids: Tensor, rows: Rows, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """All that a coarse annotation tells: points in and around each object, its box, at times its mask."""
        rng = np.random.default_rng(int(torch.randint(1 << 30, (1,), generator=generator)))
        settings = BoxSettings(
            inside_points=int(rng.integers(1, 4)),
            outside_points=int(rng.integers(0, 3)),
            box_margin=float(rng.uniform(0.0, 0.3)),
            mask_logit=float(rng.choice([0.0, 4.0, 8.0, 8.0])),
        )
        points, inside, boxes, prompts = [], [], [], []
        for image, number in rows:
            own = ids[image].numpy()
            mask = _coarsened(own == number, rng)
            thing = _thing(mask)
            # What else was annotated tells where an object is not.
            label = np.where((own == 0) | (own == number), np.uint8(IGNORE), np.uint8(1))
            label[mask] = 0
            at, kinds = points_in_and_around(label, thing, settings)
            points.append(at)
            inside.append(kinds)
            boxes.append(widened_box(thing, mask.shape, settings))
            small = cv2.resize(mask.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            prompts.append(soft_mask(np.asarray(small) > 0, settings))
        return (
            torch.from_numpy(np.stack(points)),
            torch.from_numpy(np.stack(inside)).int(),
            torch.from_numpy(np.stack(boxes)),
            torch.from_numpy(np.stack(prompts)).float() if settings.mask_logit else None,
        )


def _coarsened(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask as a person outlines it in a hurry: mostly well inside, with few corners; never empty."""
    whole = mask.view(np.uint8)
    off = int(rng.integers(0, 7))
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * off + 1, 2 * off + 1))
    work = cv2.dilate(whole, pen) if rng.random() < 0.15 else cv2.erode(whole, pen)
    drawn = np.zeros_like(whole)
    for outline in cv2.findContours(np.asarray(work), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        cv2.fillPoly(drawn, [cv2.approxPolyDP(outline, max(0.5, off * rng.uniform(0.5, 1)), True)], 1)
    return drawn.astype(bool) if drawn.any() else mask


def _thing(mask: NDArray[np.bool_]) -> ThingMask:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    window = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    return ThingMask(0, top, left, window)
