"""The settings of the methods that prompt SAM, by what depends on them.

No default of `GuardSettings` and `BoxSettings` was tuned: they were chosen without SAM's weights at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fewframes.labelling.methods import Limits, parse_settings

_LIMITS = Limits(
    choices={
        "precision": ("auto", "bfloat16", "float32"),
        "classes": ("refined", "all"),
        "multimask": ("first", "never", "always"),
        "overwrites": ("stuff_and_unlabelled", "unlabelled", "everything"),
        "vacated": ("ignore", "coarse"),
        "overlaps": ("predicted_iou", "smallest"),
        "device": ("auto", "cpu", "cuda"),
    },
    least={
        **{"seed": 0, "iterations": 0, "points": 1, "inside_points": 1, "outside_points": 0},
        **{"box_margin": 0.0, "mask_logit": 0.0, "mask_rim": 1.0, "min_area_ratio": 0.0, "max_area_ratio": 1.0},
        **{"max_batch": 0, "images_at_once": 0, "threads": 0},
    },
    shares=("min_overlap", "min_predicted_iou"),
)


@dataclass(frozen=True)
class SamSettings:
    """What all these methods share: the model, the objects, the iterations and the painting.

    `weights`: a published name, a local file, or `random` (for tests: the labels mean nothing). `config`: a
    configuration of `models.sam`; empty, the one the weights were published for. `seed`: of the points that are drawn,
    and of random weights. `crops`: whether an image is encoded in square crops, in place of one square that is padded.
    `precision`: `auto` is bfloat16 where the GPU or processor computes in it, else float32.

    `classes`: whose objects are refined, `refined` for `ClassTable.refined` (the paper's eight, section 4) or `all`
    for every class of the table (the paper's failed variant, section 5.2.2).

    `iterations`: further calls of the decoder after the first, each with the same prompts and the logits of the call
    before as its mask prompt (the paper: "refine output mask using SAM for two iterations", section 4, which says
    neither whether the first call is one of them nor what is prompted). `multimask`: which calls give three masks, of
    which the one that SAM itself estimates to be the best goes on: the `first`, whose points may be ambiguous,
    `never` or `always`.

    `overwrites`, `vacated`, `overlaps`: see `painting`, on which the paper says nothing.
    """

    weights: str = "sam_vit_h"
    config: str = ""
    seed: int = 0
    crops: bool = False
    precision: str = "auto"
    classes: str = "refined"
    iterations: int = 2
    multimask: str = "first"
    overwrites: str = "stuff_and_unlabelled"
    vacated: str = "ignore"
    overlaps: str = "predicted_iou"


@dataclass(frozen=True)
class PointsSettings(SamSettings):
    """Settings of `sam_points`; `points`: how many are drawn in each object (the paper's section 4)."""

    points: int = 2


@dataclass(frozen=True)
class GuardSettings:
    """Which refined masks are plausible; see `guard.plausible`.

    The areas allow for coarse polygons that lie well inside their objects: of a thin pole, an eighth.
    """

    min_area_ratio: float = 0.5
    max_area_ratio: float = 8.0
    min_overlap: float = 0.5
    min_predicted_iou: float = 0.5


@dataclass(frozen=True)
class GuardedPointsSettings(GuardSettings, PointsSettings):
    """Settings of `sam_points_guarded`."""


@dataclass(frozen=True)
class BoxSettings(GuardSettings, SamSettings):
    """Settings of `sam_box`.

    `inside_points` and `outside_points`: prompts in an object, and around it. `box_margin`: by how much an object's
    box is widened on each side, as a share of its side if it were a square of the same area. `mask_logit`: the logit
    of the mask prompt deep in the coarse mask, and its negative far from it; 0 for no mask prompt in the first call.
    `mask_rim`: over how many cells of the mask grid (of 256 a side) the logit rises to that from the mask's outline.
    So many prompts are not ambiguous: `multimask` is `never`.
    """

    multimask: str = "never"
    inside_points: int = 3
    outside_points: int = 2
    box_margin: float = 0.1
    mask_logit: float = 8.0
    mask_rim: float = 4.0


@dataclass(frozen=True)
class Housekeeping:
    """How it runs: nothing depends on it but time and memory.

    `max_batch`: prompts decoded at once, see `SamSegmenter`. `images_at_once`: images embedded together, of which a GPU
    takes up to four in one batch; 0 is four on a GPU and one on a processor. `device`: auto, cpu or cuda. `threads`: of
    the processor, 0 leaves it to torch. `weights_folder`: where published weights lie.
    """

    max_batch: int = 0
    images_at_once: int = 0
    device: str = "auto"
    threads: int = 0
    weights_folder: str = "weights"


S = TypeVar("S", bound=SamSettings)


def parse(
    kind: type[S], settings: Mapping[str, Any], housekeeping: Mapping[str, Any], method: str
) -> tuple[S, Housekeeping]:
    """Check a method's part of the config; raises `UserError` for a key or a value that is none."""
    name = f"refinement '{method}'"
    chosen, run = parse_settings(kind, settings, name), parse_settings(Housekeeping, housekeeping, name)
    _LIMITS.check(name, chosen, run)
    return chosen, run
