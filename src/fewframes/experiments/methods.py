"""The labelling methods of a config: each one's own settings, and the weights that it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fewframes.core.errors import UserError
from fewframes.core.files import canonical_json
from fewframes.core.weights import Published
from fewframes.labelling.models.checkpoint import PACKAGES, RANDOM, check_config, check_configured, published_weights
from fewframes.labelling.refinement import method_of

HOUSEKEEPING = (
    *("cache_mb", "channels_last", "checkpoint_every", "compile", "pretrained_sha256", "processes"),
    *("weights_folder", "workers"),
    *("max_batch", "images_at_once", "device"),
)
"""Settings that change how a stage runs and must make nothing due. Of what comes out they change rounding at the most,
but for `processes`: each has its own chance (dropout), and seeks hard pixels (OHEM) in its own part of a batch."""


class Stage(NamedTuple):
    """A stage that labels: what its rule is called (and its folder of shards), and its block in the config."""

    rule: str
    block: str


STAGES: Mapping[str, Stage] = {
    "pseudo": Stage("propagate", "propagation"),
    "refined": Stage("refine", "refinement"),
}
"""Which stage labels the clips that the plan deals to shards, by its folder of labels."""


class Methods:
    """The methods of `propagation` and `refinement` (the stages); what is fetched is noted below `folder`.

    A variant of a method has its settings and weights.
    """

    def __init__(self, config: Mapping[str, Any], folder: str) -> None:
        self._config, self._folder = config, folder
        self.weights_folder: str = config["weights"]

    def settings(self, stage: str, method: str) -> str:
        """A method's settings as canonical JSON."""
        return canonical_json(without_housekeeping(self._block(stage, method)))

    def housekeeping(self, stage: str, method: str) -> str:
        """Its other settings: how it runs, which no label depends on."""
        folder = {"weights_folder": self.weights_folder} if self.needs_weights(stage, method) else {}
        return canonical_json({**housekeeping_of(self._block(stage, method)), **folder})

    def needs_weights(self, stage: str, method: str) -> bool:
        """Whether it runs a network."""
        return _key(stage, method) in PACKAGES

    def needs_gpu(self, stage: str, method: str) -> bool:
        """Whether it is to run on a GPU."""
        return self.needs_weights(stage, method) and self._block(stage, method)["device"] != "cpu"

    def waits_for(self, stage: str, method: str) -> list[str]:
        """Published weights to be fetched, or a local file of them, and a configuration of one's own."""
        if not self.needs_weights(stage, method):
            return []
        weights, config = self._named(stage, method)
        files = [config] if _is_yaml(config) else []
        if weights != RANDOM:
            entry = self._published(stage, method)
            if entry is None or not entry.shipped:
                files.append(self._fetched(weights) if entry else weights)
        return files

    def random(self, stage: str, methods: Iterable[str]) -> list[str]:
        """Those of the methods whose labels mean nothing."""
        return [m for m in methods if self.needs_weights(stage, m) and self._named(stage, m)[0] == RANDOM]

    def check_weights(self, stage: str, method: str) -> None:
        """Raise `UserError` for weights that are none, before hours of work are spent on others."""
        if not self.needs_weights(stage, method):
            return
        key = _key(stage, method)
        weights, config = self._named(stage, method)
        if _is_yaml(config) and not Path(config).is_file():
            raise UserError(f"The configuration {config} does not exist: correct {key}.config in the config.")
        if weights == RANDOM:
            if not self._config["allow_random_weights"]:
                raise UserError(
                    f"config: {key}.weights is random, and such labels mean nothing: name weights, or, for a test of "
                    "the workflow, set allow_random_weights."
                )
            check_configured(config, key)
            check_config(config, None, PACKAGES[key], key)
            return
        entry = self._published(stage, method)
        check_config(config, entry, PACKAGES[key], key)
        if entry is None and not Path(weights).is_file():
            raise UserError(
                f"The weights {weights} do not exist: correct {key}.weights in the config, or name published ones "
                "(docs/reference/weights.md)."
            )
        if entry:
            check_fetched(entry, self._fetched(weights), self.weights_folder)

    def _block(self, stage: str, method: str) -> Mapping[str, Any]:
        block: Mapping[str, Any] = self._config[stage].get(method_of(method), {})
        return block

    def _named(self, stage: str, method: str) -> tuple[str, str]:
        block = self._block(stage, method)
        return block["weights"], block["config"]

    def _published(self, stage: str, method: str) -> Published | None:
        key = _key(stage, method)
        return published_weights(self._named(stage, method)[0], PACKAGES[key], key)

    def _fetched(self, weights: str) -> str:
        """The file that says that published weights were fetched."""
        return f"{self._folder}/weights/{weights}.fetched"


def check_fetched(entry: Published, noted: str, folder: str) -> None:
    """Raise `UserError` where published weights were fetched into `folder`, as the file `noted` says, and are gone."""
    if Path(noted).is_file() and not entry.at(folder).is_file():
        raise UserError(
            f"The weights {folder}/{entry.file} were fetched and are gone: run `fewframes fetch {entry.name} --folder "
            f"{folder}`, or put the file back."
        )


def without_housekeeping(block: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a block that results depend on."""
    return {k: v for k, v in block.items() if k not in HOUSEKEEPING}


def housekeeping_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a block that nothing depends on."""
    return {k: v for k, v in block.items() if k in HOUSEKEEPING}


def _key(stage: str, method: str) -> str:
    """What a method's settings are called in the config."""
    return f"{stage}.{method_of(method)}"


def _is_yaml(config: str) -> bool:
    return Path(config).suffix in (".yaml", ".yml")
