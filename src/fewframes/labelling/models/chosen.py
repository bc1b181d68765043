"""The model that a method runs: what its labels are known by, and what is noted of it. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from fewframes.core.weights import Weights
from fewframes.labelling.models.checkpoint import PACKAGES, RANDOM, chosen_weights, config_digest


class Named(Protocol):
    """Settings, a frozen dataclass, that name a model."""

    @property
    def weights(self) -> str:
        """A published name, a local file, or `random`."""
        ...

    @property
    def config(self) -> str:
        """A configuration; empty, the one the weights were published for."""
        ...


@dataclass(frozen=True)
class ChosenModel:
    """A method's weights, as they are `named` and the file of them (None: drawn at random), and its configuration."""

    named: str
    weights: Weights | None
    config: str

    @classmethod
    def of(cls, settings: Named, folder: str, key: str) -> ChosenModel:
        """What the settings at `key` of the config name; see `chosen_weights`, whose errors it raises."""
        weights, config = chosen_weights(settings.weights, settings.config, Path(folder), PACKAGES[key], key)
        return cls(settings.weights, weights, config)

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

    def known_by(self, settings: Any) -> dict[str, Any]:
        """All the settings, a dataclass, with weights and configuration by their content, wherever they lie."""
        weights = self.weights.sha256 if self.weights else RANDOM
        return asdict(settings) | {"weights": weights, "config": config_digest(self.config)}

    @property
    def notes(self) -> dict[str, str]:
        """The names of weights and configuration."""
        return {"weights": self.named, "config": self.config}
