"""SAM 2's automatic masks, each taken whole where the coarse label is of one mind within it.

The paper's second way to refine coarse annotations, which failed there (section 5.2.2): masks are made all over the
image by SAM 2, without regard to the label. If more than 90 % of a mask's labelled pixels are of a single class, the
entire mask is taken for that class; outside accepted masks the coarse label stays. All classes take part.

A mask taken whole also overwrites what the annotator drew of other classes inside it, up to a tenth of its labelled
pixels, and what is unlabelled because it is void.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import IGNORE, ClassTable
from fewframes.labelling.models.chosen import ChosenModel, ModelHousekeeping, RunsModel
from fewframes.labelling.refinement import CoarseImage, Refined
from fewframes.labelling.refinement.automasks.masks import Mask
from fewframes.labelling.refinement.automasks.settings import AutomaskSettings, parse
from fewframes.labelling.refinement.onebyone import read_of_size

if TYPE_CHECKING:
    from fewframes.labelling.refinement.automasks.generator import MaskGenerator


class AutomaskRefiner(RunsModel):
    """See `Refiner`; the model is built when there is an image with labels."""

    def __init__(self, settings: AutomaskSettings, run: ModelHousekeeping) -> None:
        self._settings, self._run = settings, run
        super().__init__(ChosenModel.of(settings.weights, settings.config, run, "refinement.automask"))

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides the labels; weights and configuration by content, wherever they lie."""
        return self._model.known_by(self._settings)

    def refine_all(self, images: Iterable[CoarseImage]) -> Iterator[tuple[int, Refined]]:
        """See `Refiner`; an image without a labelled pixel is not looked at."""
        generator: MaskGenerator | None = None
        for position, one in enumerate(images):
            masks: list[Mask] = []
            if (one.coarse != IGNORE).any():
                image = read_of_size(one.image, one.coarse.shape)
                if generator is None:
                    generator = self._generator()
                masks = generator.generate(image)
            yield position, refined_by(masks, one.coarse, self._settings)

    def _generator(self) -> MaskGenerator:
        # Torch takes seconds to import: not where all labels are found as they were.
        from fewframes.labelling.refinement.automasks.generator import set_up

        generator, self._ran_on = set_up(self._settings, self._run, self._model)
        return generator


class _Accepted(NamedTuple):
    mask: Mask
    train_id: int
    labelled: int
    purity: float


def refined_by(masks: Iterable[Mask], coarse: NDArray[np.uint8], settings: AutomaskSettings) -> Refined:
    """The label with the accepted masks painted over the coarse one, `uint8 [H, W]`.

    Where accepted masks overlap, `order` decides: `smallest_last` paints larger ones first, so that a mask within
    another stays to be seen, and of equal ones the lower predicted IoU first; `predicted_iou` paints the lower first.

    The map `mask`, `int32 [H, W]`, has the number of the mask that each pixel's label is from, -1 where it is the
    coarse one. `objects` has of each accepted mask its `train_id`, `area` and `labelled` in pixels, `purity` and
    `predicted_iou`, in the order of painting. `counts` are the masks `accepted`, those `mixed`, whose labelled pixels
    are of several classes, and those `unlabelled`, which hold fewer than `min_labelled`.
    """
    counts = {"accepted": 0, "mixed": 0, "unlabelled": 0}
    accepted = []
    for mask in masks:
        by_class = np.bincount(coarse[mask.window][mask.pixels()], minlength=IGNORE)[:IGNORE]
        labelled, winner = int(by_class.sum()), int(by_class.argmax())
        purity = float(by_class[winner] / max(1, labelled))
        if labelled < settings.min_labelled:
            counts["unlabelled"] += 1
        elif not purity > settings.purity:
            counts["mixed"] += 1
        else:
            counts["accepted"] += 1
            accepted.append(_Accepted(mask, winner, labelled, purity))
    accepted.sort(key=lambda one: one.mask.predicted_iou)
    if settings.order == "smallest_last":
        accepted.sort(key=lambda one: -one.mask.area)
    label, owner = coarse.copy(), np.full(coarse.shape, -1, np.int32)
    for number, one in enumerate(accepted):
        pixels = one.mask.pixels()
        label[one.mask.window][pixels] = one.train_id
        owner[one.mask.window][pixels] = number
    objects: dict[str, NDArray[Any]] = {
        "train_id": np.array([one.train_id for one in accepted], np.uint8),
        "area": np.array([one.mask.area for one in accepted], np.int64),
        "labelled": np.array([one.labelled for one in accepted], np.int64),
        "purity": np.array([one.purity for one in accepted], np.float32),
        "predicted_iou": np.array([one.mask.predicted_iou for one in accepted], np.float32),
    }
    return Refined(label, {"mask": owner}, objects, counts)


def build(settings: Mapping[str, Any], _classes: ClassTable, housekeeping: Mapping[str, Any]) -> AutomaskRefiner:
    """The refiner `automask`; raises `UserError` for settings that are none, and for weights that are not there."""
    return AutomaskRefiner(*parse(settings, housekeeping))
