"""The ignore policy: which of what was tracked is claimed. Changing it needs no new tracking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import IGNORE
from fewframes.labelling.propagation import Propagated
from fewframes.labelling.propagation.layers import labels_of


@dataclass(frozen=True)
class Policy:
    """What is left unclaimed; as it stands nothing is, as in the paper.

    A pixel is where its confidence (the margin to the next class, from 0 to 1) is below `min_confidence`, and where
    the object it belongs to is in the frame with less than the probability `min_presence`, or has changed its area
    by more than the factor `max_jump` between two neighbouring frames on the way out (0: however much).
    `fewframes signals` measures what to set.
    """

    min_confidence: float = 0.0
    min_presence: float = 0.0
    max_jump: float = 0.0


def claimed(made: Propagated, policy: Policy) -> NDArray[np.uint8]:
    """The label, `uint8 [H, W]` train ids, that a policy leaves of the objects and maps of what was tracked."""
    doubted = made.objects["presence"] < policy.min_presence
    if policy.max_jump:
        doubted |= made.objects["jump"] > policy.max_jump
    label = labels_of(made.maps["object"], np.where(doubted, np.uint8(IGNORE), made.objects["train_id"]))
    label[made.maps["confidence"] < 255 * policy.min_confidence] = IGNORE
    return label
