"""TDNet: two light sub-networks take turns at a video's frames, and attention carries the past to the present.

Hu et al., "Temporally Distributed Networks for Fast Video Semantic Segmentation", CVPR 2020, as TD2-FANet18: two
FANet-18. Where the article is silent, constants follow the authors' Cityscapes configuration; what their code
holds and never uses is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewframes.core.errors import UserError
from fewframes.learning.networks.fanet import (
    SLOPE,
    STRIDE,
    FANet,
    convolution,
    initialised,
    load_resnet18,
    resized,
    tokens,
)

Memory = tuple[tuple[Tensor, Tensor], ...]
"""Of each past frame, the oldest first, keys `[B, M, width]` and values `[B, M, 4 * width]`."""

_DROPOUT = 0.1
"""Of attention weights and of what is read by them (authors' configuration)."""
_KEPT = 3
"""Every how many positions of a past frame are kept, by height and by width (authors' configuration)."""
_NORM_EPS = 1e-5


class TDNet(nn.Module):
    """The current frame's features plus what they read from past frames, which the sub-networks see in turn.

    On path 0 the first sub-network sees the current frame and the second the one before, on path 1 the other
    way round. `window` is the number of frames: 2, as published, or 3, where the sub-network of the current frame
    also sees the oldest and the attention spans both past ones. `size` is height and width in pixels of the frames
    to train on, for which the network has weights by position; for other frames they are resized. `width` is the
    channel count that all others are multiples of: 64 is FANet-18. `pretrained` is a local file of ResNet-18
    weights, for both sub-networks. With `auxiliary` a training also gets logits without the past. Raises
    `UserError` for settings out of these ranges and for weights that do not fit.
    """

    paths = 2
    memory_frame = "previous"

    def __init__(
        self,
        classes: int,
        *,
        window: int = 2,
        size: Sequence[int] = (768, 1536),
        width: int = 64,
        pretrained: str | None = None,
        auxiliary: bool = True,
    ) -> None:
        super().__init__()
        if window not in (2, 3):
            raise UserError(f"network.window is {window}: TDNet sees 2 frames, or 3.")
        if len(size) != 2 or min(size) < 1:
            raise UserError(f"network.size is {list(size)}: give height and width in pixels.")
        if width < 2:
            raise UserError(f"network.width is {width}: TDNet needs at least 2, and 64 is the published one.")
        self.past_frames = window - 1
        self.auxiliary = auxiliary
        subnetworks = [SubNetwork(classes, size, width) for _ in range(self.paths)]
        if pretrained is not None:
            load_resnet18(Path(pretrained), *(sub.features.backbone for sub in subnetworks))
        self.subnetworks = nn.ModuleList(subnetworks)

    def forward(self, clip: Tensor, path: int = 0) -> tuple[Tensor, ...]:
        """Logits `[B, C, H, W]` of the current frame; in training those without the past follow.

        `clip` is `float32 [B, T + 1, 3, H, W]`, normalised RGB, the oldest frame first and the current one last.
        """
        memory = tuple(
            self._subnetwork((path + back) % self.paths).remembered(clip[:, -1 - back])
            for back in range(self.past_frames, 0, -1)
        )
        sub, frame = self._subnetwork(path), clip[:, -1]
        features, value = sub.encoded(frame)
        logits = [sub.classified(value + sub.read(features, memory))]
        if self.auxiliary and self.training:
            logits.append(sub.classified(value))
        return tuple(resized(x, frame) for x in logits)

    def step(self, frame: Tensor, memory: Memory | None, path: int) -> tuple[Tensor, Memory]:
        """Logits `[B, C, H, W]` of a video's next frame `[B, 3, H, W]`, and the memory for the frame after it.

        Only one sub-network runs, so that `path` must alternate from frame to frame. `memory` is what the step
        before returned, `None` at a video's beginning: its first frame is classified without a past.
        """
        sub, memory = self._subnetwork(path), memory or ()
        features, value = sub.encoded(frame)
        fused = value + sub.read(features, memory) if memory else value
        memory = (*memory, sub.kept(features, value))[-self.past_frames :]
        return resized(sub.classified(fused), frame), memory

    def _subnetwork(self, index: int) -> SubNetwork:
        return cast(SubNetwork, self.subnetworks[index])


class SubNetwork(nn.Module):
    """A FANet-18 with encoders, attention, norm and classifier of its own.

    As the past it only uses features, key and value; as the present all but the key, which is why some weights have
    no gradient on a path.
    """

    def __init__(self, classes: int, size: Sequence[int], width: int) -> None:
        super().__init__()
        channels = 4 * width
        self.features = FANet(width)
        self.query = _encoder(channels, width)
        self.key = _encoder(channels, width)
        self.value = initialised(nn.Conv2d(channels, channels, 1))
        self.joined = initialised(nn.Conv2d(channels, channels, 1))
        self.norm = SpatialNorm(-(-size[0] // STRIDE), -(-size[1] // STRIDE))
        classifier = initialised(nn.Conv2d(channels, classes, 1, bias=False))
        self.head = nn.Sequential(convolution(channels, channels, 3), classifier)

    def encoded(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Features and values of a frame `[B, 3, H, W]`, `[B, 4 * width, h, w]` both."""
        features = self.features(frame)
        return features, self.value(features)

    def kept(self, features: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What a frame leaves for those after it: keys and values at every third position."""
        key, value = (tokens(x[:, :, ::_KEPT, ::_KEPT]) for x in (self.key(features), value))
        return key, value

    def remembered(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """`kept` of a frame."""
        return self.kept(*self.encoded(frame))

    def read(self, features: Tensor, memory: Memory) -> Tensor:
        """What the current frame's positions read from all past frames, `[B, 4 * width, h, w]`."""
        keys, values = (torch.cat(parts, 1) for parts in zip(*memory, strict=True))
        read = read_scaled(tokens(self.query(features)), keys, values, _DROPOUT if self.training else 0.0)
        read = read.transpose(1, 2).reshape(features.shape)
        return F.dropout(self.joined(read), _DROPOUT, self.training)

    def classified(self, fused: Tensor) -> Tensor:
        """Logits `[B, C, h, w]`."""
        return self.head(self.norm(fused))


class SpatialNorm(nn.Module):
    """Layer norm over the positions of each channel, with a weight and a bias by position, `height` by `width`."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(height, width))
        self.bias = nn.Parameter(torch.zeros(height, width))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, h, w]` to the same shape; weight and bias are bilinearly resized to it."""
        weight, bias = self.weight, self.bias
        if x.shape[-2:] != weight.shape:
            weight, bias = resized(torch.stack([weight, bias])[None], x)[0]
        return F.layer_norm(x, x.shape[-2:], weight, bias, _NORM_EPS)


def read_scaled(query: Tensor, keys: Tensor, values: Tensor, dropout: float = 0.0) -> Tensor:
    """Softmax attention scaled by the root of K: `[B, N, K]`, `[B, M, K]` and `[B, M, V]` to `[B, N, V]`."""
    # One head as an explicit axis: the fused kernels only take four dimensions.
    q, k, v = (x.unsqueeze(1) for x in (query, keys, values))
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).squeeze(1)


def _encoder(inputs: int, outputs: int) -> nn.Sequential:
    """Of queries and of keys: as in the authors' code both convolutions have biases."""
    first, second = initialised(nn.Conv2d(inputs, outputs, 1)), initialised(nn.Conv2d(outputs, outputs, 1))
    return nn.Sequential(first, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE, inplace=True), second)
