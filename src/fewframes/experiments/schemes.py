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

from fewframes.core.errors import UserError
from fewframes.core.files import read_yaml
from fewframes.labelling.refinement import ALL_CLASSES

_ID = re.compile("[a-z0-9-]+")


KEYS: Mapping[str, tuple[str, ...]] = {
    "labels": ("raw", "refined"),
    "clips": ("matched", "all", "spread"),
    "coarse_pool": ("train", "train_extra"),
    "fine": ("rest", "all"),
    "selection": ("random", "uniform", "flow", "diversity"),
    "control": ("", "fine", "hours"),
    "refined_classes": ("usual", "all"),
}
"""Keys of a recipe that choose a word, the default first; `OTHER_KEYS` are those that do not."""

OTHER_KEYS = ("name", "offsets", "coarse_percent", "refinement", "filled_by")

MEASURED = ("flow", "diversity")
"""The selections that rest on what is measured of every clip."""

_FIRST_KEYS = ("offsets", "coarse_percent", "labels", "clips")
"""Stated in every recipe, as they were before there were others: what came later makes nothing due elsewhere."""


@dataclass(frozen=True)
class Experiment:
    """One training mixture; N is the number of eligible clips.

    `offsets`: the frames of each clip, in frames from the key frame (0 = the annotation itself, others are
    pseudo-labels). `clips`: `matched` keeps the number of samples at N, by taking ceil(N / len(offsets)) clips (the
    paper's section 5.1); `all` takes every clip; `spread` makes as many samples as `matched`, and deals them over all
    clips. `selection` decides which clips come first (`selection.selected_order`).

    `coarse_percent`: how many samples carry coarse labels, in percent of N, `labels` `raw` as they are or `refined`, by
    the method `refinement`, which where it is empty is the config's; with `refined_classes` `all` by its variant that
    refines every class. They are of the draw's first clips, or with `coarse_pool` `train_extra` of coarsely annotated
    images without a sequence (with `clips` `all`: in percent of all of those); then every sample has its own image as
    memory. `fine`: the `rest` of the clips, those beyond that percentage, have a fine sample each, or `all` of them.

    `filled_by` is the id of an experiment of the very same samples, a network trained on which fills what its
    pseudo-labels leave unlabelled; where that one is filled itself, this is a further round of the same labels.

    A `control` is what a `mixture` is compared with, and has but fine samples: the mixture's own alone (`fine`), or as
    many as its hours of annotation buy (`hours`).
    """

    id: str
    name: str
    offsets: tuple[int, ...] = (0,)
    coarse_percent: int = 0
    labels: str = "raw"
    clips: str = "matched"
    coarse_pool: str = "train"
    fine: str = "rest"
    selection: str = "random"
    refinement: str = ""
    refined_classes: str = "usual"
    filled_by: str = ""
    control: str = ""
    mixture: Experiment | None = None

    @property
    def pseudo_offsets(self) -> tuple[int, ...]:
        """The offsets whose labels are made by propagation."""
        return tuple(o for o in self.offsets if o)

    @property
    def family(self) -> str:
        """What must exist before its manifest: `annotated` (nothing), `propagated`, `refined` or `filled`."""
        if self.filled_by:
            return "filled"
        if self.pseudo_offsets:
            return "propagated"
        return "refined" if self.labels == "refined" else "annotated"

    @property
    def still(self) -> bool:
        """Whether each of its samples has its own image as memory, so that memory does not tell coarse from fine."""
        return (self.mixture or self).coarse_pool == "train_extra"

    def draws_of(self, draws: Sequence[int]) -> list[int]:
        """The draws that differ: one of them where every clip is taken and labelled alike, as in N1."""
        return list(draws if self._drawn else draws[:1])

    def seeds_of(self, seeds: Sequence[int], undrawn: Sequence[int] | None) -> list[int]:
        """The seeds it is trained with: `undrawn`, where there are such, if no draw decides anything."""
        return list(seeds if self._drawn or not undrawn else undrawn)

    @property
    def _drawn(self) -> bool:
        """Whether a draw decides anything."""
        if self.mixture:
            return self.control == "hours" or self.mixture._drawn
        if self.coarse_percent and self.still:
            return self.coarse_percent < 100 or self.clips != "all"
        several = self.clips != "all" and len(self.offsets) > 1
        return (several and self.selection == "random") or 0 < self.coarse_percent < 100

    @property
    def recipe(self) -> dict[str, Any]:
        """What it trains on, as plain data: all but its id and name."""
        told = vars(self.mixture or self) | {"control": self.control}
        later = {k: told[k] for k, words in KEYS.items() if told[k] != words[0]}
        named = {k: told[k] for k in ("refinement", "filled_by") if told[k]}
        return {k: told[k] for k in _FIRST_KEYS} | later | named

    def refining(self, method: str) -> str:
        """The method that refines its labels, where the config's is `method`."""
        named = self.refinement or method
        return named + ALL_CLASSES if self.refined_classes == "all" else named

    def clip_count(self, eligible: int) -> int:
        """How many of the eligible clips it trains on: ceil(N / k) where the sample count is matched."""
        return -(-eligible // len(self.offsets)) if self.clips == "matched" else eligible

    def coarse_count(self, samples: int) -> int:
        """How many of the samples carry coarse labels: the percentage, rounded half up."""
        return (samples * self.coarse_percent * 2 + 100) // 200


FAMILIES = ("annotated", "propagated", "refined", "filled")


def load_catalogue(path: str | Path) -> dict[str, Experiment]:
    """Read the catalogue; raises `UserError` naming the experiment and key that are wrong."""
    entries = read_yaml(path)
    if not isinstance(entries, Mapping):
        raise UserError(f"{path} must map experiment ids to recipes.")
    catalogue = {str(id_): experiment_from(str(id_), recipe, path) for id_, recipe in entries.items()}
    for experiment in catalogue.values():
        if experiment.filled_by and (fault := _filling_fault(experiment, catalogue)):
            raise UserError(f"{path}: '{experiment.id}': {fault}.")
    return catalogue


def _filling_fault(experiment: Experiment, catalogue: Mapping[str, Experiment]) -> str:
    """Why no model of the experiment that it names can fill its labels; nothing where one can."""
    teacher, before = catalogue.get(experiment.filled_by), {experiment.id}
    while teacher and teacher.filled_by and teacher.id not in before:
        before.add(teacher.id)
        teacher = catalogue.get(teacher.filled_by)
    if teacher is None:
        return "filled_by names an experiment that the catalogue lacks"
    if teacher.id in before:
        return "filled_by leads back to itself: begin with an experiment that is not filled"
    if {**teacher.recipe, "filled_by": ""} != {**experiment.recipe, "filled_by": ""}:
        return f"its samples must be those of '{teacher.id}', which fills them: give it the same other keys"
    return ""


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
    known = (*OTHER_KEYS, *KEYS)
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
    chosen_words = {key: recipe.get(key, words[0]) for key, words in KEYS.items()}
    for key, words in KEYS.items():
        if chosen_words[key] not in words:
            raise refuse(f"{key} must be {' or '.join(filter(None, words))}")
    control = chosen_words.pop("control")
    name = str(recipe.get("name", id_))
    refinement, filled_by = (str(recipe.get(key, "")) for key in ("refinement", "filled_by"))
    mixture = Experiment(
        id_, name, tuple(sorted(offsets)), percent, refinement=refinement, filled_by=filled_by, **chosen_words
    )
    if fault := _fault(mixture) or (_control_fault(mixture, control) if control else ""):
        raise refuse(fault)
    return Experiment(id_, name, control=control, mixture=mixture) if control else mixture


def _fault(mixture: Experiment) -> str:
    """What of a recipe's keys does not go together; nothing where all does."""
    if mixture.coarse_percent and any(mixture.offsets):
        return "coarse labels and propagated frames cannot be mixed"
    if mixture.still and any(mixture.offsets):
        return "images of train_extra have no other frames: with that coarse_pool offsets must be [0]"
    if mixture.fine == "all" and not mixture.coarse_percent:
        return "fine: all is for mixtures of coarse labels: give coarse_percent"
    if mixture.refinement and not (mixture.coarse_percent and mixture.labels == "refined"):
        return "refinement names the method of refined labels: give coarse_percent and labels: refined"
    if mixture.refined_classes == "all" and not (mixture.coarse_percent and mixture.labels == "refined"):
        return "refined_classes is of refined labels: give coarse_percent and labels: refined"
    if mixture.filled_by and not any(mixture.offsets):
        return "filled_by fills propagated labels: give more offsets than 0"
    several = len(mixture.offsets) > 1
    if mixture.clips == "spread" and not several:
        return "clips: spread deals several offsets over the clips: give more than one"
    if mixture.selection != "random" and not (several and mixture.clips == "matched"):
        return "selection chooses among clips: give several offsets, and clips: matched"
    return ""


def _control_fault(mixture: Experiment, control: str) -> str:
    """Why there is no such control of a mixture; nothing where there is."""
    if mixture.labels == "refined":
        return "a control has no refined labels: leave labels out"
    if mixture.filled_by:
        return "a control has no filled labels: leave filled_by out"
    if control == "hours" and not mixture.coarse_percent:
        return "control: hours is of a mixture of coarse labels; of propagated ones it is control: fine"
    if not mixture.coarse_percent and not any(mixture.offsets):
        return "a control is of a mixture: give more offsets than 0, or coarse_percent"
    without_fine = 0 not in mixture.offsets or (mixture.coarse_percent == 100 and mixture.fine == "rest")
    if control == "fine" and without_fine:
        return "control: fine takes the mixture's fine samples, and it has none"
    return ""
