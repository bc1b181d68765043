"""TMANet: temporal memory attention over past frames, on any dilated timm backbone.

Wang, Wang and Liu, "Temporal Memory Attention for Video Semantic Segmentation", ICIP 2021. Where the article is
silent, constants follow the authors' Cityscapes configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewframes.core.errors import UserError
from fewframes.learning.networks.state import must_fit, read_state

_DROPOUT = 0.1
"""Share of channels dropped before each classifier (authors' configuration)."""


class TMANet(nn.Module):
    """The current frame's features, joined with what they read from a memory of the past frames.

    The same backbone sees every frame, one forward pass each: in training, batch statistics are those of the
    frames at one offset, and gradients reach the past frames too. With `memory_frame` `self` it is given the current
    frame in place of past ones. With `auxiliary` a second classifier
    on the last but one stage of the current frame helps the training along.
    """

    paths = 1

    def __init__(
        self,
        classes: int,
        *,
        backbone: str = "resnet50c",
        output_stride: int = 8,
        past_frames: int = 1,
        memory_frame: str = "previous",
        key_channels: int = 64,
        value_channels: int = 256,
        head_channels: int = 512,
        pretrained: str | None = None,
        auxiliary: bool = True,
    ) -> None:
        super().__init__()
        if past_frames < 1:
            raise UserError(f"network.past_frames is {past_frames}: TMANet needs at least one past frame.")
        if memory_frame not in ("previous", "self"):
            raise UserError(f"network.memory_frame is '{memory_frame}': choose previous or self.")
        self.past_frames, self.memory_frame = past_frames, memory_frame
        self.backbone, (middle, last) = build_backbone(backbone, output_stride, pretrained)
        self.head = MemoryHead(classes, last, past_frames, key_channels, value_channels, head_channels)
        # The authors' auxiliary head is half as wide (256) as the main one (512).
        self.auxiliary = _classifier(middle, head_channels // 2, classes) if auxiliary else None

    def forward(self, clip: Tensor, path: int = 0) -> tuple[Tensor, ...]:
        """Logits `[B, C, H, W]` of the current frame; in training those of the auxiliary head follow.

        `clip` is `float32 [B, T + 1, 3, H, W]`, normalised RGB, the oldest frame first and the current one last.
        There is one way through the network: `path` is 0.
        """
        size = clip.shape[-2:]
        middle, current = self.backbone(clip[:, -1])
        past = [self.backbone(clip[:, slot])[1] for slot in range(self.past_frames)]
        logits = [self.head(current, past)]
        if self.auxiliary is not None and self.training:
            logits.append(self.auxiliary(middle))
        return tuple(F.interpolate(x, size, mode="bilinear", align_corners=True) for x in logits)


class MemoryHead(nn.Module):
    """Attention from the current frame's positions to all positions of the past frames, then a classifier.

    Each past slot has key and value encoders of its own; slot 0 is the oldest frame.
    """

    def __init__(self, classes: int, channels: int, slots: int, keys: int, values: int, width: int) -> None:
        super().__init__()
        self.query_key = _encoder(channels, keys)
        self.query_value = _encoder(channels, values)
        self.memory_keys = nn.ModuleList(_encoder(channels, keys) for _ in range(slots))
        self.memory_values = nn.ModuleList(_encoder(channels, values) for _ in range(slots))
        self.classifier = _classifier(2 * values, width, classes)

    def forward(self, current: Tensor, past: Sequence[Tensor]) -> Tensor:
        """Logits `[B, C, h, w]` from stage features `[B, K, h, w]` of the current and the past frames."""
        value = self.query_value(current)
        keys = [_tokens(encode(x)) for encode, x in zip(self.memory_keys, past, strict=True)]
        values = [_tokens(encode(x)) for encode, x in zip(self.memory_values, past, strict=True)]
        read = read_memory(_tokens(self.query_key(current)), torch.cat(keys, 1), torch.cat(values, 1))
        read = read.transpose(1, 2).reshape(value.shape)
        return self.classifier(torch.cat([value, read], 1))


def read_memory(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention without scaling: `[B, N, K]`, `[B, M, K]` and `[B, M, V]` to `[B, N, V]`.

    Keys are unscaled and non-negative, so that the products are large: they are kept in 32 bits.
    """
    # One head as an explicit axis: the fused kernels only take four dimensions.
    q, k, v = (x.float().unsqueeze(1) for x in (query, keys, values))
    with torch.autocast(q.device.type, enabled=False):
        return F.scaled_dot_product_attention(q, k, v, scale=1.0).squeeze(1).to(values.dtype)


def build_backbone(name: str, output_stride: int, pretrained: str | None) -> tuple[nn.Module, tuple[int, int]]:
    """A timm backbone that gives the features of its last two stages, the last at `output_stride`.

    Returns it with the channel counts of the two. `pretrained` is a local weights file, or `None` for
    timm's random initialisation. Raises `UserError` for a backbone that does not exist or cannot be
    dilated so, and for weights that do not fit.
    """
    # Only registered names: "hf-hub:…" would make timm ask the network.
    if not timm.is_model(name):
        similar = ", ".join(timm.list_models(f"*{name}*")[:5]) or "resnet50c, mobilenetv3_small_100"
        raise UserError(f"network.backbone '{name}' is no timm model: choose one, such as {similar}.")
    try:
        backbone: Any = timm.create_model(
            name, pretrained=False, features_only=True, out_indices=(-2, -1), output_stride=output_stride
        )
        middle, last = backbone.feature_info.channels()
        stride = backbone.feature_info.reduction()[-1]
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"network.backbone '{name}' gives no stage features at output stride {output_stride} "
            f"({error}): choose a convolutional backbone and 8, 16 or 32."
        ) from error
    if stride != output_stride:
        raise UserError(
            f"network.backbone '{name}' has output stride {stride} where network.output_stride is "
            f"{output_stride}: choose {stride}, or another backbone."
        )
    if pretrained is not None:
        load_backbone_weights(backbone, Path(pretrained))
    return backbone, (middle, last)


def load_backbone_weights(backbone: nn.Module, path: Path) -> None:
    """Load a timm classifier's weights file (safetensors, or a state dictionary of PyTorch) into its backbone."""
    with must_fit(path, "the backbone"):
        state = read_state(path)
        wanted = backbone.state_dict()
        # The file holds the classifier too, which the backbone lacks; nothing of the backbone may be missing.
        backbone.load_state_dict({key: state[key] for key in wanted})


def _encoder(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_convolution(inputs, outputs, 1), _convolution(outputs, outputs, 3))


def _classifier(inputs: int, width: int, classes: int) -> nn.Sequential:
    last = nn.Conv2d(width, classes, 1)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(_convolution(inputs, width, 3), nn.Dropout2d(_DROPOUT), last)


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm and ReLU, initialised after He et al. (fan-out)."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _tokens(features: Tensor) -> Tensor:
    """`[B, C, h, w]` to `[B, h * w, C]`, row by row."""
    return features.flatten(2).transpose(1, 2)
