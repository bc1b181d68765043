"""The segmentation networks, by name.

A network's `forward(clip, path=0)` takes a clip, `float32 [B, T + 1, 3, H, W]`, the oldest frame first and the
current one last, and returns a tuple of logits `[B, C, H, W]` of the current frame: the main ones first, and in
training mode those that only help to train after them. Its attribute `past_frames` is T, and `memory_frame` says
what they are: `previous` frames, or the current one itself (`self`), as many times. Weights of a module called
`auxiliary` are not part of the result.

Its attribute `paths` tells how many ways through it exist, each with weights that the others do not use: a
training takes path `iteration % paths`, and on each path those of the others have no gradient. A network of
several paths also has `step(frame, memory, path)`, which takes a video's frames one by one, `[B, 3, H, W]`, on
alternating paths, and returns a frame's logits and the memory for the next; `memory` is `None` at first.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from fewframes.core.errors import UserError
from fewframes.learning.networks.tdnet import TDNet
from fewframes.learning.networks.tmanet import TMANet

NETWORKS: dict[str, type[nn.Module]] = {"tdnet": TDNet, "tmanet": TMANet}
AUXILIARY = "auxiliary"
"""The module that is trained along and left out of the result, in a network that has one."""


def build_network(settings: Mapping[str, Any], classes: int, auxiliary: bool = True) -> nn.Module:
    """Build the network that `settings["name"]` names; the other settings are its own.

    Without `auxiliary` it has no parts that only help to train, nor logits of them. Raises `UserError` for an
    unknown name, an unknown setting, one out of its range, and weights that do not fit.
    """
    options = dict(settings)
    name = options.pop("name", None)
    if name not in NETWORKS:
        raise UserError(f"network.name is '{name}': choose one of {', '.join(sorted(NETWORKS))}.")
    known = sorted(inspect.signature(NETWORKS[name]).parameters.keys() - {"classes", AUXILIARY})
    for key in options:
        if key not in known:
            raise UserError(f"network.{key} is no setting of {name}: it has {', '.join(known)}.")
    return NETWORKS[name](classes=classes, auxiliary=auxiliary, **options)


def parameter_count(network: nn.Module) -> int:
    """How many trainable numbers the network has."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
