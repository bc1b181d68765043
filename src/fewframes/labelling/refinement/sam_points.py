"""The paper's refinement (section 4): two random points in each object, a mask that SAM makes of them, fed back twice.

Nothing is added: whatever SAM makes replaces the object's coarse mask, however implausible. What the paper leaves open
is a setting, see `SamSettings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewframes.core.labels import ClassTable
from fewframes.labelling.refinement.sam.refiner import SamRefiner
from fewframes.labelling.refinement.sam.settings import PointsSettings, parse


def build(settings: Mapping[str, Any], classes: ClassTable, housekeeping: Mapping[str, Any]) -> SamRefiner:
    """The refiner `sam_points`; raises `UserError` for settings that are none, and for weights that are not there."""
    return SamRefiner("sam_points", *parse(PointsSettings, settings, housekeeping, "sam_points"), classes)
