"""The coarse label as it is: the baseline that any other method must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import ClassTable
from fewframes.labelling.methods import parse_settings
from fewframes.labelling.refinement import Refined
from fewframes.labelling.refinement.onebyone import OneByOne


@dataclass(frozen=True)
class NoRefiner(OneByOne):
    """Leaves the label alone; it has no settings."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings, defaults too."""
        return asdict(self)

    def refine(
        self, image: NDArray[np.uint8], coarse: NDArray[np.uint8], instances: NDArray[np.int32] | None
    ) -> Refined:
        """Return a copy of the coarse label."""
        return Refined(coarse.copy())


def build(settings: Mapping[str, Any], _classes: ClassTable, _housekeeping: Mapping[str, Any]) -> NoRefiner:
    """The refiner `none`."""
    return parse_settings(NoRefiner, settings, "refinement 'none'")
