"""Experiments as data: the paper's schemes, read from a YAML catalogue.

A scheme says which frames of a clip are trained on and which labels they carry. The catalogue maps an
experiment's id to its recipe; a new experiment is one more line there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fewframes.core.errors import UserError

_ID = re.compile("[a-z0-9-]+")


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

    def draws_of(self, draws: Sequence[int]) -> list[int]:
        """The draws that differ: one of them where every clip is taken and labelled alike, as in N1."""
        drawn = (self.clips == "matched" and len(self.offsets) > 1) or 0 < self.coarse_percent < 100
        return list(draws if drawn else draws[:1])

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


def experiment_from(id_: str, recipe: Any, path: str | Path = "settings") -> Experiment:
    """An experiment from its recipe; `path` is where the recipe stands, for the error."""

    def refuse(fault: str) -> UserError:
        return UserError(f"{path}: '{id_}': {fault}.")

    if not _ID.fullmatch(id_):
        raise refuse("an id is small letters, digits and hyphens")
    if not isinstance(recipe, Mapping):
        raise refuse("a recipe maps keys to values, such as {offsets: [0]}")
    known = ("name", "offsets", "coarse_percent", "labels", "clips")
    for key in recipe:
        if key not in known:
            raise refuse(f"'{key}' is an unknown key; known are {', '.join(known)}")
    offsets = recipe.get("offsets", [0])
    if not isinstance(offsets, list | tuple) or not offsets or not all(type(o) is int for o in offsets):
        raise refuse("offsets must be a list of whole numbers")
    if len(set(offsets)) != len(offsets):
        raise refuse("offsets must be different")
    percent = recipe.get("coarse_percent", 0)
    if type(percent) is not int or not 0 <= percent <= 100:
        raise refuse("coarse_percent must be a whole number from 0 to 100")
    for key, values in (("labels", ("raw", "refined")), ("clips", ("matched", "all"))):
        if recipe.get(key, values[0]) not in values:
            raise refuse(f"{key} must be {' or '.join(values)}")
    if percent and any(offsets):
        raise refuse("coarse labels and propagated frames cannot be mixed")
    return Experiment(
        id=id_,
        name=str(recipe.get("name", id_)),
        offsets=tuple(sorted(offsets)),
        coarse_percent=percent,
        labels=recipe.get("labels", "raw"),
        clips=recipe.get("clips", "matched"),
    )
