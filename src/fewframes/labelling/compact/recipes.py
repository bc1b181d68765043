"""How each compact model is made: its phases, its step, and the file that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from fewframes.labelling.compact.image import ImageTask
from fewframes.labelling.compact.sources import Sources
from fewframes.labelling.compact.training import Phase, Schedule, Step, train
from fewframes.labelling.compact.video import Outcome, VideoTask
from fewframes.labelling.models import sam, sam2

_PROMPTED_EVERY = 6
"""Every so many batches, SAM 2 answers prompts in single frames in place of following objects."""

_SAM2 = (Phase(700, 128, 12, 2), Phase(5900, 256, 4, 2), Phase(500, 384, 2, 3))
_SAM = (Phase(800, 128, 16, 1), Phase(3500, 256, 6, 1))
SCHEDULES: Mapping[str, Schedule] = {"sam2": Schedule(_SAM2, rate=8e-4), "sam": Schedule(_SAM, rate=8e-4)}
"""By model: small pictures first, of which a processor sees many, larger and longer clips later."""

SOURCES: Mapping[str, Sources] = {"sam2": Sources(toy=0.35, smallest=0.07), "sam": Sources(toy=0.6, squashed=0.0)}
"""By model, without photographs."""


def train_compact(
    which: str,
    folder: Path,
    *,
    share: float = 1.0,
    processes: int = 1,
    camvid: Path | None = None,
    photographs: float = 0.0,
) -> Path:
    """Train `sam` or `sam2`; the file of weights, safetensors in 16 bits.

    `share` shortens all phases, for trials. That share of the clips are `photographs`, of `camvid`,
    CamVid's folder. See `train` for the rest, and what it raises.
    """
    sources = replace(SOURCES[which], camvid=camvid, photographs=photographs)
    build = build_sam if which == "sam" else build_sam2
    state = train(build, sources, SCHEDULES[which].shortened(share), folder, processes)
    path = folder / f"{which}_compact.safetensors"
    write_weights(state, path)
    return path


def write_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a model's weights as they are shipped: half precision loses nothing that a mask would show."""
    kept = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
    safetensors.torch.save_file(kept, path)


def build_sam() -> tuple[nn.Module, Step]:
    """A compact SAM with new weights, and what it is trained by."""
    model: Any = sam.build_model("compact")
    # The package starts positions at 0, from which they are slow to part.
    nn.init.trunc_normal_(model.image_encoder.pos_embed, std=0.02)
    look_where_prompted(model.mask_decoder.transformer)
    task = ImageTask(model)

    def step(frames: Tensor, ids: Tensor, pieces: Tensor, generator: torch.Generator, iteration: int) -> Outcome:
        return task.refinement(_normalised(frames[:, 0], sam.PIXEL_MEAN, sam.PIXEL_STD), ids[:, 0], generator)

    return model, step


def build_sam2() -> tuple[nn.Module, Step]:
    """A compact SAM 2 with new weights, and what it is trained by."""
    model: Any = sam2.build_model("compact", image_size=256)
    # Objects are there until the model has learned otherwise: what is absent has no mask to learn from.
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.fill_(2.0)
    look_where_prompted(model.sam_mask_decoder.transformer)
    look_for_the_like(model)
    task = VideoTask(model, rows_per_clip=3)
    mean, deviation = ([255 * v for v in values] for values in (sam2.MEAN, sam2.STD))

    def step(frames: Tensor, ids: Tensor, pieces: Tensor, generator: torch.Generator, iteration: int) -> Outcome:
        seen = _normalised(frames, mean, deviation)
        sam2.resize(model, seen.shape[-1])
        if iteration % _PROMPTED_EVERY == _PROMPTED_EVERY - 1:
            return task.prompts(seen, ids, generator)
        return task.propagation(seen, ids, pieces, generator)

    return model, step


def look_where_prompted(transformer: Any, gain: float = 1.6) -> None:
    """Let prompts and cells attend by place from the start: queries and keys are projected alike.

    Their positions are of one kind, so that equal projections find equal places; drawn apart, as the package draws
    them, they took thousands of iterations to meet.
    """
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        nn.init.orthogonal_(attention.q_proj.weight, gain)
        attention.k_proj.weight.data.copy_(attention.q_proj.weight)
        nn.init.zeros_(attention.q_proj.bias)
        nn.init.zeros_(attention.k_proj.bias)


def look_for_the_like(model: Any, gain: float = 2.0) -> None:
    """Let a frame's places attend, from the start, to the remembered places that look like them.

    Memories are of the same features, seen through the memory encoder's last projection: queries are projected by it
    too. Drawn apart, as the package draws them, propagation stayed at copying masks for hundreds of iterations.
    """
    encoder = model.memory_encoder
    nn.init.dirac_(encoder.pix_feat_proj.weight)
    nn.init.zeros_(encoder.pix_feat_proj.bias)
    nn.init.orthogonal_(encoder.out_proj.weight)
    nn.init.zeros_(encoder.out_proj.bias)
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        nn.init.orthogonal_(attention.k_proj.weight, gain)
        attention.q_proj.weight.data.copy_(attention.k_proj.weight @ encoder.out_proj.weight.flatten(1))
        nn.init.zeros_(attention.q_proj.bias)
        nn.init.zeros_(attention.k_proj.bias)


def _normalised(frames: Tensor, mean: Any, deviation: Any) -> Tensor:
    """Frames uint8 `[..., S, S, 3]` as a model's input, `float32 [..., 3, S, S]`."""
    pixels = frames.movedim(-1, -3).float()
    at, by = (torch.tensor(values, device=frames.device)[:, None, None] for values in (mean, deviation))
    return (pixels - at) / by
