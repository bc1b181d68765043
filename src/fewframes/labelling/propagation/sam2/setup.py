"""The model on the device at hand, and how much of it there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import torch

from fewframes.core.errors import UserError
from fewframes.core.progress import say
from fewframes.core.weights import Weights
from fewframes.labelling.models.sam2 import build_model
from fewframes.labelling.propagation.sam2.engine import Tracker
from fewframes.labelling.propagation.sam2.settings import Housekeeping, Sam2Settings

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


def set_up(settings: Sam2Settings, run: Housekeeping, weights: Weights | None, config: str) -> Setup:
    """Build the model and put it on its device; raises `UserError` where either cannot be had."""
    if run.device == "cuda" and not torch.cuda.is_available():
        raise UserError("No GPU is to be seen, and the device of propagation 'sam2' is cuda: give the job a GPU.")
    gpu = run.device != "cpu" and torch.cuda.is_available()
    if run.threads and not gpu:
        torch.set_num_threads(run.threads)
    half = settings.precision == "bfloat16" or (settings.precision == "auto" and gpu and _has_bfloat16())
    path = weights.path if weights else None
    model = build_model(config, path, image_size=settings.image_size or None, seed=settings.seed)
    tracker = Tracker(
        model.to("cuda" if gpu else "cpu"), max_batch=run.max_batch, key_memory=settings.key_memory, bfloat16=half
    )
    side = int(model.image_size)  # type: ignore[arg-type]
    device = torch.cuda.get_device_name() if gpu else "processor"
    precision = "bfloat16" if half else "float32"
    start = settings.weights if weights else "RANDOM weights: labels mean nothing"
    say(f"sam2: {config} at {side} px on {device}, {precision}, {start}, {tracker.max_batch} tracks a batch.")
    notes = {"device": device, "precision": precision, "torch": torch.__version__, "sam2": version("sam2")}
    readers = max(1, min(run.threads - 1, _MOST_READERS)) if gpu else 0
    return Setup(tracker, side, _BATCHES * tracker.max_batch if gpu else 1, readers, notes)


def _has_bfloat16() -> bool:
    # Older GPUs emulate it, slower than float32.
    return torch.cuda.is_bf16_supported(including_emulation=False)
