"""What the compact models are trained by: SAM 2's losses of masks and scores, and one that teaches the encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_WEIGHT, DICE_WEIGHT, IOU_WEIGHT, PRESENCE_WEIGHT, MATCHING_WEIGHT = 0.5, 1.0, 0.25, 1.0, 0.25
"""SAM 2 has 20, 1, 1 and 1 (Ravi et al. 2024, appendix D.2), with which small batches left every mask empty. With 5 in
place of 20 masks swelled: of a decoder of SAM alone, the IoU after 200 iterations was 0.50, with 0.5 it was 0.55."""


_SHARPNESS = 16.0
"""By how much two features that are equal are more alike than two that have nothing in common."""


def focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017) by mask: of `[..., H, W]`, the weighted mean over pixels.

    A pixel of the mask weighs the square root of how many times there are others: without a weight, small batches of
    small objects taught to leave every mask empty.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    hard = entropy * (1 - torch.exp(-entropy)) ** gamma
    share = target.mean((-2, -1), keepdim=True).clamp(1e-4, 1)
    weight = 1 + target * (((1 - share) / share).clamp(min=1).sqrt() - 1)
    return (hard * weight).sum((-2, -1)) / weight.sum((-2, -1))


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Dice loss by mask: of `[..., H, W]`, 0 to 1; the 1 in both terms keeps it defined for nothing."""
    share = logits.sigmoid()
    both = (share * target).sum((-2, -1))
    return 1 - (2 * both + 1) / (share.sum((-2, -1)) + target.sum((-2, -1)) + 1)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of a mask (its logits, cut at 0) and the truth, `[..., H, W]`; 1 where both are empty."""
    mask, truth = logits > 0, target > 0.5
    both = (mask & truth).sum((-2, -1)).float()
    either = (mask | truth).sum((-2, -1)).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))


def mask_loss(logits: Tensor, ious: Tensor, target: Tensor) -> Tensor:
    """Loss by row of masks `[R, M, h, w]`, of their predicted IoU `[R, M]` and of the truth `[R, H, W]`, 0 or 1.

    Of several masks only the best is trained; the IoU of each is (SAM 2, appendix D.2.1).
    """
    several = ious.shape[1]
    fine = F.interpolate(logits.float(), target.shape[-2:], mode="bilinear", align_corners=False)
    truth = target[:, None].expand(-1, several, -1, -1)
    masks = FOCAL_WEIGHT * focal(fine, truth) + DICE_WEIGHT * dice(fine, truth)
    with torch.no_grad():
        measured = mask_iou(fine, truth)
    scores = (ious.float() - measured).abs().mean(1)
    return masks.min(1).values + IOU_WEIGHT * scores


def grouping_loss(features: Tensor, ids: Tensor, reach: float) -> Tensor:
    """How badly the features `[B, C, h, w]` of a frame tell which places near each other are one object.

    The ids are `int64 [B, H, W]`, 0 where nothing is known. As in `matching_loss`, but within one frame: any other
    place of the same object is right.
    """
    alike, whose = _likeness(features, features, reach), _at_places(ids, features)
    itself = torch.eye(alike.shape[-1], dtype=torch.bool, device=ids.device)
    same = (whose[:, :, None] == whose[:, None]) & (whose > 0)[:, :, None] & ~itself
    return _missed(alike.masked_fill(itself, -1e4), same)


def matching_loss(before: Tensor, after: Tensor, pieces_before: Tensor, pieces_after: Tensor, reach: float) -> Tensor:
    """How badly the features of two frames tell which place of the first each place of the second came from.

    `before` and `after` are `[B, C, h, w]`, the pieces `int64 [B, H, W]`, 0 where nothing is known. A place looks for
    its like within about `reach` of the side; any place of the same piece is right. The mean of the negative log of
    the share that is, over the places whose piece is seen in both.
    """
    first, second = _at_places(pieces_before, before), _at_places(pieces_after, after)
    same = (second[:, :, None] == first[:, None]) & (second > 0)[:, :, None]
    return _missed(_likeness(after, before, reach), same)


def _at_places(ids: Tensor, features: Tensor) -> Tensor:
    """The ids in the middle of each place, `[B, h * w]`."""
    down, across = (ids.shape[n] // features.shape[n + 1] for n in (1, 2))
    return ids[:, down // 2 :: down, across // 2 :: across].flatten(1)


def _likeness(ours: Tensor, theirs: Tensor, reach: float) -> Tensor:
    """How much each of our places is like each of theirs, `[B, h * w, h * w]`: by cosine, less with distance."""
    high, wide = ours.shape[-2:]
    own, other = (F.normalize(f.float().flatten(2), dim=1) for f in (ours, theirs))
    y, x = torch.meshgrid(torch.linspace(0, 1, high), torch.linspace(0, 1, wide), indexing="ij")
    at = torch.stack([x.flatten(), y.flatten()], 1).to(ours.device)
    return _SHARPNESS * torch.bmm(own.transpose(1, 2), other) - torch.cdist(at, at) ** 2 / (2 * reach**2)


def _missed(alike: Tensor, same: Tensor) -> Tensor:
    """The mean of the negative log of the share of what is the same, over the places that have any."""
    known = same.any(-1)
    right = alike.masked_fill(~same, -1e4).logsumexp(-1) - alike.logsumexp(-1)
    return -(right * known).sum() / known.sum().clamp(min=1)
