"""The settings of the methods that prompt SAM, by what depends on them.

Defaults of `GuardSettings` and `BoxSettings` were chosen after `benchmarks/boxsettings.py` with our compact SAM, on
training images of toy city and CamVid (benchmarks/RESULTS.md); SAM's own weights were not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fewframes.labelling.methods import Limits, parse_settings
from fewframes.labelling.models.chosen import ModelHousekeeping

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
    """The model, the objects, the iterations and the painting; docs/reference/methods.md has each setting.

    `classes`: `refined` are the paper's eight (section 4), `all` is its failed variant (section 5.2.2). `iterations`:
    the paper has "refine output mask using SAM for two iterations" (section 4), and says neither whether the first call
    is one of them nor what is prompted. `overwrites`, `vacated`, `overlaps`: see `painting`, on which it says nothing.
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
    """`sam_points`, the paper's refinement (section 4): random points in each object, a mask that SAM makes of them.

    The mask is fed back. Nothing is added: whatever SAM makes replaces the object's coarse mask, however implausible.
    `points`: how many are drawn in each object.
    """

    points: int = 2


@dataclass(frozen=True)
class GuardSettings:
    """Which refined masks are plausible; see `guard.plausible`.

    The areas allow for coarse polygons that lie well inside their objects: of a thin pole, an eighth.
    """

    min_area_ratio: float = 0.5
    max_area_ratio: float = 8.0
    min_overlap: float = 0.5
    min_predicted_iou: float = 0.3


@dataclass(frozen=True)
class GuardedPointsSettings(GuardSettings, PointsSettings):
    """`sam_points_guarded`: an object whose refined mask is implausible keeps its coarse one, and is counted."""


@dataclass(frozen=True)
class BoxSettings(GuardSettings, SamSettings):
    """`sam_box`: all that SAM can be told of an object, points in and around it, its box, and its coarse mask.

    The mask is said softly: coarse outlines are imprecise, so that the logits are near 0 along them. What comes of it
    is fed back and guarded as in `sam_points_guarded`. So many prompts are not ambiguous: `multimask` is `never`.
    """

    multimask: str = "never"
    inside_points: int = 3
    outside_points: int = 1
    box_margin: float = 0.3
    mask_logit: float = 4.0
    mask_rim: float = 4.0


@dataclass(frozen=True)
class Housekeeping(ModelHousekeeping):
    """How it runs; `images_at_once`: images embedded together, of which a GPU takes up to four in one batch.

    0 is four on a GPU and one on a processor.
    """

    images_at_once: int = 0


KINDS: Mapping[str, type[PointsSettings | BoxSettings]] = {
    "sam_points": PointsSettings,
    "sam_points_guarded": GuardedPointsSettings,
    "sam_box": BoxSettings,
}
"""The settings of each method."""


def parse(
    method: str, settings: Mapping[str, Any], housekeeping: Mapping[str, Any]
) -> tuple[PointsSettings | BoxSettings, Housekeeping]:
    """Check a method's part of the config; raises `UserError` for a key or a value that is none."""
    name = f"refinement '{method}'"
    chosen, run = parse_settings(KINDS[method], settings, name), parse_settings(Housekeeping, housekeeping, name)
    _LIMITS.check(name, chosen, run)
    return chosen, run
