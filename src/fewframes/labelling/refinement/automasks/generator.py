"""The model on the device at hand, and the masks that it makes of an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fewframes.core.device import short_of_memory
from fewframes.core.errors import UserError
from fewframes.core.progress import say
from fewframes.labelling.models.chosen import ChosenModel, ModelHousekeeping
from fewframes.labelling.models.device import chosen_device
from fewframes.labelling.models.sam2 import build_model
from fewframes.labelling.refinement.automasks.filters import Candidate, candidates, distinct
from fewframes.labelling.refinement.automasks.masks import Mask
from fewframes.labelling.refinement.automasks.settings import NAME, AutomaskSettings

_CPU_BATCH, _GPU_BATCH = 4, 64
"""Points decoded at once: the official 64 on a GPU. On a processor four take 0.6 of the time of 16 or 32 at hiera_t and
1024 px, as what they need fits its caches."""

_HELD = 2**26
"""Bytes of logits that may wait for the last point of an image; beyond, the masks are settled as they come."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's mean and deviation by RGB channel, as `sam2.utils.transforms.SAM2Transforms` has them."""


@dataclass(frozen=True)
class _Embedding:
    """An image's features: `image` `[1, C, h, w]`, and those of twice and four times its resolution."""

    image: Tensor
    finer: list[Tensor]


class MaskGenerator:
    """Makes masks with a model of `build_model`, on the device where that is.

    They are those of `SAM2AutomaticMaskGenerator` with the same thresholds, without crops, `use_m2m` and the removal of
    small regions, which are off in it too by default. `max_batch` is the number of points decoded at once, and
    thereby memory; 0 leaves it to the device. `bfloat16` runs the model under autocast.
    """

    def __init__(
        self, model: nn.Module, settings: AutomaskSettings, *, max_batch: int = 0, bfloat16: bool = False
    ) -> None:
        self._model: Any = model
        self._settings, self._bfloat16 = settings, bfloat16
        self._device = next(model.parameters()).device
        self._batch = max_batch or (_CPU_BATCH if self._device.type == "cpu" else _GPU_BATCH)

    @torch.inference_mode()
    def generate(self, image: NDArray[np.uint8]) -> list[Mask]:
        """The masks of an image, RGB `uint8 [H, W, 3]`, the highest predicted IoU first.

        Raises `UserError` where memory does not suffice, and where the model's output is not finite.
        """
        with short_of_memory(
            f"Memory does not suffice for {self._batch} points at a time: give the job more, or set max_batch of "
            f"{NAME} to fewer."
        ):
            return self._generate(image)

    def _generate(self, image: NDArray[np.uint8]) -> list[Mask]:
        size = image.shape[:2]
        found: list[Candidate | Mask] = []
        for logits, predicted_iou in self._decoded(image):
            likely = predicted_iou > self._settings.pred_iou_thresh
            if likely.any():
                found += candidates(logits[likely], predicted_iou[likely], size, self._settings)
            if sum(4 * one.logits.numel() for one in found if isinstance(one, Candidate)) > _HELD:
                settled = (one.settled(self._settings) if isinstance(one, Candidate) else one for one in found)
                found = [mask for mask in settled if mask is not None]
        return distinct(found, self._settings)

    def _decoded(self, image: NDArray[np.uint8]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield logits, `float32 [N, s, s]`, and predicted IoU, `float32 [N]`, of three masks a point."""
        points = _grid(self._settings.points_per_side, image.shape[:2]).to(self._device) * self._model.image_size
        with self._precision():
            embedding = self._embed(image)
        for start in range(0, len(points), self._batch):
            with self._precision():
                logits, predicted_iou = self._decode(embedding, points[start : start + self._batch])
            if not (predicted_iou.isfinite().all() and logits.isfinite().all()):
                raise UserError(
                    f"The model of {NAME} gives no finite numbers: set its precision to float32, or give other weights."
                )
            yield logits.flatten(0, 1).float(), predicted_iou.flatten(0, 1).float()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)

    def _embed(self, image: NDArray[np.uint8]) -> _Embedding:
        """As `SAM2ImagePredictor.set_image`."""
        pixels = torch.tensor(image, device=self._device).permute(2, 0, 1)[None].contiguous().float() / 255
        square = [self._model.image_size] * 2
        pixels = F.interpolate(pixels, square, mode="bilinear", align_corners=False, antialias=True)
        mean, std = (torch.tensor(values, device=self._device)[:, None, None] for values in (_MEAN, _STD))
        backbone = self._model.forward_image((pixels - mean) / std)
        _, features, _, sizes = self._model._prepare_backbone_features(backbone)
        if self._model.directly_add_no_mem_embed:
            features[-1] = features[-1] + self._model.no_mem_embed
        *finer, coarsest = (f.permute(1, 2, 0).unflatten(2, size) for f, size in zip(features, sizes, strict=True))
        return _Embedding(coarsest, finer)

    def _decode(self, embedding: _Embedding, points: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[N, 3, s, s]` and predicted IoU `[N, 3]` for N points, `[N, 2]` (x, y) in the model's pixels."""
        inside = torch.ones(len(points), 1, dtype=torch.int, device=self._device)
        prompts = self._model.sam_prompt_encoder
        sparse, dense = prompts(points=(points[:, None], inside), boxes=None, masks=None)
        logits, predicted_iou, _, _ = self._model.sam_mask_decoder(
            image_embeddings=embedding.image,
            image_pe=prompts.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            repeat_image=len(points) > 1,
            high_res_features=embedding.finer,
        )
        return logits, predicted_iou


def _grid(per_side: int, size: tuple[int, int]) -> Tensor:
    """The centres of a grid's squares as shares of the image's width and height, `float32 [per_side², 2]`, row by row.

    By way of the image's pixels, as the official generator has them, so that they are the same to the bit.
    """
    centres = np.linspace(1 / (2 * per_side), 1 - 1 / (2 * per_side), per_side)
    shares = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    pixels = np.array(size[::-1])
    return torch.from_numpy((shares * pixels).astype(np.float32)) / torch.from_numpy(pixels.astype(np.float32))


def set_up(
    settings: AutomaskSettings, run: ModelHousekeeping, model: ChosenModel
) -> tuple[MaskGenerator, Mapping[str, str]]:
    """Build the model and put it on its device: the generator, and notes on what it runs on.

    Raises `UserError` where either cannot be had.
    """
    device = chosen_device(run, settings.precision, NAME)
    built = build_model(model.config, model.path, image_size=settings.image_size or None, seed=settings.seed)
    generator = MaskGenerator(built.to(device.at), settings, max_batch=run.max_batch, bfloat16=device.bfloat16)
    runs_on = f"{model.config} at {built.image_size} px on {device.name}, {device.precision}"
    say(f"automask: {runs_on}, {model.said}, {settings.points_per_side**2} points an image.")
    return generator, device.notes("sam2")
