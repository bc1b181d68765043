"""SAM 2: the objects of a key frame tracked to its neighbours, many tracks at a time, each direction by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fewframes.core.labels import ClassTable

if TYPE_CHECKING:
    from fewframes.labelling.propagation.sam2.propagator import Sam2Propagator


def build(settings: Mapping[str, Any], classes: ClassTable, housekeeping: Mapping[str, Any]) -> Sam2Propagator:
    """The propagator `sam2`; raises `UserError` for settings that are none, and for weights that are not there."""
    # Here, so that the processes that decode frames need not import it.
    from fewframes.labelling.propagation.sam2.propagator import Sam2Propagator
    from fewframes.labelling.propagation.sam2.settings import parse

    return Sam2Propagator(*parse(settings, housekeeping), classes)
