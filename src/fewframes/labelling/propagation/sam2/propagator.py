"""The propagation method `sam2`, as the driver knows it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import ClassTable
from fewframes.labelling.models.chosen import ChosenModel, ModelHousekeeping, RunsModel
from fewframes.labelling.propagation import KeyFrame, Propagated
from fewframes.labelling.propagation.sam2.policy import Policy, claimed
from fewframes.labelling.propagation.sam2.settings import Sam2Settings


class Sam2Propagator(RunsModel):
    """See `Propagator`; the model is built when there is something to track."""

    def __init__(self, settings: Sam2Settings, policy: Policy, run: ModelHousekeeping, classes: ClassTable) -> None:
        self._settings, self._policy, self._run, self._classes = settings, policy, run, classes
        super().__init__(ChosenModel.of(settings.weights, settings.config, run, "propagation.sam2"))

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides the masks; weights and configuration by content, wherever they lie."""
        decisive = self._model.known_by(self._settings)
        if self._settings.objects == "class":
            del decisive["least_area"], decisive["most_things"]
        return decisive

    @property
    def policy(self) -> Mapping[str, Any]:
        """What decides which masks are claimed."""
        return asdict(self._policy)

    @property
    def uses_instances(self) -> bool:
        """Whether objects are told apart by instance ids."""
        return self._settings.objects != "class"

    def propagate(self, keys: Iterable[KeyFrame]) -> Iterator[tuple[int, int, Propagated]]:
        """See `Propagator`; a clip's results come outward, the clips of a group side by side."""
        keys = iter(keys)
        first = next(keys, None)
        if first is None:
            return
        # Torch takes seconds to import: not where all labels are found as they were.
        from fewframes.labelling.propagation.sam2.groups import track_all
        from fewframes.labelling.propagation.sam2.setup import set_up

        setup = set_up(self._settings, self._run, self._model)
        self._ran_on = setup.notes
        yield from track_all(itertools.chain([first], keys), setup, self._settings, self._policy, self._classes)

    def reclaim(self, made: Propagated) -> NDArray[np.uint8]:
        """The label of what was tracked under another policy."""
        return claimed(made, self._policy)
