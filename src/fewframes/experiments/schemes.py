"""Experiments as data: the paper's schemes, read from a YAML catalogue.

A scheme says which frames of a clip are trained on and which labels they carry. The catalogue maps an
experiment's id to its recipe; a new experiment is one more line there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fewframes.core.errors import UserError


@dataclass(frozen=True)
class Experiment:
    """One training mixture.

    `offsets`: the frames of each clip, in frames from the key frame (0 = the annotation itself, others are
    pseudo-labels). `coarse_percent`: the share of samples whose key frame carries its coarse label, `labels`
    `raw` as it is or `refined`. `clips`: `matched` keeps the number of samples at N, the number of eligible
    clips, by taking ceil(N / len(offsets)) clips (the paper's section 5.1); `all` takes every clip.
    """

    id: str
    name: str
    offsets: tuple[int, ...] = (0,)
    coarse_percent: int = 0
    labels: str = "raw"
    clips: str = "matched"

    @property
    def pseudo_offsets(self) -> tuple[int, ...]:
        """The offsets whose labels are made by propagation."""
        return tuple(o for o in self.offsets if o)

    @property
    def family(self) -> str:
        """What must exist before its manifest: `annotated` (nothing), `propagated` or `refined`."""
        if self.pseudo_offsets:
            return "propagated"
        return "refined" if self.labels == "refined" else "annotated"

    @property
    def recipe(self) -> dict[str, Any]:
        """What it trains on, as plain data: all but its id and name."""
        return {k: v for k, v in vars(self).items() if k not in ("id", "name")}

    def clip_count(self, eligible: int) -> int:
        """How many of the eligible clips it trains on: ceil(N / k) where the sample count is matched."""
        return eligible if self.clips == "all" else -(-eligible // len(self.offsets))

    def coarse_count(self, samples: int) -> int:
        """How many of the samples carry coarse labels: the percentage, rounded half up."""
        return (samples * self.coarse_percent * 2 + 100) // 200


FAMILIES = ("annotated", "propagated", "refined")


def load_catalogue(path: str | Path) -> dict[str, Experiment]:
    """Read the catalogue; raises `UserError` naming the experiment and key that are wrong."""
    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not a readable catalogue of experiments ({error}).") from error
    if not isinstance(entries, Mapping):
        raise UserError(f"{path} must map experiment ids to recipes.")
    return {str(id_): experiment_from(str(id_), recipe, path) for id_, recipe in entries.items()}


def chosen(catalogue: Mapping[str, Experiment], ids: list[str]) -> list[Experiment]:
    """The experiments of these ids, in their order; raises `UserError` for an id the catalogue lacks."""
    for id_ in ids:
        if id_ not in catalogue:
            raise UserError(f"Experiment '{id_}' is unknown: choose from {', '.join(catalogue)}.")
    return [catalogue[id_] for id_ in dict.fromkeys(ids)]


def experiment_from(id_: str, recipe: Mapping[str, Any], path: str | Path = "settings") -> Experiment:
    """An experiment from its recipe; `path` is where the recipe stands, for the error."""
    known = {"name", "offsets", "coarse_percent", "labels", "clips"}
    unknown = set(recipe) - known
    if unknown:
        raise UserError(f"{path}: '{id_}' has the unknown key '{min(unknown)}'; known are {', '.join(sorted(known))}.")
    experiment = Experiment(
        id=id_,
        name=str(recipe.get("name", id_)),
        offsets=tuple(sorted(recipe.get("offsets", (0,)))),
        coarse_percent=int(recipe.get("coarse_percent", 0)),
        labels=str(recipe.get("labels", "raw")),
        clips=str(recipe.get("clips", "matched")),
    )
    faults = {
        "offsets must be different whole numbers": len(set(experiment.offsets)) != len(experiment.offsets)
        or not experiment.offsets,
        "coarse_percent must lie between 0 and 100": not 0 <= experiment.coarse_percent <= 100,
        "labels must be raw or refined": experiment.labels not in ("raw", "refined"),
        "clips must be matched or all": experiment.clips not in ("matched", "all"),
        "coarse labels and propagated frames cannot be mixed": bool(
            experiment.coarse_percent and experiment.pseudo_offsets
        ),
    }
    for fault, present in faults.items():
        if present:
            raise UserError(f"{path}: '{id_}': {fault}.")
    return experiment
