"""Objects refined with all that SAM can be told of them: points in and around each, its box, and its coarse mask.

The coarse mask is said softly: coarse outlines are imprecise, so the logits are near 0 along them. As in
`sam_points`, the resulting mask is fed back, with the same points and box; as in `sam_points_guarded`, an object whose
refined mask is implausible keeps its coarse one. That this is better than the paper's two points is to be shown by
measurement; none of its settings was tuned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewframes.core.labels import ClassTable
from fewframes.labelling.refinement.sam.refiner import SamRefiner
from fewframes.labelling.refinement.sam.settings import BoxSettings, parse


def build(settings: Mapping[str, Any], classes: ClassTable, housekeeping: Mapping[str, Any]) -> SamRefiner:
    """The refiner `sam_box`; raises `UserError` for settings that are none, and for weights that are not there."""
    return SamRefiner("sam_box", *parse(BoxSettings, settings, housekeeping, "sam_box"), classes)
