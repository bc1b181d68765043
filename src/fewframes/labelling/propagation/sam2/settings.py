"""The settings of `sam2`, by what depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fewframes.core.errors import UserError
from fewframes.labelling.methods import Limits, parse_settings
from fewframes.labelling.models.chosen import ModelHousekeeping
from fewframes.labelling.propagation.sam2.objects import MAPPINGS
from fewframes.labelling.propagation.sam2.policy import Policy

NAME = "propagation 'sam2'"

KEY_MEMORIES = ("official", "full")
"""From which mask the key frame is remembered; see `Tracker`."""

_MOST_TILES = 8

_LIMITS = Limits(
    choices={
        "objects": MAPPINGS,
        "key_memory": KEY_MEMORIES,
        "precision": ("auto", "bfloat16", "float32"),
        "device": ("auto", "cpu", "cuda"),
    },
    least={
        **{"image_size": 0, "seed": 0, "least_area": 1, "most_things": 0, "tiles": 1},
        **{"max_batch": 0, "threads": 0},
    },
    shares=("min_confidence", "min_presence"),
)


@dataclass(frozen=True)
class Sam2Settings:
    """What is tracked, and with which model; docs/reference/methods.md has each setting."""

    weights: str = "sam2.1_hiera_large"
    config: str = ""
    image_size: int = 0
    seed: int = 0
    objects: str = "panoptic"
    least_area: int = 64
    most_things: int = 64
    tiles: int = 1
    key_memory: str = "official"
    precision: str = "auto"


def parse(
    settings: Mapping[str, Any], housekeeping: Mapping[str, Any]
) -> tuple[Sam2Settings, Policy, ModelHousekeeping]:
    """Check a method's part of the config; raises `UserError` for a key or a value that is none."""
    of_policy = Policy.__dataclass_fields__
    chosen = parse_settings(Sam2Settings, {k: v for k, v in settings.items() if k not in of_policy}, NAME)
    policy = parse_settings(Policy, {k: v for k, v in settings.items() if k in of_policy}, NAME)
    run = parse_settings(ModelHousekeeping, housekeeping, NAME)
    _LIMITS.check(NAME, chosen, policy, run)
    if chosen.tiles > _MOST_TILES:
        raise UserError(f"The setting 'tiles' of {NAME} is {chosen.tiles}: give at most {_MOST_TILES}.")
    if policy.max_jump and not policy.max_jump > 1:
        raise UserError(f"The setting 'max_jump' of {NAME} is {policy.max_jump}: give a factor above 1, or 0 for none.")
    return chosen, policy, run
