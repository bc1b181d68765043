"""How good masks are on what no model learned from: held-out toy cities, and real video where there is any."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.images import read_label
from fewframes.core.labels import IGNORE, ClassTable, LabelClass, load_class_table
from fewframes.core.metrics import confusion_matrix, coverage, iou_per_class, mean
from fewframes.datasets.toycity.scene import build_scene
from fewframes.labelling.compact.sources import TOY_SEED, toy_frames
from fewframes.labelling.propagation import KeyFrame, Propagator

_TOLERANCE = 0.008
"""Of the diagonal: how far a boundary may lie off and still count (DAVIS, Perazzi et al. 2016)."""
Mask = NDArray[np.bool_]
Follower = Callable[[NDArray[np.uint8], NDArray[np.uint8], int], Iterator[tuple[int, NDArray[np.uint8]]]]
"""Follows objects through a clip, frames `uint8 [T, H, W, 3]`, from the middle one, whose objects are numbered
`uint8 [H, W]`, 255 for none; yields (offset, such a map) for frames as far away as it is told, to both sides."""


@dataclass(frozen=True)
class Followed:
    """Means over objects and frames, in percent: of regions (J, IoU), of boundaries (F), and how many of them."""

    region: float
    boundary: float
    count: int

    @property
    def both(self) -> float:
        """J&F."""
        return (self.region + self.boundary) / 2


def boundary_f(mask: Mask, truth: Mask) -> float:
    """The F-measure of a mask's boundary, 0 to 1: DAVIS's, within 0.8 % of the diagonal."""
    reach = max(1, round(_TOLERANCE * float(np.hypot(*mask.shape))))
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    ours, theirs = _boundary(mask), _boundary(truth)
    if not ours.any() or not theirs.any():
        return float(not ours.any() and not theirs.any())
    precision = float(np.asarray(cv2.dilate(theirs, pen))[ours > 0].mean())
    recall = float(np.asarray(cv2.dilate(ours, pen))[theirs > 0].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: Mask) -> NDArray[np.uint8]:
    """The pixels of a mask that have one outside it to the right or below, as 0 and 1."""
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    return edge.view(np.uint8)


OBJECTS = replace(
    load_class_table("cityscapes"), classes=tuple(LabelClass(str(n), n, n, (n, n, n)) for n in range(IGNORE))
)
"""A class for every number that an object may have."""


def by_propagator(propagator: Propagator) -> Follower:
    """Objects followed as labels are propagated: the propagator's classes are `OBJECTS`."""

    def follow(
        frames: NDArray[np.uint8], key: NDArray[np.uint8], reach: int
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        offsets = range(-reach, reach + 1)
        with tempfile.TemporaryDirectory() as folder:
            images = {o: Path(folder) / f"{len(frames) // 2 + o}.png" for o in offsets}
            for offset, file in images.items():
                Image.fromarray(frames[len(frames) // 2 + offset]).save(file)
            clip = KeyFrame("clip", key, None, images, frozenset(offsets) - {0})
            for _, offset, made in propagator.propagate(iter([clip])):
                yield offset, made.label

    return follow


def follow_toy_city(
    follow: Follower, seed: int, streets: Sequence[int], reach: int = 10, least_area: int = 30
) -> Followed:
    """J&F of following all objects of toy clips, from their key frames' masks, `reach` frames to both sides.

    Objects of fewer than `least_area` pixels in the key frame are not counted, nor frames where an object is not seen.
    Raises `ValueError` for a seed that is trained on.
    """
    if seed >= TOY_SEED:
        raise ValueError(f"toy city {seed} is one to train on: name a seed below {TOY_SEED}")
    regions, boundaries = [], []
    for street in streets:
        frames, ids = toy_frames(build_scene(seed, 1, street, 1.0, 128, 256), range(-reach, reach + 1))
        key = ids[reach]
        counts = np.bincount(key.ravel(), minlength=256)
        numbers = [n for n in range(1, IGNORE) if counts[n] >= least_area]
        objects = np.where(np.isin(key, numbers), key, IGNORE).astype(np.uint8)
        for offset, found in follow(frames, objects, reach):
            for number in numbers:
                truth, mask = ids[reach + offset] == number, found == number
                if truth.any():
                    regions.append((mask & truth).sum() / (mask | truth).sum())
                    boundaries.append(boundary_f(mask, truth))
    return Followed(100 * float(np.mean(regions)), 100 * float(np.mean(boundaries)), len(regions))


def camvid_clips(folder: Path, classes: ClassTable, every: int, reach: int) -> list[KeyFrame]:
    """Key frames of CamVid's 15 Hz sequence; wanted are their neighbours `reach` files away."""
    files = sorted((folder / "val15hz").glob("*.png"))
    keys = []
    for key in range(0, len(files), every):
        offsets = [o for o in range(-reach, reach + 1) if 0 <= key + o < len(files)]
        annotated = folder / "val15hzannot" / files[key].name
        label = classes.to_train_ids(read_label(annotated), annotated)
        images = {o: files[key + o] for o in offsets}
        keys.append(KeyFrame(files[key].stem, label, None, images, frozenset(o for o in offsets if abs(o) == reach)))
    return keys


@dataclass(frozen=True)
class Propagation:
    """In percent: mIoU over all true pixels, the same with unclaimed pixels filled, and the share that is claimed."""

    miou: float
    filled: float
    coverage: float


def propagate_camvid(propagator: Propagator, folder: Path, classes: ClassTable, every: int, reach: int) -> Propagation:
    """Labels carried `reach` files (of two video frames each) to both sides, against the human labels there."""
    number = len(classes.names)
    keys = camvid_clips(folder, classes, every, reach)
    plain, filled = (np.zeros((number, number + 1), np.int64) for _ in range(2))
    for position, offset, made in propagator.propagate(iter(keys)):
        if abs(offset) != reach:
            continue
        image = keys[position].images[offset]
        file = folder / "val15hzannot" / image.name
        truth = classes.to_train_ids(read_label(file), file)
        plain += confusion_matrix(truth, made.label, number)
        filled += confusion_matrix(truth, nearest_filled(made.label), number)
    return Propagation(*(100 * v for v in (mean(iou_per_class(plain)), mean(iou_per_class(filled)), coverage(plain))))


def nearest_filled(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A label whose unclaimed pixels have the train id of the nearest claimed one."""
    unclaimed = label == IGNORE
    if not unclaimed.any() or unclaimed.all():
        return label
    _, nearest = cv2.distanceTransformWithLabels(
        unclaimed.view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(int(nearest.max()) + 1, np.uint8)
    source[nearest[~unclaimed]] = label[~unclaimed]
    return source[nearest]
