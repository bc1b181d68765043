"""The refinement methods that prompt SAM, as the driver knows them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable
from fewframes.labelling.models.chosen import ChosenModel, RunsModel
from fewframes.labelling.refinement import CoarseImage, Refined
from fewframes.labelling.refinement.onebyone import read_of_size
from fewframes.labelling.refinement.sam.guard import compared, plausible
from fewframes.labelling.refinement.sam.painting import Canvas, paint_order, thing_train_ids
from fewframes.labelling.refinement.sam.settings import BoxSettings, GuardSettings, Housekeeping, PointsSettings, parse
from fewframes.labelling.things import ThingMask, find_things

if TYPE_CHECKING:
    from fewframes.labelling.refinement.sam.setup import Setup

_AHEAD = 4
"""Images that are read while SAM works, at least; one with its label is some 20 MB at 2048x1024."""


@dataclass(frozen=True)
class Prepared:
    """An image ready for SAM: RGB `uint8 [H, W, 3]`, or None where its label has no objects to refine."""

    position: int
    name: str
    image: NDArray[np.uint8] | None
    coarse: NDArray[np.uint8]
    objects: list[ThingMask]
    canvas: Canvas


class SamRefiner(RunsModel):
    """See `Refiner`; the model is built when there is an object to refine. A guard is part of `settings` or absent."""

    def __init__(
        self, method: str, settings: PointsSettings | BoxSettings, run: Housekeeping, classes: ClassTable
    ) -> None:
        super().__init__(ChosenModel.of(settings.weights, settings.config, run, f"refinement.{method}"))
        self._settings, self._run = settings, run
        self._method, self._things = method, thing_train_ids(classes)
        self._train_ids = range(len(classes.trained)) if settings.classes == "all" else classes.refined_train_ids
        self._setup: Setup | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides its labels; weights and configuration by content, wherever they lie."""
        decisive = self._model.known_by(self._settings, draws=isinstance(self._settings, PointsSettings))
        if isinstance(self._settings, BoxSettings) and not self._settings.mask_logit:
            del decisive["mask_rim"]
        return decisive

    def refine_all(self, images: Iterable[CoarseImage]) -> Iterator[tuple[int, Refined]]:
        """See `Refiner`; images without objects come as they were, and need no model."""
        for group in _groups(self._read_ahead(images), lambda: self._set_up().images_at_once):
            due = [one for one in group if one.image is not None]
            yield from (
                (one.position, _table(one, np.zeros(0), np.zeros(0), np.zeros(0, bool)))
                for one in group
                if one.image is None
            )
            if due:
                yield from self._all_refined(due)

    def _all_refined(self, due: Sequence[Prepared]) -> Iterator[tuple[int, Refined]]:
        from fewframes.labelling.models.device import memory_ends_in_a_sentence

        with memory_ends_in_a_sentence(f"the objects of {due[0].name}"):
            embeddings = self._set_up().segmenter.embed([one.image for one in due if one.image is not None])
            for one, embedding in zip(due, embeddings, strict=True):
                yield one.position, self._refined(one, embedding)

    def _refined(self, one: Prepared, embedding: Any) -> Refined:
        from fewframes.labelling.refinement.sam.iterations import decode

        segmenter = self._set_up().segmenter
        found = decode(segmenter, embedding, one.coarse, one.objects, one.name, self._settings)
        predicted_iou = found.iou[:, 0].cpu().numpy()
        area_ratio, kept = np.zeros(len(one.objects)), np.zeros(len(one.objects), bool)
        order = paint_order(self._settings.overlaps, one.objects, predicted_iou.tolist())
        views = None if found.views is None else found.views[order]
        masks = segmenter.upsampled(embedding, found.logits[order, 0], views)
        for number, mask in zip(order, masks, strict=True):
            comparison = compared(one.objects[number], mask, float(predicted_iou[number]))
            area_ratio[number] = comparison.area_ratio
            if isinstance(self._settings, GuardSettings) and not plausible(comparison, self._settings):
                kept[number] = True
            else:
                one.canvas.paint(number, mask)
        for number in np.flatnonzero(kept).tolist():
            one.canvas.keep(number)
        return _table(one, predicted_iou, area_ratio, kept)

    def _set_up(self) -> Setup:
        if self._setup is None:
            # Torch takes seconds to import: not where all labels are found as they were.
            from fewframes.labelling.refinement.sam.setup import set_up

            self._setup = set_up(self._method, self._settings, self._run, self._model)
            self._ran_on = self._setup.notes
        return self._setup

    def _read_ahead(self, images: Iterable[CoarseImage]) -> Iterator[Prepared]:
        """Every image in its order, read by a thread a few ahead of the asking."""
        source = enumerate(images)

        def prepare() -> Prepared | None:
            following = next(source, None)
            return self._prepared(*following) if following else None

        with ThreadPoolExecutor(1) as pool:
            reading = deque(pool.submit(prepare) for _ in range(max(_AHEAD, self._run.images_at_once)))
            try:
                while (one := reading.popleft().result()) is not None:
                    reading.append(pool.submit(prepare))
                    yield one
            finally:
                pool.shutdown(cancel_futures=True)

    def _prepared(self, position: int, one: CoarseImage) -> Prepared:
        objects = find_things(one.coarse, one.instances, self._train_ids)
        canvas = Canvas(one.name, one.coarse, objects, self._things, self._settings)
        image = read_of_size(one.image, one.coarse.shape) if objects else None
        return Prepared(position, one.name, image, one.coarse, objects, canvas)


def build(method: str, settings: Mapping[str, Any], classes: ClassTable, housekeeping: Mapping[str, Any]) -> SamRefiner:
    """The refiner of that name; raises `UserError` for settings that are none, and for weights that are not there."""
    return SamRefiner(method, *parse(method, settings, housekeeping), classes)


def _groups(images: Iterator[Prepared], at_once: Callable[[], int]) -> Iterator[list[Prepared]]:
    """Images with objects `at_once` together, the others by themselves; what was read comes before an error."""
    group: list[Prepared] = []
    try:
        for one in images:
            if one.image is None:
                yield [one]
                continue
            most = at_once()
            group.append(one)
            if len(group) >= most:
                yield group
                group = []
    except UserError:
        if group:
            yield group
        raise
    if group:
        yield group


def _table(
    one: Prepared, predicted_iou: NDArray[np.floating], area_ratio: NDArray[np.floating], kept: NDArray[np.bool_]
) -> Refined:
    """The label painted on an image's canvas, with what vouches for it."""
    columns: dict[str, NDArray[Any]] = {
        "train_id": np.array([o.train_id for o in one.objects], np.uint8),
        "predicted_iou": predicted_iou.astype(np.float32),
        "area_ratio": area_ratio.astype(np.float32),
        "kept": kept.astype(np.uint8),
    }
    counts = {"refined": int((~kept).sum()), "kept": int(kept.sum())}
    return Refined(one.canvas.label, {"object": one.canvas.owner}, columns, counts)
