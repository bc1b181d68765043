"""The trainings of a config: each network's own settings, and what its trainings wait for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewframes.core.clips import stamp
from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json
from fewframes.core.weights import Published, registry
from fewframes.experiments.methods import check_fetched, housekeeping_of, without_housekeeping

_BACKBONES = {"tdnet": "resnet18"}
"""What a network is built on, where it is not its own choice: published weights must be of that."""


class Trainings:
    """The blocks of `training` in a config; runs and what is fetched are below `folder`."""

    def __init__(self, config: Mapping[str, Any], folder: str) -> None:
        blocks: Mapping[str, Mapping[str, Any]] = config["training"]
        self._blocks = {name: {k: v for k, v in block.items() if k != "experiments"} for name, block in blocks.items()}
        self._only = {name: block["experiments"] for name, block in blocks.items() if block.get("experiments")}
        self._weights_folder: str = config["weights"]
        self._folder = folder
        self.networks = list(self._blocks)
        for network in self.networks:
            self._check(network)
        for network, only in self._only.items():
            if unknown := next((id_ for id_ in only if id_ not in config["experiments"]), ""):
                raise UserError(
                    f"config: training.{network}.experiments names '{unknown}', which is not among `experiments`: add "
                    "it there, or leave it out here."
                )

    @property
    def past_frames(self) -> int:
        """Memory frames a sample needs: the most that any network reads."""
        return max((_past_frames(self._structure(network)) for network in self.networks), default=1)

    def takes(self, network: str, experiment: str) -> bool:
        """Whether a network is trained on an experiment of the config."""
        return experiment in self._only.get(network, [experiment])

    def settings(self, network: str, run: str) -> str:
        """Settings of `fewframes train`: all that the result depends on. `run` is `<experiment>/draw<j>-seed<k>`."""
        block = without_housekeeping(self._blocks[network])
        structure = {"name": network, **self._structure(network)}
        if teacher := self._teacher(network, run):
            block["teacher"] = teacher
        return canonical_json({**block, "network": structure})

    def housekeeping(self, network: str) -> str:
        """The other settings of `fewframes train`: how it runs, which no result depends on."""
        block = housekeeping_of(self._blocks[network])
        block.pop("device", None)
        return canonical_json({**block, "weights_folder": self._weights_folder})

    def waits_for(self, network: str, run: str) -> list[str]:
        """What a run reads beside its manifest: that backbone weights were fetched, and the teacher's model."""
        entry, teacher = self._published(network), self._teacher(network, run)
        return [*([self._fetched(entry)] if entry else []), *([teacher] if teacher else [])]

    def stamp(self, network: str) -> str:
        """What tells that a local file of backbone weights changed; empty where there is none."""
        named = self._structure(network).get("pretrained")
        return stamp(Path(), [named]) if named and not self._published(network) else ""

    def check_weights(self) -> None:
        """Raise `UserError` for backbone weights that are none, before hours of work are spent on others."""
        for network in self.networks:
            named, entry = self._structure(network).get("pretrained"), self._published(network)
            if entry:
                check_fetched(entry, self._fetched(entry), self._weights_folder)
            elif named and not Path(named).is_file():
                raise UserError(
                    f"{named} does not exist: correct training.{network}.network.pretrained in the config, or name "
                    "published weights (docs/reference/weights.md)."
                )

    def device(self, network: str) -> str:
        """Where it trains: auto, cpu or cuda."""
        return str(self._blocks[network].get("device", "auto"))

    def gpus(self, network: str) -> int:
        """GPUs that a training asks for, one for each process that shares its batches."""
        return 0 if self.device(network) == "cpu" else int(self._blocks[network].get("processes", 1))

    def _structure(self, network: str) -> Mapping[str, Any]:
        structure: Mapping[str, Any] = self._blocks[network].get("network", {})
        return structure

    def _published(self, network: str) -> Published | None:
        return registry().get(self._structure(network).get("pretrained") or "")

    def _fetched(self, entry: Published) -> str:
        """The file that says that published weights were fetched."""
        return f"{self._folder}/weights/{entry.name}.fetched"

    def _teacher(self, network: str, run: str) -> str:
        """The teacher's file: the same run's of another network, so that both learn from the same labels, or any."""
        named: str | None = self._blocks[network].get("teacher")
        return f"{self._folder}/runs/{named}/{run}/model.safetensors" if named in self._blocks else named or ""

    def _check(self, network: str) -> None:
        """Raise `UserError` for what cannot be trained, before hours of work are spent on others."""
        named: str = self._blocks[network].get("teacher") or ""
        key = f"config: training.{network}.teacher is '{named}'"
        if named in self._blocks and (named == network or self._blocks[named].get("teacher")):
            raise UserError(f"{key}, which has a teacher or is the pupil itself: name a network that learns alone.")
        if named in self._blocks:
            told, seen = self._structure(named), self._structure(network)
            sees = 0 if seen.get("memory_frame") == "self" else _past_frames(seen)
            if told.get("memory_frame") != "self" and _past_frames(told) > sees:
                raise UserError(
                    f"{key}, which reads {_past_frames(told)} past frames, and its pupil sees {sees}: choose another."
                )
        if named and named not in self._blocks and not Path(named).is_file():
            raise UserError(f"{key}, no file of a trained model and no network of this config: correct it.")
        entry = self._published(network)
        backbone = _BACKBONES.get(network) or self._structure(network).get("backbone", "")
        if entry and (entry.package not in ("timm", "torchvision") or entry.config != backbone):
            raise UserError(
                f"config: training.{network}.network.pretrained is {entry.name}, weights of {entry.config}, and the "
                f"network is built on {backbone}: name weights of that."
            )


def _past_frames(network: Mapping[str, Any]) -> int:
    """How many frames before the current one a network sees: TDNet's window counts the current one too."""
    window: int = network.get("window", 2)
    past: int = network.get("past_frames", window - 1)
    return past
