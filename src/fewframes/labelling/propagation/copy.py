"""The key frame's label as it is, on every neighbour: the baseline that any other method must beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import ClassTable
from fewframes.labelling.methods import parse_settings
from fewframes.labelling.propagation import Propagated
from fewframes.labelling.propagation.onebyone import OneByOne


@dataclass(frozen=True)
class CopyPropagator(OneByOne):
    """Copies the label; it has no settings."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings, defaults too."""
        return asdict(self)

    def carry(self, label: NDArray[np.uint8], frames: Iterator[NDArray[np.uint8]]) -> Iterator[Propagated]:
        """Yield the key frame's label once a neighbour."""
        next(frames)
        for _ in frames:
            yield Propagated(label.copy())


def build(settings: Mapping[str, Any], _classes: ClassTable, _housekeeping: Mapping[str, Any]) -> CopyPropagator:
    """The propagator `copy`."""
    return parse_settings(CopyPropagator, settings, "propagation 'copy'")
