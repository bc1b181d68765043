"""The key frame's label carried along chained dense optical flow.

For every neighbour the flow back to the key frame is composed from the flows between consecutive frames, and the
key frame's label is read once where it points: labels are never resampled twice.

What the flow claims is checked. Each step's flow is compared with its reverse, and a pixel's disagreements along
the chain add up as independent errors do, in squares. The sum counts the more, the less the pixel's colour is
like that of the place in the key frame that it points to: in full where they differ by `colour_tolerance`, half
where by half as much. That is the pixel's drift. Drift does harm only where classes meet, so a pixel is left
unclaimed (255) where its drift exceeds both `max_disagreement` and the distance, in the key frame, from the place
it points to to the nearest pixel of another label. (A plain limit on the disagreement throws away several times
as many pixels for the same mIoU on the rest: it rejects textureless road and sky, whose label is certain.)

Unclaimed as well are pixels that point outside the key frame, or to where its annotation is ignore.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.flow import DenseFlow, compose, disagreement, sample, sample_labels
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.labelling.methods import at_least, parse_settings
from fewframes.labelling.propagation import Propagated
from fewframes.labelling.propagation.onebyone import OneByOne

_NAME = "propagation 'flow'"


@dataclass(frozen=True)
class FlowSettings:
    """Settings of `flow`; `benchmarks/flow_camvid.py` measured the defaults.

    `max_disagreement`: drift in pixels up to which every pixel is claimed, however near another label.
    `colour_tolerance`: mean difference over the channels, in levels of 255, at which disagreement counts in
    full; lower claims fewer pixels, and surer ones. `finest_scale`: of `DenseFlow`; 1 estimates
    flow about four times as fast.
    """

    max_disagreement: float = 1.0
    colour_tolerance: float = 15.0
    finest_scale: int = 0


class FlowPropagator(OneByOne):
    """Carries labels along flow; the map `confidence` falls from 255 to 127 as drift reaches the next label."""

    def __init__(self, settings: FlowSettings) -> None:
        at_least(_NAME, "max_disagreement", settings.max_disagreement, 0.0)
        at_least(_NAME, "colour_tolerance", settings.colour_tolerance, 1.0)
        at_least(_NAME, "finest_scale", settings.finest_scale, 0)
        self._settings = settings
        self._flow = DenseFlow(settings.finest_scale)

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings, defaults too."""
        return asdict(self._settings)

    def carry(self, label: NDArray[np.uint8], frames: Iterator[NDArray[np.uint8]]) -> Iterator[Propagated]:
        """See `OneByOne`; the flow of each pair of consecutive frames is estimated once, both ways."""
        key = nearer = next(frames)
        to_key = np.zeros((*label.shape, 2), np.float32)
        missed = np.zeros(label.shape, np.float32)
        room = _distance_to_other_label(label)
        for frame in frames:
            ahead, back = self._flow.both_ways(nearer, frame)
            missed = np.hypot(sample(missed, back), disagreement(back, ahead))
            to_key = compose(back, to_key)
            claimed = sample_labels(label, to_key)
            unlike = _colour_difference(key, frame, to_key, claimed != IGNORE)
            drift = missed * unlike / self._settings.colour_tolerance
            yield self._checked(claimed, drift, sample(room, to_key))
            nearer = frame

    def _checked(self, label: NDArray[np.uint8], drift: NDArray[np.float32], room: NDArray[np.float32]) -> Propagated:
        sure = (drift <= np.maximum(room, self._settings.max_disagreement)) & (label != IGNORE)
        confidence = np.where(sure, 255.0 * room / (room + drift), 0.0)
        return Propagated(np.where(sure, label, np.uint8(IGNORE)), {"confidence": confidence.astype(np.uint8)})


def _colour_difference(
    key: NDArray[np.uint8],
    frame: NDArray[np.uint8],
    to_key: NDArray[np.float32],
    within: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """How much each 3x3 neighbourhood's colour differs from the place it points to, in levels, `[H, W]`.

    The mean difference over the pixels `within` is taken off first: it is a change of exposure.
    """
    difference = sample(key.astype(np.float32), to_key) - frame
    exposure = np.array(cv2.mean(difference, within.astype(np.uint8))[:3], np.float32)
    mean_of_channels = cv2.transform(np.abs(difference - exposure), np.full((1, 3), 1 / 3))
    return np.asarray(cv2.blur(mean_of_channels, (3, 3)), np.float32)


def _distance_to_other_label(label: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Distance in pixels from each pixel to the nearest of another label (ignore is one), `float32 [H, W]`.

    The frame's border is none: outside it nothing is known to differ.
    """
    distance = np.full(label.shape, np.hypot(*label.shape), np.float32)
    values = np.unique(label)
    for value in values if len(values) > 1 else ():
        same = label == value
        to_others = cv2.distanceTransform(same.astype(np.uint8), cv2.DIST_L2, 3)
        distance[same] = to_others[same]
    return distance


def build(settings: Mapping[str, Any], _classes: ClassTable, _housekeeping: Mapping[str, Any]) -> FlowPropagator:
    """The propagator `flow`."""
    return FlowPropagator(parse_settings(FlowSettings, settings, _NAME))
