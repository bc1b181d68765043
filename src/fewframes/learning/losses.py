"""What a network is trained by: cross-entropy, the or that of the hardest pixels alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fewframes.core.labels import IGNORE
from fewframes.learning.settings import TrainingSettings

_SURE = 0.7
"""Pixels whose true class has less than this probability are hard (TDNet's published configuration)."""
_LEAST_HARD = 16
"""One pixel of so many counts at least, however sure the network is (same source)."""


def total_loss(logits: Sequence[Tensor], labels: Tensor, plan: TrainingSettings) -> Tensor:
    """The loss of the main logits plus, by `aux_weight`, of the others.

    `logits` are `[B, C, H, W]` each, `labels` is `uint8 [B, H, W]`. A batch of ignore alone costs nothing.
    """
    targets = labels.flatten().long()
    total = torch.zeros((), device=labels.device)
    for position, each in enumerate(logits):
        # Pixels as rows: in the networks' channels-last layout a mere view, and twice as fast on a CPU.
        rows = each.permute(0, 2, 3, 1).flatten(0, 2)
        if plan.loss == "ohem":
            own = hardest_cross_entropy(rows, targets)
        else:
            own = cross_entropy(rows, targets, plan.ignore_in_loss_mean)
        total = total + own * (plan.aux_weight if position else 1.0)
    return total


def cross_entropy(logits: Tensor, targets: Tensor, labelled_only: bool) -> Tensor:
    """Cross-entropy of pixels `[N, C]` and train ids `[N]`.

    The sum is divided by all pixels, ignored ones too, as TMANet does it, or (`labelled_only`) by the labelled ones.
    """
    divisor = (targets != IGNORE).sum().clamp(min=1) if labelled_only else targets.numel()
    return F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum") / divisor


def hardest_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the hard pixels (OHEM) among `[N, C]` and train ids `[N]`.

    Hard are those whose true class has a probability below 0.7; where they are fewer than a sixteenth of all pixels,
    that many of the largest losses are, ignored pixels with their 0 among them if there are no others.
    """
    each = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
    least = max(1, each.numel() // _LEAST_HARD)
    hard = each > -math.log(_SURE)
    if int(hard.sum()) > least:
        return each[hard].mean()
    return each.topk(least, sorted=False).values.mean()
