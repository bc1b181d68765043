"""Whether a refined mask is plausible, measured against the coarse one that it came of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewframes.labelling.refinement.sam.settings import GuardSettings
from fewframes.labelling.things import ThingMask


@dataclass(frozen=True)
class Comparison:
    """A refined mask against the coarse one.

    `area_ratio` is the refined mask's area over the coarse one's, `overlap` the share of the coarse mask that lies in
    the refined one, `predicted_iou` SAM's own estimate of the mask.
    """

    area_ratio: float
    overlap: float
    predicted_iou: float


def compared(coarse: ThingMask, refined: NDArray[np.bool_], predicted_iou: float) -> Comparison:
    """Compare a refined mask, `bool [H, W]` of the whole image, with its object's coarse one."""
    both = np.count_nonzero(refined[coarse.window] & coarse.mask)
    return Comparison(np.count_nonzero(refined) / coarse.area, both / coarse.area, predicted_iou)


def plausible(found: Comparison, guard: GuardSettings) -> bool:
    """Whether a refined mask is to replace the coarse one.

    A coarse polygon lies inside its object, which is larger than the polygon and holds nearly all of it: what SAM finds
    should, too.
    """
    return (
        guard.min_area_ratio <= found.area_ratio <= guard.max_area_ratio
        and found.overlap >= guard.min_overlap
        and found.predicted_iou >= guard.min_predicted_iou
    )
