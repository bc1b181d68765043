"""Which masks pass, told from their low-resolution logits as far as those can tell.

SAM 2 gives logits `[s, s]`, a quarter of its own side; a mask is where these, upsampled bilinearly to the image, are
above 0. A pixel of the image lies in a cell of four low-resolution pixels and is a weighted mean of them, at most the
greatest and at least the smallest of the four. So a cell's extremes bound every count and every box of the upsampled
mask, and only masks for which the bounds leave the question open are upsampled, each within the window that it needs.
What passes is what passes `SAM2AutomaticMaskGenerator`, which upsamples all masks first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fewframes.labelling.refinement.automasks.masks import Mask
from fewframes.labelling.refinement.automasks.settings import AutomaskSettings

_SLACK = 0.01
"""Room for rounding in bounds on logits: float32 places a pixel within 2e-5 of a cell's side."""


@dataclass(frozen=True)
class Candidate:
    """A mask that may pass: `logits` `float32 [h, w]`, the part of its logits that counts, on whatever device.

    Upsampled to `shape`, they are the image's window whose first pixel is (`top`, `left`). The mask's box holds the
    box `inner` and lies within `outer`, both `float32 [4]` as `Mask.box`; `inner` is all 0 where nothing is certain.
    """

    logits: Tensor
    top: int
    left: int
    shape: tuple[int, int]
    inner: NDArray[np.float32]
    outer: NDArray[np.float32]
    predicted_iou: float

    def settled(self, settings: AutomaskSettings) -> Mask | None:
        """The mask at the image's size, or None where it is not stable enough."""
        fine = F.interpolate(self.logits[None, None], self.shape, mode="bilinear", align_corners=False)[0, 0]
        offset, least = settings.stability_score_offset, settings.stability_score_thresh
        high, low = (np.float32(int(torch.count_nonzero(fine > level))) for level in (offset, -offset))
        stability = high / low if low else np.float32("nan")  # float32, as the official score is
        if least > 0 and not stability >= np.float32(least):
            return None
        return Mask.cut((fine > 0).cpu().numpy(), self.top, self.left, self.predicted_iou)


def candidates(
    logits: Tensor, predicted_iou: Tensor, size: tuple[int, int], settings: AutomaskSettings
) -> list[Candidate]:
    """Those of the masks that may be stable enough, for an image of `size`, its height and width.

    `logits` is `float32 [N, s, s]`, `predicted_iou` `float32 [N]`. Their order is kept.
    """
    side = logits.shape[-1]
    rows, columns = (_cells(pixels, side) for pixels in size)
    highest, lowest = _of_cells(logits, torch.maximum), _of_cells(logits, torch.minimum)
    offset, least = settings.stability_score_offset, settings.stability_score_thresh
    if least > 0:
        at_most = _pixels(highest > offset - _SLACK, rows, columns)
        at_least = _pixels(lowest > -offset + _SLACK, rows, columns)
        chosen = (at_most > 0) & (at_most >= (least - 1e-6) * at_least)
        logits, predicted_iou, highest, lowest = (t[chosen] for t in (logits, predicted_iou, highest, lowest))
    in_use = [torch.from_numpy(np.isin(np.arange(side), cells)).to(logits.device) for cells in (rows, columns)]
    outer = _boxes(highest > -_SLACK, rows, columns)
    inner = _boxes((lowest > _SLACK) & in_use[0][:, None] & in_use[1], rows, columns)
    found = []
    seen = highest > -offset - _SLACK
    down, across = seen.any(dim=2).cpu().numpy(), seen.any(dim=1).cpu().numpy()
    for number, iou in enumerate(predicted_iou.tolist()):
        (first, last), (top, bottom) = _window(down[number], size[0])
        (start, stop), (left, right) = _window(across[number], size[1])
        part = logits[number, first:last, start:stop].clone()
        shape = bottom - top, right - left
        found.append(Candidate(part, top, left, shape, inner[number], outer[number], iou))
    return found


def distinct(masks: Sequence[Candidate | Mask], settings: AutomaskSettings) -> list[Mask]:
    """The masks that pass, the highest predicted IoU first, without those whose box is about that of a better one.

    A candidate is upsampled only where its box may be its own; equal to `torchvision.ops.nms` of all boxes.
    """
    kept: list[Mask] = []
    boxes = np.empty((0, 4), np.float32)
    for mask in sorted(masks, key=lambda m: -m.predicted_iou):
        if isinstance(mask, Candidate):
            if (_least_iou(mask.inner, mask.outer, boxes) > settings.box_nms_thresh + 1e-6).any():
                continue
            settled = mask.settled(settings)
            if settled is None:
                continue
            mask = settled
        if not (_least_iou(mask.box, mask.box, boxes) > settings.box_nms_thresh).any():
            kept.append(mask)
            boxes = np.concatenate([boxes, mask.box[None]])
    return kept


def _least_iou(
    inner: NDArray[np.float32], outer: NDArray[np.float32], boxes: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The least IoU, `[N]`, with each of `boxes` `[N, 4]` that a box between `inner` and `outer` can have.

    Where the two are equal it is the IoU as torchvision computes it: in float32, of boxes that end with their last
    pixel's number, so that a box of a single column has no area; nan where no area is at all.
    """

    def area(box: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.maximum(box[..., 2] - box[..., 0], 0) * np.maximum(box[..., 3] - box[..., 1], 0)

    def shared(box: NDArray[np.float32]) -> NDArray[np.float32]:
        first, last = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
        return area(np.concatenate([first, last], axis=1))

    with np.errstate(invalid="ignore"):
        return (shared(inner) / (area(outer) + area(boxes) - shared(outer))).astype(np.float64)


def _cells(pixels: int, side: int) -> NDArray[np.intp]:
    """The cell in which each of an image's rows lies, that is the first of the two low-resolution rows it is made of.

    Bilinear upsampling without aligned corners; beyond the outermost centres a row is made of one.
    """
    at = (np.arange(pixels) + 0.5) * side / pixels - 0.5
    return np.clip(np.floor(at), 0, side - 1).astype(np.intp)


def _of_cells(logits: Tensor, extreme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The extreme of the four logits around each cell, `[N, s, s]`; the last cells have two or one."""
    down = extreme(logits, torch.cat([logits[:, 1:], logits[:, -1:]], dim=1))
    return extreme(down, torch.cat([down[..., 1:], down[..., -1:]], dim=2))


def _pixels(cells: Tensor, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Tensor:
    """The number of the image's pixels in the cells that are true, `float64 [N]`."""
    side = cells.shape[-1]
    high, wide = (torch.from_numpy(np.bincount(c, minlength=side)).to(cells.device) for c in (rows, columns))
    return (cells.float() @ wide.float()).double() @ high.double()


def _boxes(cells: Tensor, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """The boxes of the image's pixels in the cells that are true, `float32 [N, 4]` as `Mask.box`."""
    down: NDArray[np.bool_] = cells.any(dim=2).cpu().numpy()[:, rows]
    across: NDArray[np.bool_] = cells.any(dim=1).cpu().numpy()[:, columns]
    some = down.any(axis=1, keepdims=True) & across.any(axis=1, keepdims=True)
    ends = [across.argmax(1), down.argmax(1), _last(across), _last(down)]
    return np.where(some, np.stack(ends, axis=1), 0).astype(np.float32)


def _last(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    return flags.shape[1] - 1 - flags[:, ::-1].argmax(1)


def _window(seen: NDArray[np.bool_], pixels: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The low-resolution rows, and the image's, outside of which no row counts: first and one beyond the last.

    `seen` says which cells, `bool [s]`, may hold a pixel that does. The rows around them are beyond all thresholds, so
    that it does not matter what the rows next to the window would be made of. All rows, where a part of them would not
    be upsampled as the whole is: to the bit, it is so where a cell is 2, 4, 8 ... pixels.
    """
    side = len(seen)
    scale, rest = divmod(pixels, side)
    if rest or scale & (scale - 1) or not seen.any():
        return (0, side), (0, pixels)
    first, last = int(seen.argmax()), min(side, side + 1 - int(seen[::-1].argmax()))
    return (first, last), (first * scale, last * scale)
