"""The model on the device at hand, and how much of it there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fewframes.core.progress import say
from fewframes.labelling.models.chosen import ChosenModel, ModelHousekeeping
from fewframes.labelling.models.device import chosen_device
from fewframes.labelling.models.sam2 import build_model
from fewframes.labelling.propagation.sam2.engine import Tracker
from fewframes.labelling.propagation.sam2.settings import NAME, Sam2Settings

_BATCHES = 2
"""Batches of a GPU that clips are taken together for: more clips would only hold more results in memory."""

_MOST_READERS = 8
"""Processes that decode frames: eight keep ahead of a GPU that takes half a second a clip (21 frames of 60 ms)."""


@dataclass(frozen=True)
class Setup:
    """A tracker, its model's image size, the clips' tracks it is given at once, and processes that read for it.

    On a processor, clips come one by one and a thread reads ahead: neither more tracks nor processes are faster.
    """

    tracker: Tracker
    side: int
    tracks_at_once: int
    readers: int
    notes: Mapping[str, str]


def set_up(settings: Sam2Settings, run: ModelHousekeeping, model: ChosenModel) -> Setup:
    """Build the model and put it on its device; raises `UserError` where either cannot be had."""
    device = chosen_device(run, settings.precision, NAME)
    built = build_model(model.config, model.path, image_size=settings.image_size or None, seed=settings.seed)
    tracker = Tracker(
        built.to(device.at), max_batch=run.max_batch, key_memory=settings.key_memory, bfloat16=device.bfloat16
    )
    side = int(built.image_size)  # type: ignore[arg-type]
    runs_on = f"{model.config} at {side} px on {device.name}, {device.precision}"
    say(f"sam2: {runs_on}, {model.said}, {tracker.max_batch} tracks a batch.")
    tracks = _BATCHES * tracker.max_batch if device.gpu else 1
    readers = max(1, min(run.threads - 1, _MOST_READERS)) if device.gpu else 0
    return Setup(tracker, side, tracks, readers, device.notes("sam2"))
