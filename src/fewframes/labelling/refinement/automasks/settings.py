"""The settings of `automask`, by what depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fewframes.core.errors import UserError
from fewframes.labelling.methods import Limits, parse_settings

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
    """Which masks are made, with which model, and which of them count.

    `weights`: a published name, a local file, or `random` (for tests: the labels mean nothing), drawn from `seed`.
    `config`: a configuration of the package `sam2`, `small`, or a YAML file; empty, the one the weights were published
    for. `image_size`: the model's side in pixels, 0 for the configuration's own. `precision`: `auto` is bfloat16 on a
    GPU that has it, else float32.

    The next five are those of `sam2.automatic_mask_generator.SAM2AutomaticMaskGenerator`, with its names and defaults
    (the paper names none): a grid of `points_per_side`² prompts, of three masks each; masks are kept of a predicted IoU
    above `pred_iou_thresh` and of a stability of at least `stability_score_thresh`, which is the IoU of the masks that
    the logits give at the thresholds `stability_score_offset` and its negative; of two masks whose boxes have an IoU
    above `box_nms_thresh`, the one of the higher predicted IoU.

    `purity`: a mask is accepted if more than this share of its labelled pixels is of one class (the paper's 90 %,
    section 5.2.2). `min_labelled`: the labelled pixels it must hold for that; the paper says nothing, so that one is
    enough. `order`: see `refined_by`; the paper says nothing.
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


@dataclass(frozen=True)
class Housekeeping:
    """How it runs: nothing depends on it but time and memory.

    `max_batch`: points decoded at once, 0 leaves it to the device. `device`: auto, cpu or cuda. `threads`: of the
    processor, 0 leaves it to torch. `weights_folder`: where published weights lie.
    """

    max_batch: int = 0
    device: str = "auto"
    threads: int = 0
    weights_folder: str = "weights"


def parse(settings: Mapping[str, Any], housekeeping: Mapping[str, Any]) -> tuple[AutomaskSettings, Housekeeping]:
    """Check a method's part of the config; raises `UserError` for a key or a value that is none."""
    chosen = parse_settings(AutomaskSettings, settings, NAME)
    run = parse_settings(Housekeeping, housekeeping, NAME)
    _LIMITS.check(NAME, chosen, run)
    if not 0 <= chosen.purity < 1:
        raise UserError(
            f"The setting 'purity' of {NAME} is {chosen.purity}: give a share from 0 to below 1, since a mask's must "
            "be above it."
        )
    return chosen, run
