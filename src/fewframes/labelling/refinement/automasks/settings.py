"""The settings of `automask`, by what depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fewframes.core.errors import UserError
from fewframes.labelling.methods import Limits, parse_settings
from fewframes.labelling.models.chosen import ModelHousekeeping

NAME = "refinement 'automask'"

ORDERS = ("smallest_last", "predicted_iou")
"""In which order accepted masks are painted; see `refined_by`."""

_LIMITS = Limits(
    choices={"order": ORDERS, "precision": ("auto", "bfloat16", "float32"), "device": ("auto", "cpu", "cuda")},
    least={
        **{"image_size": 0, "seed": 0, "points_per_side": 1, "stability_score_offset": 0.0, "min_labelled": 1},
        **{"max_batch": 0, "threads": 0},
    },
    shares=("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh"),
)


@dataclass(frozen=True)
class AutomaskSettings:
    """Which masks are made, with which model, and which of them count; docs/reference/methods.md has each setting.

    Names and defaults from `points_per_side` to `box_nms_thresh` are those of
    `sam2.automatic_mask_generator.SAM2AutomaticMaskGenerator` (the paper names none). `purity` is the paper's (section
    5.2.2); on `min_labelled` and `order`, for which see `refined_by`, it says nothing.
    """

    weights: str = "sam2.1_hiera_large"
    config: str = ""
    image_size: int = 0
    seed: int = 0
    precision: str = "auto"
    points_per_side: int = 32
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    purity: float = 0.9
    min_labelled: int = 1
    order: str = "smallest_last"


def parse(settings: Mapping[str, Any], housekeeping: Mapping[str, Any]) -> tuple[AutomaskSettings, ModelHousekeeping]:
    """Check a method's part of the config; raises `UserError` for a key or a value that is none."""
    chosen = parse_settings(AutomaskSettings, settings, NAME)
    run = parse_settings(ModelHousekeeping, housekeeping, NAME)
    _LIMITS.check(NAME, chosen, run)
    if not 0 <= chosen.purity < 1:
        raise UserError(
            f"The setting 'purity' of {NAME} is {chosen.purity}: give a share from 0 to below 1, since a mask's must "
            "be above it."
        )
    return chosen, run
