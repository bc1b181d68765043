"""How to train: the settings of a training, checked, and those that the published networks were trained with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.files import content_hash
from fewframes.core.weights import FOLDER, Weights, resolve
from fewframes.experiments.methods import HOUSEKEEPING

_LEAST = {
    1: ("iterations", "batch_size", "checkpoint_every", "accumulate", "processes"),
    0: ("lr", "min_lr", "momentum", "weight_decay", "aux_weight", "teacher_weight", "workers", "cache_mb"),
}
_CHOICES = {
    "optimiser": ("sgd", "adamw"),
    "loss": ("cross_entropy", "ohem"),
    "precision": ("float32", "bfloat16"),
}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; the defaults are TMANet's published ones for Cityscapes, with the paper's 40,000 iterations.

    `workflow/schemas/config.schema.yaml` says what each is. Here `network` is what `build_network` takes, its name
    among it, `teacher` is always a file, and `weights_folder` is where published weights lie.
    """

    network: Mapping[str, Any]
    iterations: int = 40_000
    batch_size: int = 8
    accumulate: int = 1
    augmentation: str = "tmanet"
    crop: tuple[int, int] = (769, 769)
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    photometric: bool = True
    optimiser: str = "sgd"
    lr: float = 0.01
    min_lr: float = 1e-4
    power: float = 0.9
    warmup: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_all: bool = True
    step_unused: bool = False
    loss: str = "cross_entropy"
    aux_weight: float = 0.4
    ignore_in_loss_mean: bool = False
    teacher: str | None = None
    teacher_weight: float = 1.0
    precision: str = "float32"
    channels_last: bool = True
    compile: bool = False
    processes: int = 1
    checkpoint_every: int = 500
    workers: int = 2
    cache_mb: float = 512
    pretrained_sha256: str | None = None
    weights_folder: str = FOLDER

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> TrainingSettings:
        """From plain (JSON) settings; raises `UserError` that names a missing, unknown or impossible one."""
        unknown = sorted(settings.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f"training.{unknown[0]} is no setting of a training: remove it or mend its spelling.")
        if "network" not in settings:
            raise UserError("training.network is missing: name the network to train.")
        pairs = {key: tuple(settings[key]) for key in ("crop", "scale") if key in settings}
        parsed = cls(**{**settings, **pairs})
        for least, keys in _LEAST.items():
            for key in keys:
                if getattr(parsed, key) < least:
                    raise UserError(f"training.{key} is {getattr(parsed, key)}: it must be at least {least}.")
        if len(parsed.crop) != 2 or min(parsed.crop) < 1:
            raise UserError(f"training.crop is {list(parsed.crop)}: give height and width in pixels.")
        if len(parsed.scale) != 2 or not 0 < parsed.scale[0] <= parsed.scale[1]:
            raise UserError(f"training.scale is {list(parsed.scale)}: give the smallest and the largest factor.")
        if parsed.pretrained_sha256 and not parsed.network.get("pretrained"):
            raise UserError("training.pretrained_sha256 is given without network.pretrained: name the file it is of.")
        for key, choices in _CHOICES.items():
            if getattr(parsed, key) not in choices:
                raise UserError(f"training.{key} is '{getattr(parsed, key)}': choose {' or '.join(choices)}.")
        if parsed.batch_size % (parsed.accumulate * parsed.processes):
            raise UserError(
                f"training.batch_size is {parsed.batch_size}: it must be a multiple of training.processes times "
                f"training.accumulate, {parsed.processes * parsed.accumulate}."
            )
        if not 0 <= parsed.warmup < parsed.iterations:
            raise UserError(f"training.warmup is {parsed.warmup}: give 0 or more, and less than training.iterations.")
        return parsed

    def rate_at(self, iteration: int) -> float:
        """The learning rate, by iteration from 0."""
        if iteration < self.warmup:
            # Exponentially from a thousandth (TDNet's published code).
            return float(self.lr * 1000 ** (iteration / self.warmup - 1))
        left = 1 - (iteration - self.warmup) / (self.iterations - self.warmup)
        return float((self.lr - self.min_lr) * left**self.power + self.min_lr)

    @property
    def decisive(self) -> dict[str, Any]:
        """What the trained weights depend on, as plain data; files by their content."""
        weights, teacher = self.weights, content_hash(self.teacher) if self.teacher else None
        network = {**self.network, "pretrained": weights.sha256 if weights else None}
        settings = {k: v for k, v in dataclasses.asdict(self).items() if k not in HOUSEKEEPING}
        return {**settings, "network": network, "teacher": teacher}

    @cached_property
    def weights(self) -> Weights | None:
        """The backbone's weights at hand; raises `UserError` where they are absent or not what they must be."""
        named = self.network.get("pretrained")
        return resolve(named, self.weights_folder, self.pretrained_sha256 or "") if named else None
