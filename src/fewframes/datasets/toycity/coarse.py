"""Coarse annotations as people draw them in seven minutes: well inside objects, few corners, small things left out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fewframes.datasets.toycity.camera import Polygon
from fewframes.datasets.toycity.draw import Frame

Mask = NDArray[np.uint8]


def coarse_objects(frame: Frame, things: frozenset[str], rng: Generator) -> list[tuple[str, Polygon]]:
    """Coarse (label, polygon) pairs of a frame, stuff before things.

    `things` names the classes with instances: theirs stay apart, except that neighbours are at times
    drawn as one and called `...group`, as Cityscapes does; stuff of one class is one region.
    """
    labels = [label for label, _ in frame.objects]
    regions: list[tuple[str, Mask]] = []
    for label in sorted(set(labels) - things):
        regions.append((label, _mask(frame, [i for i, own in enumerate(labels) if own == label])))
    for label in sorted(set(labels) & things):
        group: list[int] = []
        for i in [i for i, own in enumerate(labels) if own == label]:
            if group and (rng.random() > 0.35 or not _touch(frame, group[-1], i)):
                regions.append((label + "group" * (len(group) > 1), _mask(frame, group)))
                group = []
            group.append(i)
        regions.append((label + "group" * (len(group) > 1), _mask(frame, group)))
    drawn = []
    for label, mask in regions:
        drawn += [(label, polygon) for polygon in _inside(mask, rng)]
    return drawn


def _mask(frame: Frame, members: list[int]) -> Mask:
    return np.isin(frame.owner, np.array(members) + 1).astype(np.uint8)


def _touch(frame: Frame, one: int, other: int) -> bool:
    grown = np.asarray(cv2.dilate(_mask(frame, [one]), np.ones((5, 5), np.uint8)), np.uint8)
    return bool((grown & _mask(frame, [other])).any())


def _inside(mask: Mask, rng: Generator) -> list[Polygon]:
    """Simple polygons within the mask, away from its boundary; none where it is small or thin."""
    height, width = mask.shape
    # Annotators keep some 18 pixels off a boundary at 2048 wide; a corner may be cut by as much again, less one.
    margin = max(1, round(0.009 * width * rng.uniform(0.8, 1.4)))
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    core = _slit(np.asarray(cv2.erode(mask, pen), np.uint8))
    polygons = []
    for outline in cv2.findContours(core, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        if cv2.contourArea(outline) < 0.0006 * height * width:
            continue
        corners = cv2.approxPolyDP(outline, margin - 0.5, True)[:, 0]
        if len(corners) >= 3:
            polygons.append([(int(x), int(y)) for x, y in corners])
    return polygons


def _slit(core: Mask) -> Mask:
    """The mask with a cut from every hole to the rim, since a polygon has no holes."""
    core = core.copy()
    outlines, tree = cv2.findContours(core, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for outline, (_, _, _, parent) in zip(outlines, [] if tree is None else tree[0], strict=True):
        if parent >= 0:
            x, y = outline[outline[:, 0, 1].argmax(), 0]
            core[y:, max(0, x - 1) : x + 2] = 0
    return core
