"""FANet-18: what one frame holds, by a ResNet-18 with an extra reduction and attention of linear cost.

Hu et al., "Real-time Semantic Segmentation with Fast Attention", RA-L 2021, as the sub-network of TDNet (see
`tdnet`), whose published configuration the constants follow. Channel counts are multiples of `width`, 64 there.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewframes.learning.networks.state import must_fit, read_state

SLOPE = 0.01
"""Of the leaky ReLU after a batch norm (the authors' code)."""
STRIDE = 8
"""Pixels of the frame by one position of the features."""
_NORM_EPS = 1e-12
"""Smallest length that a query or key is divided by (the authors' code)."""
_UNTRAINED = "layer1.0.downsample."
"""What the published ResNet-18 lacks: its first stage keeps the resolution, so that it needs no projection."""
_CLASSIFIER = "fc."


class FANet(nn.Module):
    """Features `[B, 4 * width, H / 8, W / 8]` (rounded up) of a frame `[B, 3, H, W]`.

    Attention at every stage, from coarse to fine; the result joins the stages of strides 32 and 8. Modules
    are named after the stride of what they take.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = ResNet18(width)
        keys = width // 2
        self.attention8 = FastAttention(width, keys)
        self.attention16 = FastAttention(2 * width, keys)
        self.attention32 = FastAttention(4 * width, keys)
        self.attention64 = FastAttention(8 * width, keys)
        self.up16 = _up(2 * width)
        self.up32 = _up(4 * width)
        self.up64 = _up(8 * width)
        self.smooth8 = convolution(width, 2 * width, 3)
        self.smooth32 = convolution(4 * width, 2 * width, 3)

    def forward(self, frame: Tensor) -> Tensor:
        """Features of one frame."""
        at8, at16, at32, at64 = self.backbone(frame)
        at64 = self.attention64(at64)
        at32 = self.attention32(at32, self.up64(at64))
        at16 = self.attention16(at16, self.up32(at32))
        at8 = self.attention8(at8, self.up16(at16))
        fine = self.smooth8(at8)
        return torch.cat([resized(self.smooth32(at32), fine), fine], 1)


class ResNet18(nn.Module):
    """ResNet-18 whose four stages all halve the resolution, the first one too: strides 8, 16, 32 and 64.

    Modules are named as in torchvision and timm, so that their weights can be loaded by name. Without such
    weights it starts from PyTorch's own initialisation.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width)
        self.layer2 = _stage(width, 2 * width)
        self.layer3 = _stage(2 * width, 4 * width)
        self.layer4 = _stage(4 * width, 8 * width)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The features of the four stages, from fine to coarse."""
        x = F.leaky_relu(self.bn1(self.conv1(frame)), SLOPE, inplace=True)
        at8 = self.layer1(F.max_pool2d(x, 3, stride=2, padding=1))
        at16 = self.layer2(at8)
        at32 = self.layer3(at16)
        return at8, at16, at32, self.layer4(at32)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a projection where the resolution is halved."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, h, w]` to `[B, outputs, h / stride, w / stride]`; the ReLU at the end does not leak."""
        inner = F.leaky_relu(self.bn1(self.conv1(x)), SLOPE, inplace=True)
        return F.relu(self.bn2(self.conv2(inner)) + self.downsample(x), inplace=True)


class FastAttention(nn.Module):
    """Adds to features what each position reads from all others, and the features of a coarser stage."""

    def __init__(self, channels: int, keys: int) -> None:
        super().__init__()
        self.query = convolution(channels, keys, 1, activated=False)
        self.key = convolution(channels, keys, 1, activated=False)
        self.value = convolution(channels, channels, 1)
        self.lateral = convolution(channels, channels, 1)

    def forward(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        """`[B, C, h, w]` to the same shape; `coarser` is `[B, C, any, any]`."""
        read = fast_attention(tokens(self.query(x)), tokens(self.key(x)), tokens(self.value(x)))
        x = x + self.lateral(read.transpose(1, 2).reshape(x.shape))
        return x if coarser is None else x + resized(coarser, x)


def fast_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Values summed by cosine affinity: `[B, N, K]`, `[B, M, K]` and `[B, M, V]` to `[B, N, V]`.

    There is no softmax, so that keys and values can be multiplied first, at a cost linear in N and M. As in
    the authors' code the sum is not divided by M: the batch norm that follows evens that out.
    """
    query, key = (F.normalize(x, dim=-1, eps=_NORM_EPS) for x in (query, key))
    return query @ (key.transpose(1, 2) @ value)


def convolution(inputs: int, outputs: int, kernel: int, activated: bool = True, border: int = 0) -> nn.Module:
    """Convolution without bias, batch norm and (`activated`) leaky ReLU; the map grows by `border` on each side."""
    layer = initialised(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2 + border, bias=False))
    norm = nn.BatchNorm2d(outputs)
    return nn.Sequential(layer, norm, nn.LeakyReLU(SLOPE, inplace=True)) if activated else nn.Sequential(layer, norm)


def initialised(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, as in the authors' code: weights normal, of variance one by the number of inputs; biases zero."""
    nn.init.kaiming_normal_(layer.weight, a=1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def tokens(features: Tensor) -> Tensor:
    """`[B, C, h, w]` to `[B, h * w, C]`, row by row."""
    return features.flatten(2).transpose(1, 2)


def resized(features: Tensor, like: Tensor) -> Tensor:
    """`features`, bilinearly at the height and width of `like`; corners stay corners."""
    return F.interpolate(features, like.shape[-2:], mode="bilinear", align_corners=True)


def load_resnet18(path: Path, *backbones: nn.Module) -> None:
    """Load a ResNet-18 classifier's weights (of torchvision or timm; safetensors or PyTorch) into backbones.

    Raises `UserError` for a file that cannot be read, that lacks more than the projection that no published
    ResNet-18 has, or that holds more than the classifier: weights of a deeper ResNet have all these names too.
    """
    with must_fit(path, "a ResNet-18"):
        # A plain dictionary: without the version of its batch norms, torch forgives old files their missing counters.
        state = {key: value for key, value in read_state(path).items() if not key.startswith(_CLASSIFIER)}
        for backbone in backbones:
            missing, unknown = backbone.load_state_dict(state, strict=False)
            odd = [key for key in missing if not key.startswith(_UNTRAINED)] + unknown
            if odd:
                raise ValueError(f"{len(odd)} names differ, such as {odd[0]}")


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(inputs, outputs, 2), ResidualBlock(outputs, outputs, 1))


def _up(channels: int) -> nn.Module:
    """Half the channels, for the next finer stage."""
    # The border is in the authors' code, and what they trained has it.
    return convolution(channels, channels // 2, 1, border=1)
