"""`sam_points` with a guard: an object whose refined mask is implausible keeps its coarse one, and is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewframes.core.labels import ClassTable
from fewframes.labelling.refinement.sam.refiner import SamRefiner
from fewframes.labelling.refinement.sam.settings import GuardedPointsSettings, parse

_NAME = "sam_points_guarded"


def build(settings: Mapping[str, Any], classes: ClassTable, housekeeping: Mapping[str, Any]) -> SamRefiner:
    """The refiner `sam_points_guarded`; raises `UserError` for settings or weights that are none."""
    return SamRefiner(_NAME, *parse(GuardedPointsSettings, settings, housekeeping, _NAME), classes)
