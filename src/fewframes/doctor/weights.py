"""The networks to train: that they can be built, and that their weights are there, whole and the right ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.weights import check_weights
from fewframes.doctor.report import FAULT, Group

_FLOAT = 4
"""Bytes a number: networks are kept in 32 bits."""
_MOMENTS = {"sgd": 1, "adamw": 2}
"""Numbers that an optimiser keeps for each parameter."""


@dataclass(frozen=True)
class Size:
    """Bytes that a training of a network writes: the finished model, and a checkpoint on the way."""

    model: int
    checkpoint: int


def examine_weights(training: Mapping[str, Mapping[str, Any]], classes: int) -> tuple[Group, dict[str, Size]]:
    """Check each network in the config's `training`, for `classes` classes; returns what they take on disk."""
    group = Group("Weights")
    sizes: dict[str, Size] = {}
    told = []
    for name, block in training.items():
        settings = {"name": name, **block.get("network", {})}
        key = f"training.{name}.network.pretrained"
        checksum = block.get("pretrained_sha256") or ""
        if checksum and not settings.get("pretrained"):
            mend = "Name the file of weights that it is of, or set the checksum to null."
            group.add(FAULT, "checksums of no weights", f"training.{name}.pretrained_sha256", mend, f"{key} is null")
        fit = _check_file(group, key, settings.get("pretrained"), checksum)
        size = _size(group, name, key, settings if fit else settings | {"pretrained": None}, block, classes)
        if size:
            sizes[name] = size
            start = Path(settings["pretrained"]).name if settings.get("pretrained") else "random weights"
            told.append(f"{name}: {size.model / _FLOAT / 1e6:.1f} million numbers, starting from {start}")
    group.summary = "; ".join(told)
    return group, sizes


def _check_file(group: Group, key: str, path: str | None, checksum: str) -> bool:
    if not path:
        return True
    if not Path(path).is_file():
        mend = "Put the file there, or correct the key; null starts from random weights."
        group.add(FAULT, "weights that are absent", path, mend, key)
        return False
    try:
        check_weights(path, checksum)
    except UserError as error:
        group.refused("weights of a wrong checksum", path, error)
        return False
    return True


def _size(
    group: Group, name: str, key: str, settings: dict[str, Any], block: Mapping[str, Any], classes: int
) -> Size | None:
    """Build the network, as a training would, and count; nothing where it cannot be built."""
    # Torch takes seconds to import, and only a study that trains needs it.
    from fewframes.learning.networks import AUXILIARY, build_network, parameter_count

    try:
        network = build_network(settings, classes)
    except UserError as error:
        if not settings.get("pretrained"):
            group.refused("networks that cannot be built", f"training.{name}.network", error)
            return None
        blank = _size(group, name, key, settings | {"pretrained": None}, block, classes)
        if blank:
            group.refused("weights that do not fit", str(settings["pretrained"]), error)
        return blank
    state = network.state_dict()
    everything = sum(tensor.numel() for tensor in state.values())
    auxiliary = sum(tensor.numel() for key, tensor in state.items() if key.startswith(f"{AUXILIARY}."))
    moments = _MOMENTS[block.get("optimiser", "sgd")] * parameter_count(network)
    return Size(_FLOAT * (everything - auxiliary), _FLOAT * (everything + moments))
