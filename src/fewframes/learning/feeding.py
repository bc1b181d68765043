"""Batches made by other processes, ahead of the network that takes them, and normalised where it runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fewframes.core.errors import UserError
from fewframes.learning.augmentation import NORMALISED, Batch
from fewframes.learning.samples import Batches


def feed(batches: Batches, iterations: range, workers: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of the iterations in their order, on the device: normalised frames, and labels.

    `workers` processes make them (0: this one does). What they send are bytes; on a GPU they become floats there.
    """
    for frames, labels, filled in sent(batches, iterations, workers, pinned=device.type == "cuda"):
        if device.type == "cpu":
            yield torch.from_numpy(Batch(frames.numpy(), labels.numpy(), filled.numpy()).normalised()), labels
        else:
            on_device = frames.to(device, non_blocking=True)
            yield normalised(on_device, filled.tolist()), labels.to(device, non_blocking=True)


def sent(
    batches: Batches, iterations: range, workers: int, pinned: bool = False
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The batches as the workers send them, the parts of `Batch` as tensors; raises `UserError` as they do."""
    # Here, before workers are forked: in one of them it would wait for ever for threads that were not forked with it.
    cv2.setNumThreads(1)
    loader: DataLoader[Any] = DataLoader(
        _Errors(batches),  # type: ignore[arg-type]
        batch_size=None,  # an item is a batch already
        sampler=iterations,
        num_workers=workers,
        worker_init_fn=_start_worker,
        pin_memory=pinned,
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def normalised(frames: Tensor, filled: list[list[int]]) -> Tensor:
    """What `Batch.normalised` gives, bit for bit, where the frames are; `filled` are its heights and widths."""
    table = torch.from_numpy(NORMALISED).flatten().to(frames.device)  # [256 * 3]: by level, then by channel
    places = frames.int() * 3 + torch.arange(3, dtype=torch.int32, device=frames.device)
    out = table.index_select(0, places.flatten()).view(frames.shape)
    for clip, (height, width) in zip(out, filled, strict=True):
        clip[:, height:] = 0
        clip[:, :, width:] = 0
    return out


class _Errors:
    """The batches, or in a batch's place the `UserError`: raised in a worker, it would come with a traceback."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, iteration: int) -> Batch | UserError:
        try:
            return self._batches.made(iteration)
        except UserError as error:
            return error


def _start_worker(_: int) -> None:
    # A scheduler signals every process of the job: the trainer needs its workers until it has saved.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
