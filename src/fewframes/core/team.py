"""Processes that train one network together, each on its part of every batch; one is a team of itself."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import get_context

from fewframes.core.errors import UserError
from fewframes.core.progress import be_silent, say

_PATIENCE = 20.0
"""Seconds in which the failure of one process should have reached the first by itself."""
_FAREWELL = 2.0
"""Seconds that the others have to end by themselves."""


@dataclass(frozen=True)
class Team:
    """The processes that share each batch: this one is number `rank` of `size`.

    All must call what works together, in the same order. Sums are of all processes, the same in each.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum of all processes' values, which may be overwritten."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, here: bool, device: torch.device) -> bool:
        """Whether it holds in any process."""
        return here if self.size == 1 else bool(self.total(torch.tensor(float(here), device=device)) > 0)

    def agree(self, network: nn.Module) -> None:
        """Let the gradients of all be their mean; where one process has none, it counts as 0."""
        if self.size == 1:
            return
        parameters = [p for p in network.parameters() if p.requires_grad]
        # What no process used keeps no gradient: an optimiser passes over it.
        used = self.total(torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device))
        shared = [p for p, count in zip(parameters, used.tolist(), strict=True) if count]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in shared])
        self.total(flat).div_(self.size)
        for p, part in zip(shared, torch.split(flat, [p.numel() for p in shared]), strict=True):
            # In the weight's own layout, which fused optimisers take for granted.
            p.grad = torch.empty_like(p).copy_(part.view_as(p))


class SharedBatchNorm(nn.BatchNorm2d):
    """A batch norm over the batch of the whole team.

    PyTorch's own `SyncBatchNorm` needs GPUs: this one can be tested beside the batch norm that it must equal.
    """

    team: Team

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`; in training by the moments of all processes' parts."""
        if not self.training or self.team.size == 1:
            return super().forward(input)
        seen = input.float()
        count = self.team.total(seen.new_tensor(seen[:, 0].numel()))
        mean = _total(seen.sum((0, 2, 3))) / count
        away = seen - mean[:, None, None]
        variance = _total((away * away).sum((0, 2, 3))) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            with torch.no_grad():
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), share)
        scale = torch.rsqrt(variance + self.eps)
        if not self.affine:
            return (away * scale[:, None, None]).to(input.dtype)
        return (away * (scale * self.weight)[:, None, None] + self.bias[:, None, None]).to(input.dtype)


class _Total(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def _total(values: Tensor) -> Tensor:
    total: Tensor = _Total.apply(values)
    return total


def share_norms(network: nn.Module, team: Team) -> None:
    """Let the network's batch norms be over the batch of the whole team."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d and team.size > 1:
            # The same weights and buffers under the same names: no state is copied.
            module.__class__ = SharedBatchNorm
            cast(SharedBatchNorm, module).team = team


@contextlib.contextmanager
def gathered(size: int, backend: str, work: Callable[..., None], *arguments: Any) -> Iterator[Team]:
    """A team of this process, the first, and of others, which do `work(team, *arguments)` in step with it.

    They heed no signal: this process decides for all. A `UserError` of theirs is raised here.
    """
    if size == 1:
        yield Team()
        return
    context = get_context("spawn")
    faults = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        others = [
            context.Process(target=_join, args=(Team(rank, size), backend, meeting, faults, work, arguments))
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(others, faults, over), daemon=True)
        watch.start()
        try:
            dist.init_process_group(backend, init_method=meeting, rank=0, world_size=size)
            yield Team(0, size)
            dist.destroy_process_group()
            for process in others:
                process.join()
        except RuntimeError as error:  # what a collective call raises when another process has gone
            for process in others:
                process.join(timeout=_PATIENCE / 2)
            if faults.empty():
                raise
            raise UserError(faults.get()) from error
        finally:
            for process in others:
                process.join(timeout=_FAREWELL)
                process.kill()
            if dist.is_initialized():
                dist.destroy_process_group()
            over.set()
            watch.join(timeout=_FAREWELL)


def _watch(others: Sequence[BaseProcess], faults: Any, over: threading.Event) -> None:
    """End this process where it is not `over` some time after another failed: on a GPU it may wait for it for ever."""
    left = list(others)
    while left:
        wait([process.sentinel for process in left])
        failed = [process for process in left if process.exitcode]
        left = [process for process in left if process.is_alive()]
        if failed and not over.wait(_PATIENCE):
            say(f"fewframes: {faults.get() if not faults.empty() else 'another process of the training has died.'}")
            os._exit(2)


def _end_with_the_first() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _join(team: Team, backend: str, meeting: str, faults: Any, work: Callable[..., None], arguments: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    be_silent()
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        dist.init_process_group(backend, init_method=meeting, rank=team.rank, world_size=team.size)
        work(team, *arguments)
        dist.destroy_process_group()
    except UserError as error:
        faults.put(str(error))
        sys.exit(2)
