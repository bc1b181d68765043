"""One loop for both compact models: clips drawn as it goes, phases from easy to hard, averaged weights, resumed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from fewframes.core.errors import UserError
from fewframes.core.files import write_text, written_whole
from fewframes.core.progress import say
from fewframes.core.team import Team, gathered
from fewframes.labelling.compact.sources import Sources
from fewframes.labelling.compact.video import Outcome

_WARM_UP = 100
"""Iterations in which the learning rate rises."""
_LARGEST_GRADIENT = 1.0
_SAVE_EVERY = 100
_SAY_EVERY = 50
_MOST_CLIPS = 64
"""Clips that one iteration may draw: their numbers must not be another's."""

Step = Callable[[Tensor, Tensor, Tensor, torch.Generator, int], Outcome]
"""The loss of a batch: frames uint8 `[B, T, S, S, 3]`, ids and pieces `int64 [B, T, S, S]`, chance, the iteration."""
Build = Callable[[], tuple[nn.Module, Step]]


@dataclass(frozen=True)
class Phase:
    """So many `iterations` on batches of `clips` clips of `length` frames of `side` pixels."""

    iterations: int
    side: int
    clips: int
    length: int


@dataclass(frozen=True)
class Schedule:
    """Phases one after the other; the learning rate falls from `rate` to nothing as half a cosine.

    `decay` is AdamW's, `averaged` the share of the running mean of the weights that an iteration leaves.
    """

    phases: Sequence[Phase]
    rate: float
    decay: float = 0.05
    averaged: float = 0.998
    seed: int = 0

    @property
    def iterations(self) -> int:
        """All of them."""
        return sum(phase.iterations for phase in self.phases)

    def phase(self, iteration: int) -> Phase:
        """The phase that an iteration is in."""
        for phase in self.phases:
            if iteration < phase.iterations:
                return phase
            iteration -= phase.iterations
        raise IndexError(iteration)

    def rate_at(self, iteration: int) -> float:
        """The learning rate of an iteration."""
        warm = min(1.0, (iteration + 1) / _WARM_UP)
        return self.rate * warm * 0.5 * (1 + math.cos(math.pi * iteration / self.iterations))

    def shortened(self, share: float) -> Schedule:
        """The same with all phases shorter, for trials."""
        phases = [replace(phase, iterations=max(1, round(share * phase.iterations))) for phase in self.phases]
        return replace(self, phases=phases)


class _Batches(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """One process's part of the batch of each iteration, a function of the iteration's number."""

    def __init__(self, sources: Sources, schedule: Schedule, team: Team) -> None:
        self._sources, self._schedule, self._team = sources, schedule, team

    def __len__(self) -> int:
        return self._schedule.iterations

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor, Tensor]:
        cv2.setNumThreads(1)
        phase = self._schedule.phase(iteration)
        numbers = range(phase.clips)[self._team.rank :: self._team.size]
        clips = [self._sources.clip(iteration * _MOST_CLIPS + n, phase.length, phase.side) for n in numbers]
        frames = torch.from_numpy(np.stack([clip.frames for clip in clips]))
        ids = torch.from_numpy(np.stack([clip.ids for clip in clips]))
        pieces = torch.from_numpy(np.stack([clip.pieces for clip in clips]).astype(np.int32))
        return frames, ids, pieces


class _Averaged:
    """The running mean of a model's weights: what is kept in the end."""

    def __init__(self, model: nn.Module, share: float) -> None:
        self._share, self.state = share, {k: v.detach().clone() for k, v in model.state_dict().items()}

    def update(self, model: nn.Module, iteration: int) -> None:
        """Take in the weights after an iteration; early ones count for little."""
        share = min(self._share, (iteration + 1) / (iteration + 10))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value.detach(), 1 - share)


def train(build: Build, sources: Sources, schedule: Schedule, folder: Path, processes: int = 1) -> dict[str, Tensor]:
    """Train the model that `build` makes and return its averaged weights.

    `processes` share each batch on a processor (a GPU is one process's). `folder` keeps `state.pt`, from which an
    interrupted training goes on, and `curve.csv`, means of 50 iterations. Raises `UserError` where the loss is no
    number any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with gathered(processes, "gloo", _join, build, sources, schedule, folder) as team:
        _run(team, build, sources, schedule, folder)
    state: dict[str, Tensor] = torch.load(folder / "state.pt", weights_only=True)["averaged"]
    return state


def _join(team: Team, build: Build, sources: Sources, schedule: Schedule, folder: Path) -> None:
    torch.set_num_threads(1)
    _run(team, build, sources, schedule, folder)


def _run(team: Team, build: Build, sources: Sources, schedule: Schedule, folder: Path) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() and team.size == 1 else "cpu")
    torch.manual_seed(schedule.seed)
    model, step = build()
    model.to(device).requires_grad_(True)
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": weights, "weight_decay": schedule.decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=schedule.rate)
    averaged, curve = _Averaged(model, schedule.averaged), list[str]()
    first = _resume(folder / "state.pt", model, optimiser, averaged, curve, device)
    began, recent = time.monotonic(), list[Mapping[str, float]]()
    for iteration, batch in enumerate(_loaded(sources, schedule, team, first, device), start=first):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(iteration)
        generator = torch.Generator().manual_seed((schedule.seed * 1_000_003 + iteration) * 64 + team.rank)
        frames, ids, pieces = (part.to(device) for part in batch)
        # Plain attention: over windows of a few cells the fused kernels of a processor are slower, backward above all.
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            outcome = step(frames, ids.long(), pieces.long(), generator, iteration)
        if not torch.isfinite(outcome.loss):
            raise UserError(f"The loss of iteration {iteration} is no number: lower the schedule's rate.")
        optimiser.zero_grad()
        torch.autograd.backward(outcome.loss)
        team.agree(model)
        nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
        optimiser.step()
        averaged.update(model, iteration)
        recent.append(outcome.parts)
        done = iteration + 1
        last = done == schedule.iterations
        if team.rank:
            continue
        if done % _SAY_EVERY == 0 or last:
            means = _means(recent)
            curve.append(",".join([str(done), *(f"{name}={value:.4f}" for name, value in means.items())]))
            pace = (time.monotonic() - began) / (done - first)
            left = pace * (schedule.iterations - done) / 60
            told = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
            say(f"{done} of {schedule.iterations}: {told}; {pace:.2f} s each, {left:.0f} min to go.")
            recent = []
        if done % _SAVE_EVERY == 0 or last:
            _save(folder, done, model, optimiser, averaged, curve)


def _loaded(
    sources: Sources, schedule: Schedule, team: Team, first: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    # A processor that trains has no core to spare for drawing; beside a GPU all others draw.
    workers = max(1, (os.cpu_count() or 2) - 2) if device.type == "cuda" else 0
    loader = DataLoader(
        _Batches(sources, schedule, team),
        batch_size=None,
        sampler=range(first, schedule.iterations),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)


def _means(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for each in parts for name in each})
    return {name: float(np.nanmean([each[name] for each in parts if name in each])) for name in names}


def _save(
    folder: Path,
    done: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: _Averaged,
    curve: list[str],
) -> None:
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "averaged": averaged.state}
    with written_whole(folder / "state.pt") as aside, aside.open("wb") as file:
        torch.save({"iteration": done, "curve": curve, **state}, file)
    write_text(folder / "curve.csv", "\n".join(curve) + "\n")


def _resume(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: _Averaged,
    curve: list[str],
    device: torch.device,
) -> int:
    """Take up what an earlier run left; the iteration to go on with."""
    if not path.is_file():
        return 0
    state = torch.load(path, map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    averaged.state = state["averaged"]
    curve.extend(state["curve"])
    return int(state["iteration"])
