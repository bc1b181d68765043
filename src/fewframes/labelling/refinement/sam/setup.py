"""SAM on the device at hand, and how much it is given at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import torch

from fewframes.core.errors import UserError
from fewframes.core.progress import say
from fewframes.core.weights import Weights
from fewframes.labelling.models.sam import build_model
from fewframes.labelling.refinement.sam.contract import Segmenter
from fewframes.labelling.refinement.sam.segmenter import SamSegmenter, native_bfloat16
from fewframes.labelling.refinement.sam.settings import Housekeeping, SamSettings

_GPU_IMAGES = 4
"""Images embedded together on a GPU; on a processor one at a time is as fast, and takes less memory."""


@dataclass(frozen=True)
class Setup:
    """A segmenter, how many images it is to embed together, and what it runs on."""

    segmenter: Segmenter
    images_at_once: int
    notes: Mapping[str, str]


def set_up(method: str, settings: SamSettings, run: Housekeeping, weights: Weights | None, config: str) -> Setup:
    """Build the model and put it on its device; raises `UserError` where either cannot be had."""
    if run.device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"No GPU is to be seen, and the device of refinement '{method}' is cuda: give the job a GPU.")
    gpu = run.device != "cpu" and torch.cuda.is_available()
    if run.threads and not gpu:
        torch.set_num_threads(run.threads)
    at = torch.device("cuda" if gpu else "cpu")
    half = settings.precision == "bfloat16" or (settings.precision == "auto" and native_bfloat16(at))
    model = build_model(config, weights.path if weights else None, seed=settings.seed)
    segmenter = SamSegmenter(model.to(at), max_batch=run.max_batch, bfloat16=half, crops=settings.crops)
    device = torch.cuda.get_device_name() if gpu else "processor"
    precision = "bfloat16" if half else "float32"
    start = settings.weights if weights else "RANDOM weights: labels mean nothing"
    say(f"{method}: SAM {config} on {device}, {precision}, {start}.")
    notes = {
        "device": device,
        "precision": precision,
        "torch": torch.__version__,
        "segment-anything": version("segment-anything"),
    }
    return Setup(segmenter, run.images_at_once or (_GPU_IMAGES if gpu else 1), notes)
