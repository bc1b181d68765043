"""Objects grown out of their coarse polygons by GrabCut, one at a time, without weights.

Coarse polygons lie inside their objects and leave the outlines unlabelled. For each object of the classes that
are refined (`ClassTable.refined`, or all), GrabCut (Rother et al., SIGGRAPH 2004, in OpenCV's implementation) looks for
the outline in the unlabelled pixels within `reach` of its polygon. The polygon itself is surely the object, and
all that bears another label surely not: what an annotator drew is never overwritten. (Letting GrabCut give up
the polygon's rim, or take stuff, was tried on simulated coarse labels of CamVid and made them worse.) Of the
result, the parts that touch the polygon are kept.

Where the result's area is more than `max_growth` times the polygon's, the object ran out into its
surroundings: it keeps its polygon and is counted. Each object is cut from the image and the coarse label alone,
so their order does not sway the cuts; a pixel that several claim goes to the smallest polygon, since the
smaller of two overlapping objects is the one that would be hidden, were it not in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.labelling.methods import at_least, parse_settings
from fewframes.labelling.refinement import Refined
from fewframes.labelling.refinement.onebyone import OneByOne
from fewframes.labelling.things import ThingMask, find_things

_NAME = "refinement 'grabcut'"

_MIXTURE = (1, 65)
"""Shape of OpenCV's colour model: 5 Gaussians of 1 weight, 3 means and 9 covariances each."""


@dataclass(frozen=True)
class GrabCutSettings:
    """Settings of `grabcut`.

    `reach`: how far outside its polygon an object may extend, as a share of the image's height. `max_growth`:
    the largest plausible ratio of an object's area to its polygon's. `iterations`: of GrabCut. `classes`: whose
    objects are refined, `refined` for `ClassTable.refined` or `all`.
    """

    reach: float = 0.03
    max_growth: float = 8.0
    iterations: int = 1
    classes: str = "refined"


class GrabCutRefiner(OneByOne):
    """Refines the objects of the classes `train_ids`; equal inputs give equal labels."""

    def __init__(self, settings: GrabCutSettings, train_ids: tuple[int, ...]) -> None:
        at_least(_NAME, "reach", settings.reach, 0.0)
        at_least(_NAME, "max_growth", settings.max_growth, 1.0)
        at_least(_NAME, "iterations", settings.iterations, 1)
        if settings.classes not in ("refined", "all"):
            raise UserError(f"The setting 'classes' of {_NAME} is '{settings.classes}': choose refined or all.")
        self._settings = settings
        self._train_ids = train_ids

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings, defaults too, but for `classes` where it is usual: labels are older than that setting."""
        told = asdict(self._settings)
        if self._settings.classes == "refined":
            del told["classes"]
        return told

    def refine(
        self, image: NDArray[np.uint8], coarse: NDArray[np.uint8], instances: NDArray[np.int32] | None
    ) -> Refined:
        """See `OneByOne`."""
        label = coarse.copy()
        counts = {"refined": 0, "kept": 0}
        for thing in sorted(find_things(coarse, instances, self._train_ids), key=lambda t: -t.area):
            outline = self._cut(image, coarse, thing)
            if outline is None:
                counts["kept"] += 1
            else:
                counts["refined"] += 1
                label[outline.window][outline.mask] = thing.train_id
        return Refined(label, counts=counts)

    def _cut(self, image: NDArray[np.uint8], coarse: NDArray[np.uint8], thing: ThingMask) -> ThingMask | None:
        """The object's new mask, or None where there is none that is plausible."""
        reach = max(1, round(self._settings.reach * len(coarse)))
        # As far again beyond its reach, the surroundings teach GrabCut the background's colours.
        box = thing.padded(2 * reach, coarse.shape)
        seeds = np.full(box.mask.shape, cv2.GC_BGD, np.uint8)
        distance = cv2.distanceTransform((~box.mask).astype(np.uint8), cv2.DIST_L2, 5)
        open_to_it = (coarse[box.window] == IGNORE) & (distance <= reach)
        seeds[open_to_it] = np.where(distance[open_to_it] <= reach / 2, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
        seeds[box.mask] = cv2.GC_FGD
        if not open_to_it.any() or (seeds % 2 == 1).all():
            return None  # nowhere to grow, or no background to tell it from
        cv2.setRNGSeed(0)  # GrabCut's first clusters are drawn
        cv2.grabCut(
            np.ascontiguousarray(image[box.window]),
            seeds,
            (0, 0, 0, 0),  # the box is not used: the seeds say it all
            np.zeros(_MIXTURE),
            np.zeros(_MIXTURE),
            self._settings.iterations,
            cv2.GC_INIT_WITH_MASK,
        )
        # GC_FGD is 1 and GC_PR_FGD 3
        _, parts = cv2.connectedComponents(seeds % 2, connectivity=8)
        mask = np.isin(parts, np.unique(parts[box.mask]))
        grown = ThingMask(thing.train_id, box.top, box.left, mask)
        return grown if grown.area <= self._settings.max_growth * thing.area else None


def build(settings: Mapping[str, Any], classes: ClassTable, _housekeeping: Mapping[str, Any]) -> GrabCutRefiner:
    """The refiner `grabcut`."""
    chosen = parse_settings(GrabCutSettings, settings, _NAME)
    train_ids = tuple(range(len(classes.trained))) if chosen.classes == "all" else classes.refined_train_ids
    return GrabCutRefiner(chosen, train_ids)
