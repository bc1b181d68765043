"""Weights, of SAM, SAM 2 and the networks to train: that they are there, whole and right, and can be loaded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.weights import Published, registry, resolve
from fewframes.doctor.case import Case
from fewframes.doctor.report import FAULT, WARNING, Group
from fewframes.labelling.models.checkpoint import (
    PACKAGES,
    SAM,
    check_config,
    chosen_weights,
    published_weights,
)
from fewframes.labelling.refinement import method_of

_FLOAT = 4
"""Bytes a number: networks are kept in 32 bits."""
_MOMENTS = {"sgd": 1, "adamw": 2}
"""Numbers that an optimiser keeps for each parameter."""


@dataclass(frozen=True)
class Size:
    """Bytes that a training of a network writes: the finished model, and a checkpoint on the way."""

    model: int
    checkpoint: int


def examine_weights(case: Case) -> tuple[Group, dict[str, Size]]:
    """Check the models that label, and each network to train; returns what the networks take on disk."""
    group = Group("Weights")
    told = []
    for stage, made in (("propagation", "pseudo"), ("refinement", "refined")):
        for method in dict.fromkeys(map(method_of, case.study.labelled[made])):
            if case.study.methods.needs_weights(stage, method):
                key, block = f"{stage}.{method}", case.config[stage][method]
                told.append(_examine_model(group, key, block, case.config["weights"]))
                if told[-1]:
                    _ask(group, f"{key}.weights", functools.partial(case.study.methods.check_weights, stage, method))
    sizes: dict[str, Size] = {}
    for name, block in case.config["training"].items() if case.study.experiments else ():
        size, start = _examine_network(group, name, block, len(case.source.classes.names), case.config["weights"])
        if size:
            sizes[name] = size
            told.append(f"{name}: {size.model / _FLOAT / 1e6:.1f} million numbers, starting from {start}")
    if not any(finding.severity == FAULT for finding in group.findings):
        _ask(group, "training", case.study.trainings.check_weights)
    group.summary = "; ".join(filter(None, told)) or ("" if group.findings else "nothing is to be trained")
    return group, sizes


def _ask(group: Group, key: str, check: Callable[[], None]) -> None:
    """Ask what the workflow itself says of weights before anything runs, those that are away since among them."""
    try:
        check()
    except UserError as error:
        group.refused("weights that the workflow refuses", key, error)


def _examine_model(group: Group, key: str, block: Mapping[str, Any], folder: str) -> str:
    """Check a method's model, `key` in the config, whose published weights lie in `folder`; returns a few words."""
    name, config, package = block["weights"], block["config"], PACKAGES[key]
    path = None
    try:
        entry = published_weights(name, package, key)
        check_config(config, entry, package, key)
        if entry is not None and not entry.shipped and not entry.at(folder).exists():
            _note_unfetched(group, entry, folder)
            if not config:
                return f"{key}: {name}, to be fetched"
        else:
            weights, config = chosen_weights(name, config, Path(folder), package, key)
            path = weights.path if weights else None
    except UserError as error:
        group.refused(f"weights that {key} cannot use", name, error)
        return ""
    try:
        numbers = _numbers(package, config, path, block)
    except UserError as error:
        what = (
            "weights that do not fit" if path and "do not fit" in str(error) else "configurations that cannot be built"
        )
        group.refused(what, str(path) if path and "do not fit" in str(error) else config, error)
        return ""
    return f"{key}: {numbers / 1e6:.1f} million numbers, {name} as {config}"


def _numbers(package: str, config: str, path: Path | None, block: Mapping[str, Any]) -> int:
    """Build the model, with its weights where there is a file, and count."""
    # They take seconds to import, and only a study with such a method needs them.
    from fewframes.labelling.models import sam, sam2

    if package == SAM:
        model = sam.build_model(config, path)
    else:
        model = sam2.build_model(config, path, image_size=block["image_size"] or None)
    return sum(p.numel() for p in model.parameters())


def _note_unfetched(group: Group, entry: Published, folder: str) -> None:
    mend = (
        "The rule `weights` fetches them before the first job that needs them, on the machine that runs snakemake, "
        f"which must have network. Else run `fewframes fetch {entry.name} --folder {folder}` on one that has, and copy "
        "the file."
    )
    path = str(Path(folder) / entry.file)
    group.add(WARNING, "published weights that are not fetched yet", path, mend, f"{entry.size / 1e6:.0f} MB")


def _examine_network(
    group: Group, name: str, block: Mapping[str, Any], classes: int, folder: str
) -> tuple[Size | None, str]:
    """Check a network of the config's `training`, whose published weights lie in `folder`.

    Returns what it takes on disk, and what it starts from.
    """
    settings = {"name": name, **block.get("network", {})}
    key = f"training.{name}.network.pretrained"
    checksum = block.get("pretrained_sha256") or ""
    if checksum and not settings.get("pretrained"):
        mend = "Name the file of weights that it is of, or set the checksum to null."
        group.add(FAULT, "checksums of no weights", f"training.{name}.pretrained_sha256", mend, f"{key} is null")
    named = settings.get("pretrained")
    path = _usable(group, key, named, folder, checksum) if named else None
    size = _size(group, name, key, settings | {"pretrained": path}, block, classes)
    return size, Path(named).name if named else "random weights"


def _usable(group: Group, key: str, named: str, folder: str, checksum: str) -> str | None:
    """The file of weights `named` by path, or published and in `folder`; None, and a finding, where it is no use."""
    entry = registry().get(named)
    path = entry.at(folder) if entry else Path(named)
    if not path.is_file():
        if entry:
            _note_unfetched(group, entry, folder)
        else:
            mend = "Put the file there, or correct the key; null starts from random weights."
            group.add(FAULT, "weights that are absent", named, mend, key)
        return None
    try:
        resolve(named, folder, checksum)
    except UserError as error:
        group.refused("weights of a wrong checksum", str(path), error)
        return None
    return str(path)


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
