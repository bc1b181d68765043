"""SAM models: the package's own sizes and a small one of ours, with weights from a file or random."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from segment_anything import sam_model_registry  # type: ignore[import-untyped]
from segment_anything.modeling import (  # type: ignore[import-untyped]
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import nn

from fewframes.core.errors import UserError
from fewframes.labelling.models.loading import load_weights

SIZES = ("vit_b", "vit_l", "vit_h")
"""The package's configurations by name, which are also those of the published weights."""

PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and deviation by RGB channel as the package has them. They are not in a checkpoint."""


def build_model(config: str, weights: Path | None = None, *, seed: int = 0) -> nn.Module:
    """A `segment_anything` model `Sam`, for evaluation, on the CPU, in float32: `compact`, `small` or one of `SIZES`.

    `weights` is a checkpoint as Meta publishes them, or any file of a state dictionary that `load_weights` reads;
    None draws weights at random from `seed` (masks made with them mean nothing), and leaves torch's own generator as
    it was. Raises `UserError` for an unknown configuration, and for weights that are absent, damaged or of another
    model.
    """
    builders: Mapping[str, Callable[[], Any]] = {
        "small": _small,
        "compact": _compact,
        **{size: sam_model_registry[size] for size in SIZES},
    }
    if config not in builders:
        raise UserError(f"There is no SAM configuration '{config}': name compact, small, {', '.join(SIZES)}.")
    model: nn.Module
    if weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = builders[config]()
    else:
        with torch.device("meta"):  # so that nothing is drawn that the file would only replace
            model = builders[config]()
        model.to_empty(device="cpu")
        for name, values in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
            model.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        load_weights(model, weights, f"SAM configuration {config}")
    return model.eval().requires_grad_(False)


def _small() -> Any:
    """Every part of a SAM at sizes for a processor, 2.2 M parameters and images of 256 px; no weights exist."""
    heads = {"num_heads": 8}
    windows = {"use_rel_pos": True, "window_size": 7, "global_attn_indexes": (1, 3)}
    return _processor_sized(256, 16, heads, 16, embed_dim=192, depth=4, num_heads=4, **windows)


def _compact() -> Any:
    """Our compact SAM, 2.0 M parameters and images of 512 px, in patches half as large as SAM's: small things count."""
    heads = {"num_heads": 4, "attention_downsample_rate": 1}
    windows = {"use_rel_pos": False, "window_size": 8, "global_attn_indexes": (2, 5)}
    return _processor_sized(512, 8, heads, 64, embed_dim=128, depth=6, num_heads=4, **windows)


def _processor_sized(image_size: int, patch: int, heads: Mapping[str, int], mask_channels: int, **trunk: Any) -> Any:
    channels, cells = 64, image_size // patch
    return Sam(
        ImageEncoderViT(
            img_size=image_size,
            patch_size=patch,
            out_chans=channels,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            **trunk,
        ),
        PromptEncoder(channels, (cells, cells), (image_size, image_size), mask_in_chans=mask_channels),
        MaskDecoder(
            transformer_dim=channels,
            transformer=TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=256, **heads),
            iou_head_hidden_dim=channels,
        ),
        list(PIXEL_MEAN),
        list(PIXEL_STD),
    )
