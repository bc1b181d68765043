"""What is told of a training as it goes: the curve, for `log.csv` and TensorBoard, and lines for people."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewframes.core import metrics
from fewframes.core.files import write_csv
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.progress import say
from fewframes.learning.settings import TrainingSettings

WINDOW = 50
"""Iterations that a point of TensorBoard's curves, and a number of mIoU, is of."""
_SECONDS_BETWEEN_LINES = 10.0
_SEEN = 4
"""Of so many rows and columns of a crop one counts for mIoU while training."""


class Journal:
    """The curve of one training, by iteration; its state goes into checkpoints.

    mIoU is of the training crops themselves, by the network as it was at each iteration: it tells whether the
    training learns, not how well the network will do on other frames.
    """

    def __init__(self, plan: TrainingSettings, classes: ClassTable, name: str) -> None:
        self._plan, self._classes, self._name = plan, classes, name
        self._iterations = plan.iterations
        count = len(classes.names)
        self.losses: list[float] = []
        self._mious: list[float] = []
        self._window = np.zeros((count, count), np.int64)
        self._pixels = np.zeros(count, np.int64)
        self._board: Any = None
        self._began = self._spoken = time.monotonic()
        self._first = 0

    @property
    def done(self) -> int:
        """How many iterations were made."""
        return len(self.losses)

    def state(self) -> dict[str, Any]:
        """What `resume` takes."""
        return {
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "mious": torch.tensor(self._mious, dtype=torch.float64),
            "window": torch.from_numpy(self._window.copy()),
            "pixels": torch.from_numpy(self._pixels.copy()),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on after the iterations of an earlier process."""
        self.losses, self._mious = state["losses"].tolist(), state["mious"].tolist()
        self._window, self._pixels = state["window"].numpy(), state["pixels"].numpy()
        self._first = self.done

    def open_board(self, folder: Path) -> None:
        """Have the curves go to TensorBoard's files in a folder too, in place of what iterations after these left."""
        # Takes a while, and evaluation needs none. Not its SummaryWriter: that one's thread dies of a full disk, and
        # whoever has more to tell then waits for it for ever.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        if not self.done and folder.exists():
            shutil.rmtree(folder)
        with self._curves():
            folder.mkdir(parents=True, exist_ok=True)
            # Its own names count seconds, of which two processes may share one.
            self._board = EventsWriter(str(folder / "events"), f".{self.done:08}")
        self._tell(self.done + 1, session_log=SessionLog(status=SessionLog.START))

    def close(self) -> None:
        """Flush what TensorBoard reads."""
        with self._curves():
            if self._board:
                self._board.close()

    def add(self, loss: float, pixels: Tensor) -> None:
        """Note an iteration: its loss, and some pixels by true and predicted class, `int64 [C, C]`."""
        self.losses.append(loss)
        matrix = pixels.cpu().numpy()
        self._window += matrix
        self._pixels += matrix.sum(1)
        if self.done % WINDOW == 0 or self.done == self._iterations:
            self._mious.append(metrics.mean(metrics.iou_per_class(self._window)))
            self._window[:] = 0
            self._plot()
        now = time.monotonic()
        if now - self._spoken > _SECONDS_BETWEEN_LINES or self.done == self._iterations:
            self._spoken = now
            self._say(now)

    def write(self, path: Path) -> None:
        """Write the curve as CSV: iteration, loss, learning rate, and mIoU (percent) where a window of it ends."""
        rows = []
        for i, loss in enumerate(self.losses):
            ends = (i + 1) % WINDOW == 0 or i + 1 == self._iterations
            miou = self._mious[i // WINDOW] if ends else float("nan")
            percent = "" if np.isnan(miou) else f"{100 * miou:.2f}"
            rows.append((i, f"{loss:.6f}", f"{self._plan.rate_at(i):.8f}", percent))
        write_csv(path, ("iteration", "loss", "lr", "miou"), rows)

    def absent(self) -> list[str]:
        """The classes of which no training label had a pixel, as far as was counted."""
        return [name for name, pixels in zip(self._classes.names, self._pixels, strict=True) if not pixels]

    def _plot(self) -> None:
        if self._board is None:
            return
        start = (self.done - 1) // WINDOW * WINDOW
        points = {
            "loss": float(np.mean(self.losses[start:])),
            "lr": self._plan.rate_at(self.done - 1),
            "miou": 100 * self._mious[-1],
        }
        from tensorboardX.summary import scalar

        for name, value in points.items():
            self._tell(self.done, summary=scalar(f"train/{name}", value))

    def _tell(self, step: int, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with self._curves():
            if self._board:
                self._board.write_event(Event(step=step, wall_time=time.time(), **what))
                self._board.flush()

    @contextlib.contextmanager
    def _curves(self) -> Iterator[None]:
        """Go on without curves where their disk is full: no result depends on them."""
        try:
            yield
        except OSError as error:
            self._board = None
            say(f"train {self._name}: no more curves for TensorBoard ({error.strerror}).")

    def _say(self, now: float) -> None:
        pace = (self.done - self._first) / (now - self._began)
        miou = f", mIoU {100 * self._mious[-1]:.1f} % of the crops" if self._mious else ""
        left = f", {(self._iterations - self.done) / pace / 60:.0f} min to go" if self.done < self._iterations else ""
        say(
            f"train {self._name}: iteration {self.done}/{self._iterations}, loss {self.losses[-1]:.4f}{miou}, "
            f"{pace:.1f} it/s{left}"
        )


def counted(logits: Tensor, labels: Tensor) -> Tensor:
    """Some of the pixels by true and predicted class, `int64 [C, C]`, of logits `[B, C, H, W]`, labels `[B, H, W]`."""
    classes = logits.shape[1]
    truth = labels[:, ::_SEEN, ::_SEEN].flatten().long()
    best = logits.detach()[:, :, ::_SEEN, ::_SEEN].argmax(1).flatten()
    known = truth != IGNORE
    return torch.bincount(truth[known] * classes + best[known], minlength=classes * classes).view(classes, classes)
