"""SAM on the device at hand, and how much it is given at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fewframes.core.progress import say
from fewframes.labelling.models.chosen import ChosenModel
from fewframes.labelling.models.device import chosen_device
from fewframes.labelling.models.sam import build_model
from fewframes.labelling.refinement.sam.segmenter import SamSegmenter
from fewframes.labelling.refinement.sam.settings import Housekeeping, SamSettings

_GPU_IMAGES = 4
"""Images embedded together on a GPU; on a processor one at a time is as fast, and takes less memory."""


@dataclass(frozen=True)
class Setup:
    """A segmenter, how many images it is to embed together, and what it runs on."""

    segmenter: SamSegmenter
    images_at_once: int
    notes: Mapping[str, str]


def set_up(method: str, settings: SamSettings, run: Housekeeping, model: ChosenModel) -> Setup:
    """Build the model and put it on its device; raises `UserError` where either cannot be had."""
    device = chosen_device(run, settings.precision, f"refinement '{method}'", processors=True)
    built = build_model(model.config, model.path, seed=settings.seed).to(device.at)
    segmenter = SamSegmenter(built, max_batch=run.max_batch, bfloat16=device.bfloat16, crops=settings.crops)
    say(f"{method}: SAM {model.config} on {device.name}, {device.precision}, {model.said}.")
    images = run.images_at_once or (_GPU_IMAGES if device.gpu else 1)
    return Setup(segmenter, images, device.notes("segment-anything"))
