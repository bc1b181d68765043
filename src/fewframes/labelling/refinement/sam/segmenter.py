"""SAM on its device: images embedded, prompts decoded, masks upsampled, as by `SamPredictor` but many at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fewframes.core.device import short_of_memory
from fewframes.core.errors import UserError
from fewframes.labelling.refinement.sam.contract import Decoded, Prompts
from fewframes.labelling.refinement.sam.decoder import Decoder
from fewframes.labelling.refinement.sam.upsampling import upsampled
from fewframes.labelling.refinement.sam.views import View, chosen_views, reach, views_of

_CPU_PROMPTS, _GPU_PROMPTS = 4, 64
"""Prompts decoded at once. On a processor more are no faster. At 1024 px each needs about 50 MB (in float32)."""

_CPU_IMAGES, _GPU_IMAGES = 1, 4
"""Views encoded at once, at most: the attention of one takes a gigabyte at 1024 px (16 heads of 4096 cells squared)."""

_T = TypeVar("_T")


@dataclass
class Embedding:
    """The embeddings of an image's views, `[1, channels, h, w]`; None of the whole image until something needs it.

    `image` is kept as long as that is so.
    """

    views: list[View]
    features: list[Tensor | None]
    image: NDArray[np.uint8] | None


class SamSegmenter:
    """A model `Sam`, on the device where that is.

    An image may be seen in several views: 0 is the whole, further ones are crops, where `crops` are asked for: two of
    them (`views` says how), and the whole only where an object does not fit in one. Logits are a map of one view, so
    that an object keeps its view from one decoding to the next.

    `max_batch` is the number of prompts decoded at once, and thereby memory; 0 is 64 on a GPU and 4 on a processor.
    Where a GPU's memory runs out, batches are halved and the work goes on. `bfloat16` computes with that in place of
    float32, for all but the prompts' few tokens.
    """

    def __init__(self, model: nn.Module, *, max_batch: int = 0, bfloat16: bool = False, crops: bool = False) -> None:
        sam: Any = model
        self._model = sam
        self._device = next(model.parameters()).device
        self._side = int(sam.image_encoder.img_size)
        self._cells = int(sam.prompt_encoder.mask_input_size[0])
        cpu = self._device.type == "cpu"
        self._prompts = max_batch or (_CPU_PROMPTS if cpu else _GPU_PROMPTS)
        self._images = _CPU_IMAGES if cpu else _GPU_IMAGES
        self._bfloat16, self._crops = bfloat16, crops
        with torch.no_grad():
            position = sam.prompt_encoder.get_dense_pe()
            dtype = torch.bfloat16 if bfloat16 else torch.float32
            self._decoder = Decoder(sam.mask_decoder, position, dtype)

    @property
    def max_batch(self) -> int:
        """The number of prompts that are decoded at once: less than was asked for where memory ran out."""
        return self._prompts

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """An embedding of each image, RGB `uint8 [H, W, 3]`; images of any sizes are encoded in batches.

        Raises `UserError` where memory does not suffice for one.
        """
        embeddings, wanted = [], []
        for image in images:
            views = views_of(image.shape[:2], self._side, self._crops)
            embedding = Embedding(views, [None] * len(views), image if len(views) > 1 else None)
            embeddings.append(embedding)
            wanted += [(embedding, number, image) for number in range(min(1, len(views) - 1), len(views))]
        self._encode(wanted)
        return embeddings

    def views(self, embedding: Embedding, boxes: NDArray[np.float32]) -> NDArray[np.intp]:
        """The view for each object, `intp [N]`, where its box says how far it reaches; see `chosen_views`."""
        return chosen_views(embedding.views, boxes)

    def lowered(
        self, embedding: Embedding, masks: Iterable[NDArray[np.bool_]], views: NDArray[np.intp] | None = None
    ) -> Tensor:
        """Masks of the image's size as maps like `Decoded.logits`: the share of each cell, `float32 [N, s, s]`.

        A pixel counts for every cell that it reaches into; 0 where a view has no image. `views` None is the whole image
        for all.
        """
        lowered = []
        for number, mask in enumerate(masks):
            view = embedding.views[0 if views is None else views[number]]
            height, width = view.resized
            square = np.zeros((self._side, self._side), np.float32)
            shown = mask[view.window].astype(np.float32)
            square[:height, :width] = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA)
            lowered.append(cv2.resize(square, (self._cells, self._cells), interpolation=cv2.INTER_AREA))
        stacked = np.stack(lowered) if lowered else np.zeros((0, self._cells, self._cells), np.float32)
        return torch.from_numpy(stacked).to(self._device)

    def decode(self, embedding: Embedding, prompts: Prompts, multimask: bool) -> Decoded:
        """Masks for all prompts of an image, decoded in batches; equal to `SamPredictor.predict` one by one.

        What is not in the result takes memory for one batch only. Raises `ValueError` for masks whose views are not
        given, where the image has more than one, and `UserError` where memory does not suffice or the model's output is
        not finite.
        """
        views = prompts.views
        if views is None:
            if prompts.masks is not None and len(embedding.views) > 1:
                raise ValueError("Masks are maps of a view: give the views of what was decoded with them.")
            views = self.views(embedding, reach(prompts.points, prompts.boxes))
        shape = (len(prompts), 3 if multimask else 1)
        logits = torch.empty((*shape, self._cells, self._cells), device=self._device)
        iou = torch.empty(shape, device=self._device)
        for number in np.unique(views):
            rows = np.flatnonzero(views == number)
            features = self._features(embedding, int(number))
            view = embedding.views[number]
            start = 0
            while start < len(rows):
                batch = rows[start : start + self._prompts]
                decoded = self._attempt(partial(self._decode, features, view, prompts, batch, multimask))
                if decoded is None:
                    self._prompts = self._halved(self._prompts, "a single prompt")
                    continue
                if not all(part.isfinite().all() for part in decoded):
                    raise UserError(
                        "SAM gave numbers that are not finite: check the weights, and use float32 where it was "
                        "bfloat16."
                    )
                index = torch.from_numpy(batch).to(self._device)
                logits[index], iou[index] = decoded
                start += len(batch)
        return Decoded(logits, iou, views)

    def upsampled(
        self, embedding: Embedding, logits: Tensor, views: NDArray[np.intp] | None = None
    ) -> Iterator[NDArray[np.bool_]]:
        """Each of the masks `[N, s, s]` at the image's size, `bool [H, W]`, where its logit is above 0.

        One is held at a time, and is False all around its view. Raises `ValueError` where `views` is None and the image
        has more than one.
        """
        if views is None and len(embedding.views) > 1:
            raise ValueError("Masks are maps of a view: give the views of what was decoded with them.")
        whole = embedding.views[0]
        for number, one in enumerate(logits):
            view = embedding.views[0 if views is None else views[number]]
            mask = upsampled(one.float(), view)
            if mask.shape != (whole.height, whole.width):
                everywhere = np.zeros((whole.height, whole.width), bool)
                everywhere[view.window] = mask
                mask = everywhere
            yield mask

    def _features(self, embedding: Embedding, number: int) -> Tensor:
        if embedding.features[number] is None:
            assert embedding.image is not None
            self._encode([(embedding, number, embedding.image)])
            embedding.image = None
        features = embedding.features[number]
        assert features is not None
        return features

    def _encode(self, wanted: Sequence[tuple[Embedding, int, NDArray[np.uint8]]]) -> None:
        """Encode a view of each embedding."""
        start = 0
        while start < len(wanted):
            batch = wanted[start : start + self._images]
            squares = [self._square(embedding.views[number].pixels(image)) for embedding, number, image in batch]
            encoded = self._attempt(partial(self._run_encoder, torch.cat(squares)))
            if encoded is None:
                self._images = self._halved(self._images, "a single image")
                continue
            for (embedding, number, _), features in zip(batch, torch.split(encoded, 1), strict=True):
                embedding.features[number] = features.clone()  # apart, so that each can be freed
            start += len(batch)

    def _square(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Pixels `[h, w, 3]` as the model's input `float32 [1, 3, side, side]`."""
        channels = torch.from_numpy(pixels.copy()).to(self._device).permute(2, 0, 1)[None]
        square: Tensor = self._model.preprocess(channels)
        return square

    def _run_encoder(self, squares: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            encoded: Tensor = self._model.image_encoder(squares)
        return encoded.float()

    def _decode(
        self, features: Tensor, view: View, prompts: Prompts, rows: NDArray[np.intp], multimask: bool
    ) -> tuple[Tensor, Tensor]:
        points = torch.from_numpy(view.places(prompts.points[rows])).to(self._device)
        inside = torch.from_numpy(prompts.inside[rows]).to(self._device, torch.int32)
        boxes = masks = None
        if prompts.boxes is not None:
            corners = view.places(prompts.boxes[rows].reshape(-1, 2, 2))
            boxes = torch.from_numpy(corners.reshape(-1, 4)).to(self._device)
        if prompts.masks is not None:
            masks = prompts.masks[torch.from_numpy(rows).to(prompts.masks.device), None].to(self._device).float()
        # Without points the encoder is given none: it would add one that stands for their absence.
        given = (points, inside) if points.shape[1] else None
        sparse, dense = self._model.prompt_encoder(points=given, boxes=boxes, masks=masks)
        return self._decoder(features, sparse, dense, multimask)

    def _attempt(self, work: Callable[[], _T]) -> _T | None:
        """What `work` gives, or None where a GPU's memory ran out; raises `UserError` where a processor's did."""
        sentence = "Memory does not suffice for SAM: give the job more, or take a smaller model or max_batch."
        with short_of_memory(sentence), torch.no_grad(), contextlib.suppress(torch.OutOfMemoryError):
            return work()
        # Outside what suppresses it: the exception holds on to what the attempt allocated.
        torch.cuda.empty_cache()
        return None

    @staticmethod
    def _halved(batch: int, what: str) -> int:
        if batch == 1:
            raise UserError(
                f"The GPU's memory does not suffice for {what}: take a smaller model, or leave the GPU to this job."
            )
        return batch // 2
