"""What methods that run a model share: what labels are known by, and what is noted. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewframes.core.weights import Weights
from fewframes.labelling.models.checkpoint import PACKAGES, RANDOM, chosen_weights, config_digest


@dataclass(frozen=True)
class ModelHousekeeping:
    """How such a method runs: nothing depends on it but time and memory.

    `max_batch`: how many points, prompts or tracks are decoded at once, 0 leaves it to the device. `device`: auto, cpu
    or cuda. `threads`: of the processor, 0 leaves it to torch; on a GPU,
    SAM 2 decodes frames ahead in one less. `weights_folder`: where published weights lie.
    """

    max_batch: int = 0
    device: str = "auto"
    threads: int = 0
    weights_folder: str = "weights"


@dataclass(frozen=True)
class ChosenModel:
    """A method's weights, as they are `named` and the file of them (None: drawn at random), and its configuration."""

    named: str
    weights: Weights | None
    config: str

    @classmethod
    def of(cls, named: str, config: str, run: ModelHousekeeping, key: str) -> ChosenModel:
        """What `weights` and `config` at `key` of the config name; see `chosen_weights`, whose errors it raises."""
        weights, config = chosen_weights(named, config, Path(run.weights_folder), PACKAGES[key], key)
        return cls(named, weights, config)

    @property
    def random(self) -> bool:
        """Whether the weights are drawn at random."""
        return self.weights is None

    @property
    def path(self) -> Path | None:
        """The file of weights, where there is one."""
        return self.weights.path if self.weights else None

    @property
    def said(self) -> str:
        """The weights, in the words of a log."""
        return self.named if self.weights else "RANDOM weights: labels mean nothing"

    def known_by(self, settings: Any, *, draws: bool = False) -> dict[str, Any]:
        """All the settings, a dataclass, with weights and configuration by their content, wherever they lie.

        Without the seed, where nothing comes of it: the weights are no random ones, and the method draws nothing else.
        """
        weights = self.weights.sha256 if self.weights else RANDOM
        decisive = asdict(settings) | {"weights": weights, "config": config_digest(self.config)}
        if not (self.random or draws):
            del decisive["seed"]
        return decisive

    @property
    def notes(self) -> dict[str, str]:
        """The names of weights and configuration."""
        return {"weights": self.named, "config": self.config}


class RunsModel:
    """A method with a `model`; what it ran on is noted once that is set up."""

    def __init__(self, model: ChosenModel) -> None:
        self._model = model
        self._ran_on: Mapping[str, str] = {}

    @property
    def notes(self) -> Mapping[str, Any]:
        """Names of weights and configuration, and what it ran on."""
        return {**self._model.notes, **self._ran_on}

    @property
    def random_weights(self) -> bool:
        """Whether the weights are drawn at random."""
        return self._model.random
